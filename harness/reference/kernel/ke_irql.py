"""IRQL and spin locks.

The machine has one processor: a spin lock that is held when somebody spins on it can never be released, so
acquiring it twice is a deadlock, found at once. Sources: kernel/managing-hardware-priorities,
nf-wdm-keacquirespinlock, nf-wdm-keraiseirql, bug-check-0xc4 (0x30 to 0x42), bug-check-0x0f.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import APC_LEVEL, DISPATCH_LEVEL, HIGH_LEVEL, irql_name

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["acquire", "lower_irql", "raise_irql", "release"]

_BOTH: Final = ("ntoskrnl.exe", "hal.dll")


def raise_irql(m: Machine, new: int) -> int:
    """KeRaiseIrql; returns the former IRQL."""
    old = m.cpu.irql
    if new < old or new > HIGH_LEVEL:
        m.bugcheck(0xC4, 0x30, old, new, 0, reason=f"KeRaiseIrql from {irql_name(old)} to {irql_name(new)}")
    m.cpu.irql = new
    return old


def lower_irql(m: Machine, new: int) -> None:
    """KeLowerIrql; DPCs that waited run when it gets below DISPATCH_LEVEL."""
    old = m.cpu.irql
    if new > old:
        m.bugcheck(0xC4, 0x31, old, new, 0, reason=f"KeLowerIrql from {irql_name(old)} to {irql_name(new)}")
    if m.kernel.scheduler.in_dpc and new < DISPATCH_LEVEL:
        m.bugcheck(0xC4, 0x31, old, new, 1, reason="KeLowerIrql below DISPATCH_LEVEL inside a DPC routine")
    m.cpu.irql = new
    if new < DISPATCH_LEVEL <= old:
        m.kernel.scheduler.run_dpcs()


@export("KfRaiseIrql", args="uchar", cc="fastcall", modules=_BOTH)
def kf_raise_irql(m: Machine, new: int) -> int:
    return raise_irql(m, new & 0xFF)


@export("KfLowerIrql", args="uchar", cc="fastcall", modules=_BOTH)
def kf_lower_irql(m: Machine, new: int) -> None:
    lower_irql(m, new & 0xFF)


@export("KeRaiseIrql", args="uchar, ptr", modules=_BOTH, arches=("x86",))
def ke_raise_irql(m: Machine, new: int, old: int) -> None:
    m.memory.put_u8(old, raise_irql(m, new & 0xFF))


@export("KeLowerIrql", args="uchar", modules=_BOTH)
def ke_lower_irql(m: Machine, new: int) -> None:
    lower_irql(m, new & 0xFF)


@export("KeRaiseIrqlToDpcLevel", args="", modules=_BOTH)
def ke_raise_irql_to_dpc_level(m: Machine) -> int:
    return raise_irql(m, DISPATCH_LEVEL)


@export("KeRaiseIrqlToSynchLevel", args="", modules=_BOTH, arches=("x86",))
def ke_raise_irql_to_synch_level(m: Machine) -> int:
    return raise_irql(m, DISPATCH_LEVEL)


@export("KeGetCurrentIrql", args="", modules=_BOTH)
def ke_get_current_irql(m: Machine) -> int:
    return m.cpu.irql


# -- spin locks --------------------------------------------------------------------------------------------


def acquire(m: Machine, lock: int) -> None:
    """Take a lock at DISPATCH_LEVEL or above. Bugcheck 0x0F where it is held already."""
    if m.memory.ptr(lock) & 1:
        m.bugcheck(
            0x0F,
            lock,
            0,
            0,
            0,
            reason="a spin lock was acquired that is held already: a deadlock on any processor count",
        )
    m.memory.put_ptr(lock, 1)


def release(m: Machine, lock: int) -> None:
    """Release a lock. Bugcheck 0x10 where it is not held."""
    if not m.memory.ptr(lock) & 1:
        m.bugcheck(0x10, lock, 0, 0, 0, reason="a spin lock was released that is not held")
    m.memory.put_ptr(lock, 0)


def _acquire_raise(m: Machine, lock: int) -> int:
    old = m.cpu.irql
    if old > DISPATCH_LEVEL:
        m.bugcheck(0xC4, 0x42, old, lock, 0, reason="KeAcquireSpinLock above DISPATCH_LEVEL")
    m.cpu.irql = DISPATCH_LEVEL
    acquire(m, lock)
    return old


def _release_lower(m: Machine, lock: int, old: int) -> None:
    if m.cpu.irql != DISPATCH_LEVEL:
        m.bugcheck(0xC4, 0x32, m.cpu.irql, lock, 0, reason=f"KeReleaseSpinLock at {irql_name(m.cpu.irql)}")
    release(m, lock)
    lower_irql(m, old & 0xFF)


@export("KeInitializeSpinLock", args="ptr")
def ke_initialize_spin_lock(m: Machine, lock: int) -> None:
    m.memory.put_ptr(lock, 0)


@export("KeAcquireSpinLockRaiseToDpc", args="ptr", arches=("x64",))
def ke_acquire_spin_lock_raise_to_dpc(m: Machine, lock: int) -> int:
    return _acquire_raise(m, lock)


@export("KeReleaseSpinLock", args="ptr, uchar", modules=_BOTH)
def ke_release_spin_lock(m: Machine, lock: int, old: int) -> None:
    _release_lower(m, lock, old)


@export("KeAcquireSpinLock", args="ptr, ptr", modules=_BOTH, arches=("x86",))
def ke_acquire_spin_lock(m: Machine, lock: int, old: int) -> None:
    m.memory.put_u8(old, _acquire_raise(m, lock))


@export("KfAcquireSpinLock", args="ptr", cc="fastcall", modules=_BOTH, arches=("x86",))
def kf_acquire_spin_lock(m: Machine, lock: int) -> int:
    return _acquire_raise(m, lock)


@export("KfReleaseSpinLock", args="ptr, uchar", cc="fastcall", modules=_BOTH, arches=("x86",))
def kf_release_spin_lock(m: Machine, lock: int, old: int) -> None:
    _release_lower(m, lock, old)


def _at_dpc(m: Machine, lock: int) -> None:
    if m.cpu.irql < DISPATCH_LEVEL:
        m.bugcheck(0xC4, 0x40, m.cpu.irql, lock, 0, reason="KeAcquireSpinLockAtDpcLevel below DISPATCH_LEVEL")
    acquire(m, lock)


def _from_dpc(m: Machine, lock: int) -> None:
    if m.cpu.irql < DISPATCH_LEVEL:
        m.bugcheck(
            0xC4, 0x41, m.cpu.irql, lock, 0, reason="KeReleaseSpinLockFromDpcLevel below DISPATCH_LEVEL"
        )
    release(m, lock)


@export("KeAcquireSpinLockAtDpcLevel", args="ptr")
def ke_acquire_spin_lock_at_dpc_level(m: Machine, lock: int) -> None:
    _at_dpc(m, lock)


@export("KeReleaseSpinLockFromDpcLevel", args="ptr")
def ke_release_spin_lock_from_dpc_level(m: Machine, lock: int) -> None:
    _from_dpc(m, lock)


@export("KefAcquireSpinLockAtDpcLevel", args="ptr", cc="fastcall", arches=("x86",))
def kef_acquire_spin_lock_at_dpc_level(m: Machine, lock: int) -> None:
    _at_dpc(m, lock)


@export("KefReleaseSpinLockFromDpcLevel", args="ptr", cc="fastcall", arches=("x86",))
def kef_release_spin_lock_from_dpc_level(m: Machine, lock: int) -> None:
    _from_dpc(m, lock)


@export("KeTryToAcquireSpinLockAtDpcLevel", args="ptr", cc="fastcall", since=(5, 2))
def ke_try_to_acquire_spin_lock_at_dpc_level(m: Machine, lock: int) -> int:
    if m.memory.ptr(lock) & 1:
        return 0
    m.memory.put_ptr(lock, 1)
    return 1


@export("KeTestSpinLock", args="ptr", cc="fastcall", since=(5, 2))
def ke_test_spin_lock(m: Machine, lock: int) -> int:
    return int(not m.memory.ptr(lock) & 1)


# KLOCK_QUEUE_HANDLE: LockQueue { Next, Lock }, OldIrql


@export("KeAcquireInStackQueuedSpinLock", args="ptr, ptr", cc="fastcall", modules=_BOTH)
def ke_acquire_in_stack_queued_spin_lock(m: Machine, lock: int, handle: int) -> None:
    size = m.memory.pointer_size
    old = _acquire_raise(m, lock)
    m.memory.put_ptr(handle, 0)
    m.memory.put_ptr(handle + size, lock)
    m.memory.put_u8(handle + 2 * size, old)


@export("KeReleaseInStackQueuedSpinLock", args="ptr", cc="fastcall", modules=_BOTH)
def ke_release_in_stack_queued_spin_lock(m: Machine, handle: int) -> None:
    size = m.memory.pointer_size
    _release_lower(m, m.memory.ptr(handle + size), m.memory.u8(handle + 2 * size))


@export("KeAcquireInStackQueuedSpinLockAtDpcLevel", args="ptr, ptr", cc="fastcall")
def ke_acquire_in_stack_queued_spin_lock_at_dpc_level(m: Machine, lock: int, handle: int) -> None:
    _at_dpc(m, lock)
    m.memory.put_ptr(handle + m.memory.pointer_size, lock)


@export("KeReleaseInStackQueuedSpinLockFromDpcLevel", args="ptr", cc="fastcall")
def ke_release_in_stack_queued_spin_lock_from_dpc_level(m: Machine, handle: int) -> None:
    _from_dpc(m, m.memory.ptr(handle + m.memory.pointer_size))


# -- critical and guarded regions --------------------------------------------------------------------------


@export("KeEnterCriticalRegion", args="")
def ke_enter_critical_region(m: Machine) -> None:
    if m.cpu.irql > APC_LEVEL:
        m.bugcheck(0xC4, 0x11A, m.cpu.irql, 0, 0, reason="KeEnterCriticalRegion above APC_LEVEL")
    m.current.body.apc_disable -= 1


@export("KeLeaveCriticalRegion", args="")
def ke_leave_critical_region(m: Machine) -> None:
    if m.cpu.irql > APC_LEVEL:
        m.bugcheck(0xC4, 0x11B, m.cpu.irql, 0, 0, reason="KeLeaveCriticalRegion above APC_LEVEL")
    if m.current.body.apc_disable >= 0:
        m.bugcheck(0xC4, 0x3E, 0, 0, 0, reason="KeLeaveCriticalRegion without KeEnterCriticalRegion")
    m.current.body.apc_disable += 1


@export("KeEnterGuardedRegion", args="", since=(5, 2))
def ke_enter_guarded_region(m: Machine) -> None:
    m.current.body.special_apc_disable -= 1


@export("KeLeaveGuardedRegion", args="", since=(5, 2))
def ke_leave_guarded_region(m: Machine) -> None:
    if m.current.body.special_apc_disable >= 0:
        m.bugcheck(0xC4, 0x3F, 0, 0, 0, reason="KeLeaveGuardedRegion without KeEnterGuardedRegion")
    m.current.body.special_apc_disable += 1


@export("KeAreApcsDisabled", args="", since=(5, 1))
def ke_are_apcs_disabled(m: Machine) -> int:
    return int(m.current.body.combined_apc_disable != 0 or m.cpu.irql >= APC_LEVEL)


@export("KeAreAllApcsDisabled", args="", since=(5, 2))
def ke_are_all_apcs_disabled(m: Machine) -> int:
    return int(m.current.body.special_apc_disable != 0 or m.cpu.irql >= APC_LEVEL)
