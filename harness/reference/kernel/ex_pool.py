"""Pool allocation: ExAllocatePool and all its successors.

Sources: nf-wdm-exallocatepoolwithtag, nf-wdm-exallocatepool2, nf-wdm-exallocatepool3,
nf-wdm-exallocatepoolwithquotatag, nf-wdm-exallocatepoolwithtagpriority, nf-ntddk-exfreepool,
bug-check-0xc4 (0x00: zero bytes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["allocate_pool"]

_NONE_TAG: Final = int.from_bytes(b"None", "little")
_PAGED: Final = 1
_RAISE_IF_FAILURE: Final = 16
_QUOTA_FAIL_INSTEAD_OF_RAISE: Final = 8
_NX: Final = 512  # NonPagedPoolNx
_ZERO: Final = 1024  # POOL_ZERO_ALLOCATION

# POOL_FLAG_*
_FLAG_UNINITIALIZED: Final = 0x02
_FLAG_RAISE: Final = 0x20
_FLAG_NON_PAGED: Final = 0x40
_FLAG_NON_PAGED_EXECUTE: Final = 0x80
_FLAG_PAGED: Final = 0x100
_REQUIRED: Final = 0xFFFFFFFF  # the low half must be understood, the high half is optional
_KNOWN_FLAGS: Final = 0x3FF


def allocate_pool(m: Machine, pool_type: int, size: int, tag: int, *, raises: bool = False) -> int:
    """ExAllocatePoolWithTag for the driver whose code runs."""
    if size == 0:
        m.bugcheck(0xC4, 0x00, m.cpu.irql, pool_type, 0, reason="a zero-byte pool allocation was requested")
    paged = bool(pool_type & _PAGED)
    execute = not paged and not pool_type & _NX
    address = m.pool.alloc(size, tag, paged=paged, zero=bool(pool_type & _ZERO), execute=execute)
    if address == 0 and (raises or pool_type & _RAISE_IF_FAILURE):
        m.raise_status(NTSTATUS.INSUFFICIENT_RESOURCES)
    return address


@export("ExAllocatePool", args="ulong, size")
def ex_allocate_pool(m: Machine, pool_type: int, size: int) -> int:
    return allocate_pool(m, pool_type, size, _NONE_TAG)


@export("ExAllocatePoolWithTag", args="ulong, size, ulong")
def ex_allocate_pool_with_tag(m: Machine, pool_type: int, size: int, tag: int) -> int:
    return allocate_pool(m, pool_type, size, tag)


@export("ExAllocatePoolWithTagPriority", args="ulong, size, ulong, ulong")
def ex_allocate_pool_with_tag_priority(m: Machine, pool_type: int, size: int, tag: int, priority: int) -> int:
    return allocate_pool(m, pool_type, size, tag)


@export("ExAllocatePoolWithQuotaTag", args="ulong, size, ulong")
def ex_allocate_pool_with_quota_tag(m: Machine, pool_type: int, size: int, tag: int) -> int:
    """Raises on failure unless POOL_QUOTA_FAIL_INSTEAD_OF_RAISE is in the type."""
    return allocate_pool(m, pool_type, size, tag, raises=not pool_type & _QUOTA_FAIL_INSTEAD_OF_RAISE)


@export("ExAllocatePoolWithQuota", args="ulong, size")
def ex_allocate_pool_with_quota(m: Machine, pool_type: int, size: int) -> int:
    return ex_allocate_pool_with_quota_tag(m, pool_type, size, _NONE_TAG)


def _pool2(m: Machine, flags: int, size: int, tag: int) -> int:
    """Zeroed unless POOL_FLAG_UNINITIALIZED; NULL for bad parameters, or an exception with
    RAISE_ON_FAILURE."""
    raises = bool(flags & _FLAG_RAISE)
    kinds = flags & (_FLAG_NON_PAGED | _FLAG_NON_PAGED_EXECUTE | _FLAG_PAGED)
    bad = flags & _REQUIRED & ~_KNOWN_FLAGS or kinds & (kinds - 1) or not kinds or tag == 0 or size == 0
    if bad:
        if raises:
            m.raise_status(NTSTATUS.INVALID_PARAMETER)
        return 0
    address = m.pool.alloc(
        size,
        tag,
        paged=kinds == _FLAG_PAGED,
        zero=not flags & _FLAG_UNINITIALIZED,
        execute=kinds == _FLAG_NON_PAGED_EXECUTE,
    )
    if address == 0 and raises:
        m.raise_status(NTSTATUS.INSUFFICIENT_RESOURCES)
    return address


@export("ExAllocatePool2", args="ulonglong, size, ulong", since=(10, 0, 19041))
def ex_allocate_pool2(m: Machine, flags: int, size: int, tag: int) -> int:
    return _pool2(m, flags, size, tag)


@export("ExAllocatePool3", args="ulonglong, size, ulong, ptr, ulong", since=(10, 0, 19041))
def ex_allocate_pool3(m: Machine, flags: int, size: int, tag: int, parameters: int, count: int) -> int:
    """Extended parameters (priority, secure pool, NUMA node) other than priority are not modelled and
    refused."""
    for index in range(count):
        # POOL_EXTENDED_PARAMETER: Type in the low 8 bits, then a 64-bit value; 1 is the priority.
        if m.memory.u8(parameters + 16 * index) != 1:
            return 0
    return _pool2(m, flags, size, tag)


@export("ExFreePoolWithTag", args="ptr, ulong")
def ex_free_pool_with_tag(m: Machine, address: int, tag: int) -> None:
    m.kernel.check_freed_pool(address)
    m.pool.free(address, tag)


@export("ExFreePool", args="ptr")
def ex_free_pool(m: Machine, address: int) -> None:
    m.kernel.check_freed_pool(address)
    m.pool.free(address, None)


@export("ExFreePool2", args="ptr, ulong, ptr, ulong", since=(10, 0, 19041))
def ex_free_pool2(m: Machine, address: int, tag: int, parameters: int, count: int) -> None:
    ex_free_pool_with_tag(m, address, tag)


@export("ExQueryPoolBlockSize", args="ptr, ptr")
def ex_query_pool_block_size(m: Machine, address: int, quota: int) -> int:
    found = m.pool.get(address)
    if quota:
        m.memory.put_u8(quota, 0)
    return found.size if found else 0
