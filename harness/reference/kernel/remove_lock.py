"""Remove locks: how many requests a device has under way, and waiting for the last one.

Source: nf-wdm-ioinitializeremovelock and its siblings (the routines with Ex are what the macros call).
IO_REMOVE_LOCK begins with BOOLEAN Removed, LONG IoCount at 4, KEVENT RemoveEvent at 8 on both architectures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import PASSIVE_LEVEL, need_irql
from harness.reference.kernel.ke_wait import ke_initialize_event, ke_set_event
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_COUNT: Final = 4
_EVENT: Final = 8


def _add(m: Machine, lock: int, change: int) -> int:
    """Change the count; the event is set when nobody is left."""
    count = (m.memory.u32(lock + _COUNT) + change) & 0xFFFFFFFF
    m.memory.put_u32(lock + _COUNT, count)
    if not count:
        ke_set_event(m, lock + _EVENT, 0, 0)
    return count


@export("IoInitializeRemoveLockEx", args="ptr, ulong, ulong, ulong, ulong")
def io_initialize_remove_lock_ex(
    m: Machine, lock: int, tag: int, minutes: int, high_watermark: int, size: int
) -> None:
    m.memory.write(lock, bytes(_EVENT))
    m.memory.put_u32(lock + _COUNT, 1)
    ke_initialize_event(m, lock + _EVENT, 1, 0)


@export("IoAcquireRemoveLockEx", args="ptr, ptr, ptr, ulong, ulong")
def io_acquire_remove_lock_ex(m: Machine, lock: int, tag: int, file: int, line: int, size: int) -> int:
    _add(m, lock, 1)
    if m.memory.u8(lock):
        _add(m, lock, -1)
        return NTSTATUS.DELETE_PENDING
    return NTSTATUS.SUCCESS


@export("IoReleaseRemoveLockEx", args="ptr, ptr, ulong")
def io_release_remove_lock_ex(m: Machine, lock: int, tag: int, size: int) -> None:
    _add(m, lock, -1)


@export("IoReleaseRemoveLockAndWaitEx", args="ptr, ptr, ulong")
def io_release_remove_lock_and_wait_ex(m: Machine, lock: int, tag: int, size: int) -> None:
    """Nobody gets the lock from now on; waits for those that have it."""
    need_irql(m, PASSIVE_LEVEL, "IoReleaseRemoveLockAndWait", "nf-wdm-ioreleaseremovelockandwait")
    m.memory.write(lock, b"\1")
    _add(m, lock, -1)
    if _add(m, lock, -1):
        m.kernel.scheduler.wait(
            (lock + _EVENT,), wait_all=False, deadline=None, what="IoReleaseRemoveLockAndWait"
        )
