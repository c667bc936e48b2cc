"""An object's security descriptor by pointer.

Sources: nf-ntifs-obgetobjectsecurity, nf-ntifs-obreleaseobjectsecurity. For a key the registry is asked, so
that filters hear of it like of any other query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import PASSIVE_LEVEL, need_irql
from harness.reference.kernel.objects import KERNEL_MODE
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_TAG: Final = int.from_bytes(b"ObSq", "little")
_EVERYTHING: Final = 0xF  # owner, group, DACL, SACL
_LARGEST: Final = 0x10000


@export("ObGetObjectSecurity", args="ptr, ptr, ptr")
def ob_get_object_security(m: Machine, address: int, descriptor_at: int, allocated_at: int) -> int:
    """The descriptor is the caller's until ObReleaseObjectSecurity; NULL for an object without one."""
    need_irql(m, PASSIVE_LEVEL, "ObGetObjectSecurity", "nf-ntifs-obgetobjectsecurity")
    obj = m.objects.at(address)
    if obj is None:
        m.bugcheck(0x18, 0, address, 1, 0, reason="ObGetObjectSecurity got something that is no object")
    m.memory.put_ptr(descriptor_at, 0)
    m.memory.put_u8(allocated_at, 0)
    if obj.type.query_security is None:
        return NTSTATUS.SUCCESS
    whole = m.pool.alloc(_LARGEST, _TAG, paged=True)
    if not whole:
        return NTSTATUS.INSUFFICIENT_RESOURCES
    with m.previous_mode(KERNEL_MODE), m.memory.scratch() as scratch:
        needed = scratch.pointer()
        status = obj.type.query_security(obj, _EVERYTHING, whole, _LARGEST, needed)
        size = m.memory.u32(needed)
    if status == NTSTATUS.SUCCESS:
        kept = m.pool.alloc(size, _TAG, paged=True)
        m.memory.write(kept, m.memory.read(whole, size))
        m.memory.put_ptr(descriptor_at, kept)
        m.memory.put_u8(allocated_at, 1)
    m.pool.free(whole, _TAG)
    return status


@export("ObReleaseObjectSecurity", args="ptr, uchar")
def ob_release_object_security(m: Machine, descriptor: int, allocated: int) -> None:
    if descriptor and allocated & 0xFF:
        m.pool.free(descriptor, _TAG)
