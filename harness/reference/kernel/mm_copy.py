"""Copies that may fail: across processes, and of memory that may not be there; contiguous memory by its
place.

Sources: nf-ntddk-mmcopymemory, nf-wdm-mmallocatecontiguousmemoryspecifycache; MmCopyVirtualMemory is
exported and not documented, ZwReadVirtualMemory has its meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.faults import GuestFault
from harness.reference.kernel.checks import APC_LEVEL, need_irql
from harness.reference.kernel.mm import mm_allocate_contiguous_memory, mm_free_contiguous_memory
from harness.reference.layout import PAGE
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_PARTIAL_COPY: Final = 0x8000000D
_COPY_PHYSICAL, _COPY_VIRTUAL = 1, 2


def _copy(m: Machine, target: int, source: int, size: int) -> int:
    """Bytes copied, page by page, until memory is missing at either end."""
    done = 0
    while done < size:
        step = min(size - done, PAGE - (source + done) % PAGE, PAGE - (target + done) % PAGE)
        if not m.memory.is_mapped(source + done, step) or not m.memory.is_mapped(target + done, step):
            break
        if not m.memory.rights(target + done) & 2:
            break
        try:
            m.memory.write(target + done, m.memory.read(source + done, step), force=True)
        except GuestFault:
            break
        done += step
    return done


@export("MmCopyVirtualMemory", args="ptr, ptr, ptr, ptr, size, uchar, ptr", since=(5, 1))
def mm_copy_virtual_memory(
    m: Machine, source: int, base: int, target: int, buffer: int, size: int, mode: int, copied: int
) -> int:
    """The processes of this guest share the user part of the address space."""
    need_irql(m, APC_LEVEL, "MmCopyVirtualMemory", "ntifs.h (ZwReadVirtualMemory)")
    if mode & 0xFF:
        for address in (base, buffer):
            if size and not m.memory.is_user(address):
                return NTSTATUS.ACCESS_VIOLATION
    done = _copy(m, buffer, base, size)
    m.memory.put_ptr(copied, done)
    return NTSTATUS.SUCCESS if done == size else _PARTIAL_COPY


@export("MmCopyMemory", args="ptr, ulonglong, size, ulong, ptr", since=(6, 3))
def mm_copy_memory(m: Machine, target: int, source: int, size: int, flags: int, copied: int) -> int:
    need_irql(m, APC_LEVEL, "MmCopyMemory", "nf-ntddk-mmcopymemory")
    m.memory.put_ptr(copied, 0)
    if flags == _COPY_PHYSICAL:
        m.kernel.debug.note("MmCopyMemory of physical memory is not modelled: STATUS_NOT_SUPPORTED")
        return NTSTATUS.NOT_SUPPORTED
    if flags != _COPY_VIRTUAL:
        return NTSTATUS.INVALID_PARAMETER
    done = _copy(m, target, source & m.memory.map.address_mask, size)
    m.memory.put_ptr(copied, done)
    return NTSTATUS.SUCCESS if done == size else _PARTIAL_COPY


@export("MmIsNonPagedSystemAddressValid", args="ptr")
def mm_is_non_paged_system_address_valid(m: Machine, address: int) -> int:
    return int(m.memory.is_mapped(address, 1) and not m.memory.is_user(address))


@export("MmAllocateContiguousMemorySpecifyCache", args="size, ulonglong, ulonglong, ulonglong, ulong")
def mm_allocate_contiguous_memory_specify_cache(
    m: Machine, size: int, lowest: int, highest: int, boundary: int, cache: int
) -> int:
    return mm_allocate_contiguous_memory(m, size, highest)


@export("MmFreeContiguousMemorySpecifyCache", args="ptr, size, ulong")
def mm_free_contiguous_memory_specify_cache(m: Machine, address: int, size: int, cache: int) -> None:
    mm_free_contiguous_memory(m, address)


@export("MmIsVerifierEnabled", args="ptr")
def mm_is_verifier_enabled(m: Machine, flags: int) -> int:
    """The special pool and the checks of this guest are always on, for drivers one by one."""
    m.memory.put_u32(flags, 1)
    return NTSTATUS.SUCCESS
