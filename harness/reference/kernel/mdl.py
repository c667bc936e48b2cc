"""Memory descriptor lists and what is done with the memory they describe.

Locked user pages are seen through a kernel mapping: system addresses that map to the very frames of the user
pages. Sources: kernel/using-mdls, nf-wdm-mmmaplockedpagesspecifycache, nf-wdm-mmprobeandlockpages,
nf-wdm-mmbuildmdlfornonpagedpool, bug-check-0xc4 (0x70 to 0x7F, 0xB0, 0xB3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import DISPATCH_LEVEL
from harness.reference.kernel.heap import SYSTEM_OWNED
from harness.reference.kernel.layouts import layout
from harness.reference.layout import PAGE
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.kernel.layouts import View
    from harness.reference.machine import Machine

__all__ = [
    "MDL_PAGES_LOCKED",
    "UserLock",
    "allocate_mdl",
    "build_user_mdl",
    "put_frames",
    "release_user_mdl",
    "unmap_system_address",
]

MDL_MAPPED_TO_SYSTEM_VA: Final = 0x0001
MDL_PAGES_LOCKED: Final = 0x0002
MDL_SOURCE_IS_NONPAGED_POOL: Final = 0x0004
MDL_PARTIAL: Final = 0x0010
MDL_WRITE_OPERATION: Final = 0x0080

_TAG: Final = int.from_bytes(b"Mdl ", "little")
_READ: Final = 1
_WRITE: Final = 2


@dataclass(slots=True, eq=False)
class UserLock:
    """An MDL of the I/O manager over a requester's buffer."""

    mdl: int


def _view(m: Machine, mdl: int) -> View:
    return layout("MDL", m.memory.pointer_size).at(m.memory, mdl)


def _page_count(address: int, size: int) -> int:
    return ((address & (PAGE - 1)) + size + PAGE - 1) // PAGE


def _fill(m: Machine, mdl: int, address: int, size: int) -> View:
    """MmInitializeMdl: everything but the page array."""
    shape = layout("MDL", m.memory.pointer_size)
    view = shape.at(m.memory, mdl)
    view["Next"] = 0
    view["Size"] = shape.size + _page_count(address, size) * m.memory.pointer_size
    view["MdlFlags"] = 0
    view["StartVa"] = address & ~(PAGE - 1)
    view["ByteOffset"] = address & (PAGE - 1)
    view["ByteCount"] = size
    return view


def _allocate(m: Machine, address: int, size: int, *, system: bool = False) -> int:
    shape = layout("MDL", m.memory.pointer_size)
    total = shape.size + _page_count(address, size) * m.memory.pointer_size
    mdl = m.pool.alloc(total, _TAG, zero=True, owner=SYSTEM_OWNED if system else None)
    if mdl:
        _fill(m, mdl, address, size)
    return mdl


def _start(m: Machine, view: View) -> int:
    return view["StartVa"] + view["ByteOffset"]


def build_user_mdl(m: Machine, address: int, size: int, *, write: bool) -> UserLock:
    """An MDL with locked pages over a user buffer, as the I/O manager makes it for direct I/O."""
    mdl = _allocate(m, address, size, system=True)
    view = _view(m, mdl)
    view["MdlFlags"] = MDL_PAGES_LOCKED | (MDL_WRITE_OPERATION if write else 0)
    put_frames(m, view)
    return UserLock(mdl)


def release_user_mdl(m: Machine, lock: UserLock) -> None:
    view = _view(m, lock.mdl)
    unmap_system_address(m, view)
    m.pool.free(lock.mdl, _TAG)


def _first_page(m: Machine, view: View) -> int:
    """Where the pages are: at StartVa, but for those that have no address of their own."""
    own = m.kernel.mdl_pages.get(view.address)
    return own.base if own is not None else view["StartVa"]


def put_frames(m: Machine, view: View) -> None:
    """The page frame numbers behind the structure."""
    array = view.address + layout("MDL", m.memory.pointer_size).size
    first = _first_page(m, view)
    for index in range(_page_count(_start(m, view), view["ByteCount"])):
        page = first + index * PAGE
        frame = m.memory.pages.get(page >> 12, 0) >> 12
        m.memory.put_ptr(array + index * m.memory.pointer_size, frame)


def _map(m: Machine, view: View) -> int:
    """A system mapping of the described pages; their addresses never come back while others are free."""
    count = _page_count(_start(m, view), view["ByteCount"])
    base = m.kernel.system_ptes.reserve(count)
    first = _first_page(m, view)
    for index in range(count):
        page = first + index * PAGE
        m.memory.map_alias(base + index * PAGE, page, _READ | _WRITE)
    view["MappedSystemVa"] = base + view["ByteOffset"]
    view["MdlFlags"] = view["MdlFlags"] | MDL_MAPPED_TO_SYSTEM_VA
    return base + view["ByteOffset"]


def unmap_system_address(m: Machine, view: View) -> None:
    if not view["MdlFlags"] & MDL_MAPPED_TO_SYSTEM_VA:
        return
    base = view["MappedSystemVa"] & ~(PAGE - 1)
    count = _page_count(_start(m, view), view["ByteCount"])
    m.memory.unmap_pages(base, count, free=False)
    view["MdlFlags"] = view["MdlFlags"] & ~MDL_MAPPED_TO_SYSTEM_VA


def allocate_mdl(m: Machine, address: int, size: int) -> int:
    """An MDL of the calling driver from nonpaged pool; 0 when there is no memory."""
    return _allocate(m, address, size)


@export("IoAllocateMdl", args="ptr, ulong, uchar, uchar, ptr")
def io_allocate_mdl(m: Machine, address: int, size: int, secondary: int, quota: int, irp: int) -> int:
    mdl = _allocate(m, address, size)
    if irp and mdl:
        at = layout("IRP", m.memory.pointer_size).at(m.memory, irp)
        if not secondary & 0xFF:
            at["MdlAddress"] = mdl
        else:
            last = at["MdlAddress"]
            while following := _view(m, last)["Next"]:
                last = following
            _view(m, last)["Next"] = mdl
    return mdl


@export("IoFreeMdl", args="ptr")
def io_free_mdl(m: Machine, mdl: int) -> None:
    view = _view(m, mdl)
    if view["MdlFlags"] & MDL_PAGES_LOCKED and not view["MdlFlags"] & MDL_PARTIAL:
        m.bugcheck(
            0xC4, 0xB8, mdl, view["MdlFlags"], 0, reason="IoFreeMdl of an MDL whose pages are still locked"
        )
    unmap_system_address(m, view)
    m.pool.free(mdl, None)


@export("MmSizeOfMdl", args="ptr, size")
def mm_size_of_mdl(m: Machine, base: int, size: int) -> int:
    return layout("MDL", m.memory.pointer_size).size + _page_count(base, size) * m.memory.pointer_size


@export("MmCreateMdl", args="ptr, ptr, size")
def mm_create_mdl(m: Machine, mdl: int, base: int, size: int) -> int:
    if not mdl:
        return _allocate(m, base, size)
    _fill(m, mdl, base, size)
    return mdl


@export("MmBuildMdlForNonPagedPool", args="ptr")
def mm_build_mdl_for_non_paged_pool(m: Machine, mdl: int) -> None:
    view = _view(m, mdl)
    start = _start(m, view)
    found = m.pool.find(start)
    if found is not None and found.paged:
        m.bugcheck(0xC4, 0x7F, m.cpu.irql, mdl, view["MdlFlags"], reason="the MDL describes paged pool")
    view["MdlFlags"] = view["MdlFlags"] | MDL_SOURCE_IS_NONPAGED_POOL
    view["MappedSystemVa"] = start
    put_frames(m, view)


@export("MmProbeAndLockPages", args="ptr, uchar, ulong")
def mm_probe_and_lock_pages(m: Machine, mdl: int, mode: int, operation: int) -> None:
    """Raises STATUS_ACCESS_VIOLATION where a page is missing, not writable or not the requester's."""
    view = _view(m, mdl)
    if m.cpu.irql > DISPATCH_LEVEL:
        m.bugcheck(0xC4, 0x70, m.cpu.irql, mdl, mode, reason="MmProbeAndLockPages above DISPATCH_LEVEL")
    if view["MdlFlags"] & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_PAGES_LOCKED | MDL_PARTIAL):
        m.bugcheck(
            0xC4, 0xB0, mdl, view["MdlFlags"], 7, reason="MmProbeAndLockPages on an MDL that has its pages"
        )
    start, size = _start(m, view), view["ByteCount"]
    if mode & 0xFF and not (m.memory.is_user(start) and m.memory.is_user(start + max(size, 1) - 1)):
        m.raise_status(NTSTATUS.ACCESS_VIOLATION)
    need = _WRITE if operation else _READ
    for page in range(start & ~(PAGE - 1), start + size, PAGE):
        if not m.memory.rights(page) & need:
            m.raise_status(NTSTATUS.ACCESS_VIOLATION)
    put_frames(m, view)
    view["MdlFlags"] = view["MdlFlags"] | MDL_PAGES_LOCKED | (MDL_WRITE_OPERATION if operation else 0)


@export("MmUnlockPages", args="ptr")
def mm_unlock_pages(m: Machine, mdl: int) -> None:
    view = _view(m, mdl)
    if m.cpu.irql > DISPATCH_LEVEL:
        m.bugcheck(0xC4, 0x78, m.cpu.irql, mdl, 0, reason="MmUnlockPages above DISPATCH_LEVEL")
    if view["MdlFlags"] & MDL_SOURCE_IS_NONPAGED_POOL:
        m.bugcheck(0xC4, 0x7D, mdl, view["MdlFlags"], 0, reason="MmUnlockPages on an MDL of nonpaged pool")
    if not view["MdlFlags"] & MDL_PAGES_LOCKED:
        m.bugcheck(
            0xC4, 0x7C, mdl, view["MdlFlags"], 0, reason="MmUnlockPages on an MDL that was never locked"
        )
    unmap_system_address(m, view)
    view["MdlFlags"] = view["MdlFlags"] & ~(MDL_PAGES_LOCKED | MDL_WRITE_OPERATION)


@export("MmMapLockedPagesSpecifyCache", args="ptr, uchar, ulong, ptr, ulong, ulong")
def mm_map_locked_pages_specify_cache(
    m: Machine, mdl: int, mode: int, cache: int, requested: int, bugcheck_on_failure: int, priority: int
) -> int:
    """A system address of the MDL's pages; user-mode mappings are not modelled (NULL with a note)."""
    view = _view(m, mdl)
    if m.cpu.irql > DISPATCH_LEVEL:
        m.bugcheck(
            0xC4, 0x76, m.cpu.irql, mdl, mode, reason="MmMapLockedPagesSpecifyCache above DISPATCH_LEVEL"
        )
    flags = view["MdlFlags"]
    if not flags & (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL):
        m.bugcheck(0xC4, 0xB3, mdl, flags, MDL_PAGES_LOCKED, reason="the MDL's pages are not locked")
    if mode & 0xFF:
        m.kernel.debug.note("MmMapLockedPagesSpecifyCache for user mode is not modelled: the driver got NULL")
        return 0
    if flags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL):
        return view["MappedSystemVa"]
    return _map(m, view)


@export("MmMapLockedPages", args="ptr, uchar")
def mm_map_locked_pages(m: Machine, mdl: int, mode: int) -> int:
    return mm_map_locked_pages_specify_cache(m, mdl, mode, 1, 0, 1, 16)


@export("MmUnmapLockedPages", args="ptr, ptr")
def mm_unmap_locked_pages(m: Machine, address: int, mdl: int) -> None:
    view = _view(m, mdl)
    if m.cpu.irql > DISPATCH_LEVEL:
        m.bugcheck(0xC4, 0x79, m.cpu.irql, address, mdl, reason="MmUnmapLockedPages above DISPATCH_LEVEL")
    unmap_system_address(m, view)


@export("IoBuildPartialMdl", args="ptr, ptr, ptr, ulong")
def io_build_partial_mdl(m: Machine, source: int, target: int, address: int, length: int) -> None:
    origin = _view(m, source)
    start = _start(m, origin)
    size = length or start + origin["ByteCount"] - address
    view = _fill(m, target, address, size)
    view["MdlFlags"] = MDL_PARTIAL | origin["MdlFlags"] & (
        MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA
    )
    if origin["MdlFlags"] & (MDL_SOURCE_IS_NONPAGED_POOL | MDL_MAPPED_TO_SYSTEM_VA):
        view["MappedSystemVa"] = origin["MappedSystemVa"] + (address - start)
    put_frames(m, view)


@export("MmPrepareMdlForReuse", args="ptr")
def mm_prepare_mdl_for_reuse(m: Machine, mdl: int) -> None:
    unmap_system_address(m, _view(m, mdl))


@export("MmProtectMdlSystemAddress", args="ptr, ulong")
def mm_protect_mdl_system_address(m: Machine, mdl: int, protect: int) -> int:
    return (
        NTSTATUS.SUCCESS if _view(m, mdl)["MdlFlags"] & MDL_MAPPED_TO_SYSTEM_VA else NTSTATUS.NOT_MAPPED_VIEW
    )
