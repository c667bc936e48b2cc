"""Memory manager odds and ends: routine look-up, address tests, sections of code, contiguous memory.

Sources: nf-wdm-mmgetsystemroutineaddress, nf-ntddk-mmisaddressvalid, nf-wdm-mmlockpagablecodesection,
nf-ntddk-mmallocatenoncachedmemory, nf-wdm-mmallocatecontiguousmemory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import need_irql
from harness.reference.kernel.rtl_strings import string_text
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_TAG: Final = int.from_bytes(b"MmCm", "little")


@export("MmGetSystemRoutineAddress", args="ptr")
def mm_get_system_routine_address(m: Machine, name: int) -> int:
    """Kernel and HAL routines only, by the modelled version; NULL for what it lacks."""
    need_irql(m, 0, "MmGetSystemRoutineAddress", "nf-wdm-mmgetsystemroutineaddress")
    text = string_text(m, name)
    address = m.exports.routine_address(text)
    if not address:
        m.kernel.note_unresolved(text)
    return address


@export("MmIsAddressValid", args="ptr")
def mm_is_address_valid(m: Machine, address: int) -> int:
    return int(m.memory.is_mapped(address, 1))


@export("MmLockPagableDataSection", args="ptr")
@export("MmLockPagableImageSection", args="ptr")
@export("MmLockPagableCodeSection", args="ptr", arches=("x86",))
def mm_lock_pagable_data_section(m: Machine, address: int) -> int:
    return address


@export("MmLockPagableSectionByHandle", args="ptr")
@export("MmUnlockPagableImageSection", args="ptr")
def mm_lock_or_unlock_by_handle(m: Machine, handle: int) -> None:
    return None


@export("MmPageEntireDriver", args="ptr")
def mm_page_entire_driver(m: Machine, address: int) -> int:
    driver = m.driver_at(address)
    return driver.base if driver is not None else 0


@export("MmResetDriverPaging", args="ptr")
def mm_reset_driver_paging(m: Machine, address: int) -> None:
    return None


@export("MmQuerySystemSize", args="")
def mm_query_system_size(m: Machine) -> int:
    return 2  # MmLargeSystem


@export("MmIsThisAnNtAsSystem", args="")
def mm_is_this_an_nt_as_system(m: Machine) -> int:
    return int(str(m.version) in ("5.2", "10.0.20348"))


@export("MmAllocateNonCachedMemory", args="size")
def mm_allocate_non_cached_memory(m: Machine, size: int) -> int:
    return m.pool.alloc(-(-size // 0x1000) * 0x1000, _TAG, zero=True)


@export("MmFreeNonCachedMemory", args="ptr, size")
def mm_free_non_cached_memory(m: Machine, address: int, size: int) -> None:
    m.pool.free(address, _TAG)


@export("MmAllocateContiguousMemory", args="size, ulonglong")
def mm_allocate_contiguous_memory(m: Machine, size: int, highest: int) -> int:
    return m.pool.alloc(-(-size // 0x1000) * 0x1000, _TAG, zero=False)


@export("MmFreeContiguousMemory", args="ptr")
def mm_free_contiguous_memory(m: Machine, address: int) -> None:
    m.pool.free(address, _TAG)


@export("MmGetPhysicalAddress", args="ptr", returns="ulonglong")
def mm_get_physical_address(m: Machine, address: int) -> int:
    return m.memory.physical(address) if m.memory.is_mapped(address, 1) else 0


@export("MmSecureVirtualMemory", args="ptr, size, ulong")
def mm_secure_virtual_memory(m: Machine, address: int, size: int, mode: int) -> int:
    return address if m.memory.is_mapped(address, size) else 0


@export("MmUnsecureVirtualMemory", args="ptr")
def mm_unsecure_virtual_memory(m: Machine, handle: int) -> None:
    return None


@export("ZwAllocateVirtualMemory", args="handle, ptr, ptr, ptr, ulong, ulong")
@export("NtAllocateVirtualMemory", args="handle, ptr, ptr, ptr, ulong, ulong")
def zw_allocate_virtual_memory(
    m: Machine, process: int, base: int, zero_bits: int, size: int, kind: int, protect: int
) -> int:
    """MEM_COMMIT (with or without MEM_RESERVE) at an address the system picks; a wished address is
    refused."""
    if not kind & 0x1000 or m.memory.ptr(base):
        m.kernel.debug.note(
            "ZwAllocateVirtualMemory is modelled for committing at an address of the system's choice"
        )
        return NTSTATUS.NOT_SUPPORTED
    wanted = -(-m.memory.ptr(size) // 0x1000) * 0x1000
    if not wanted:
        return NTSTATUS.INVALID_PARAMETER
    m.memory.put_ptr(base, m.memory.map_user(wanted))
    m.memory.put_ptr(size, wanted)
    return NTSTATUS.SUCCESS


@export("ZwFreeVirtualMemory", args="handle, ptr, ptr, ulong")
@export("NtFreeVirtualMemory", args="handle, ptr, ptr, ulong")
def zw_free_virtual_memory(m: Machine, process: int, base: int, size: int, kind: int) -> int:
    address, length = m.memory.ptr(base), m.memory.ptr(size) or 0x1000
    if not m.memory.is_user(address) or not m.memory.is_mapped(address, 1):
        return NTSTATUS.INVALID_PARAMETER
    m.memory.unmap_user(address, length)
    return NTSTATUS.SUCCESS
