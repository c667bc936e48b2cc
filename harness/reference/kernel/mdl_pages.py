"""Pages allocated for an MDL: memory that has an address only while it is mapped.

Sources: nf-wdm-mmallocatepagesformdl, nf-wdm-mmallocatepagesformdlex, nf-wdm-mmfreepagesfrommdl. A driver
frees twice: the pages with MmFreePagesFromMdl, then the MDL with ExFreePool.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.faults import MemoryExhausted
from harness.reference.kernel.checks import APC_LEVEL, DISPATCH_LEVEL, need_irql
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.mdl import (
    MDL_PAGES_LOCKED,
    allocate_mdl,
    put_frames,
    unmap_system_address,
)
from harness.reference.layout import PAGE
from harness.registry.version import WIN7

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["MdlPages", "pages_of"]

_NO_RIGHTS: Final = 0


@dataclass(frozen=True, slots=True)
class MdlPages:
    """The pages of one MDL. `base` is where the model keeps them: an address without any right to touch."""

    base: int
    count: int
    driver: object


def pages_of(m: Machine, driver: object) -> list[str]:
    """What a driver did not free, in words."""
    return [
        f"{each.count} page(s) of MmAllocatePagesForMdl, MDL {mdl:#x}"
        for mdl, each in m.kernel.mdl_pages.items()
        if each.driver is driver
    ]


def _allocate(m: Machine, routine: str, size: int) -> int:
    """The MDL; NULL when there is no memory. Addresses that the pages may have are all the same here."""
    highest = DISPATCH_LEVEL if m.version >= WIN7 else APC_LEVEL  # "Windows Server 2008 and later"
    need_irql(m, highest, routine, f"nf-wdm-{routine.lower()}")
    count = -(-size // PAGE)
    if not count or count > m.memory.free_pages():
        return 0
    base = m.kernel.system_ptes.reserve(count)
    try:
        m.memory.map_pages(base, count, _NO_RIGHTS)
    except MemoryExhausted:
        return 0
    mdl = allocate_mdl(m, 0, count * PAGE)
    if not mdl:
        m.memory.unmap_pages(base, count)
        return 0
    m.kernel.mdl_pages[mdl] = MdlPages(base, count, m.calling_driver())
    view = layout("MDL", m.memory.pointer_size).at(m.memory, mdl)
    view["MdlFlags"] = view["MdlFlags"] | MDL_PAGES_LOCKED
    put_frames(m, view)
    return mdl


@export("MmAllocatePagesForMdl", args="ulonglong, ulonglong, ulonglong, size")
def mm_allocate_pages_for_mdl(m: Machine, _low: int, _high: int, _skip: int, size: int) -> int:
    return _allocate(m, "MmAllocatePagesForMdl", size)


@export("MmAllocatePagesForMdlEx", args="ulonglong, ulonglong, ulonglong, size, ulong, ulong", since=(5, 2))
def mm_allocate_pages_for_mdl_ex(
    m: Machine, _low: int, _high: int, _skip: int, size: int, _cache: int, _flags: int
) -> int:
    return _allocate(m, "MmAllocatePagesForMdlEx", size)


@export("MmFreePagesFromMdl", args="ptr")
def mm_free_pages_from_mdl(m: Machine, mdl: int) -> None:
    """The pages go, their mapping with them; the MDL itself stays the caller's."""
    highest = DISPATCH_LEVEL if m.version >= WIN7 else APC_LEVEL
    need_irql(m, highest, "MmFreePagesFromMdl", "nf-wdm-mmfreepagesfrommdl")
    own = m.kernel.mdl_pages.get(mdl)
    if own is None:
        m.bugcheck(
            0xC4,
            0xE1,
            mdl,
            0,
            0,
            reason="MmFreePagesFromMdl of an MDL that has no pages of MmAllocatePagesForMdl, or not any more",
        )
    view = layout("MDL", m.memory.pointer_size).at(m.memory, mdl)
    unmap_system_address(m, view)
    view["MdlFlags"] = view["MdlFlags"] & ~MDL_PAGES_LOCKED
    del m.kernel.mdl_pages[mdl]
    m.memory.unmap_pages(own.base, own.count)
