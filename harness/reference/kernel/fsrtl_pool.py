"""What the file system library adds to the pool and to statuses.

Sources: nf-ntifs-fsrtlallocatepoolwithtag, nf-ntifs-fsrtlallocatepoolwithquotatag,
nf-ntifs-fsrtlisntstatusexpected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.ex_pool import allocate_pool
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

#: "FsRt", the tag of pool that the library allocates without one of the caller's.
_TAG: Final = int.from_bytes(b"FsRt", "little")
#: Statuses that mean a defect of the caller: no file system expects them.
_UNEXPECTED: Final = {
    NTSTATUS.DATATYPE_MISALIGNMENT,
    NTSTATUS.ACCESS_VIOLATION,
    0xC000001D,  # STATUS_ILLEGAL_INSTRUCTION
    0xC00000AA,  # STATUS_INSTRUCTION_MISALIGNMENT
}


@export("FsRtlIsNtstatusExpected", args="ulong")
def fs_rtl_is_ntstatus_expected(m: Machine, status: int) -> int:
    return int(status not in _UNEXPECTED)


@export("FsRtlAllocatePoolWithTag", args="ulong, size, ulong")
@export("FsRtlAllocatePoolWithQuotaTag", args="ulong, size, ulong")
def fs_rtl_allocate_pool_with_tag(m: Machine, pool_type: int, size: int, tag: int) -> int:
    """Raises STATUS_INSUFFICIENT_RESOURCES instead of returning NULL."""
    return allocate_pool(m, pool_type, size, tag, raises=True)


@export("FsRtlAllocatePool", args="ulong, size")
@export("FsRtlAllocatePoolWithQuota", args="ulong, size")
def fs_rtl_allocate_pool(m: Machine, pool_type: int, size: int) -> int:
    return allocate_pool(m, pool_type, size, _TAG, raises=True)
