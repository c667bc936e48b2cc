"""Reader/writer spin locks. EX_SPIN_LOCK is a LONG: bit 31 the writer, the rest the readers.

Sources: nf-wdm-exacquirespinlockshared, nf-wdm-exacquirespinlockexclusive and their variants for code that is
at DISPATCH_LEVEL, nf-wdm-extryconvertsharedspinlockexclusive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import DISPATCH_LEVEL, irql_name
from harness.reference.kernel.ke_irql import lower_irql

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_WRITER: Final = 0x80000000
_SPIN_LOCK_ALREADY_OWNED: Final = 0x0F
_SPIN_LOCK_NOT_OWNED: Final = 0x10


def _raise_irql(m: Machine) -> int:
    old = m.cpu.irql
    m.cpu.irql = max(old, DISPATCH_LEVEL)
    return old


def _need_dispatch_level(m: Machine, routine: str) -> None:
    """Bugcheck 0xC4 (0x40, 0x41: such a routine was called below DISPATCH_LEVEL)."""
    if m.cpu.irql < DISPATCH_LEVEL:
        code = 0x40 if "Acquire" in routine else 0x41
        m.bugcheck(0xC4, code, m.cpu.irql, 0, 0, reason=f"{routine} was called at {irql_name(m.cpu.irql)}")


def _share(m: Machine, lock: int) -> None:
    if m.memory.u32(lock) & _WRITER:
        m.bugcheck(_SPIN_LOCK_ALREADY_OWNED, lock, reason="a shared acquire of a spin lock held exclusively")
    m.memory.put_u32(lock, m.memory.u32(lock) + 1)


def _unshare(m: Machine, lock: int) -> None:
    if not m.memory.u32(lock) & ~_WRITER:
        m.bugcheck(_SPIN_LOCK_NOT_OWNED, lock, reason="a shared release of a spin lock nobody holds")
    m.memory.put_u32(lock, m.memory.u32(lock) - 1)


def _take(m: Machine, lock: int) -> None:
    if m.memory.u32(lock):
        m.bugcheck(_SPIN_LOCK_ALREADY_OWNED, lock, reason="an exclusive acquire of a spin lock that is held")
    m.memory.put_u32(lock, _WRITER)


def _release(m: Machine, lock: int) -> None:
    if not m.memory.u32(lock) & _WRITER:
        m.bugcheck(
            _SPIN_LOCK_NOT_OWNED, lock, reason="an exclusive release of a spin lock not held exclusively"
        )
    m.memory.put_u32(lock, 0)


@export("ExAcquireSpinLockShared", args="ptr", since=(6, 0))
def ex_acquire_spin_lock_shared(m: Machine, lock: int) -> int:
    old = _raise_irql(m)
    _share(m, lock)
    return old


@export("ExReleaseSpinLockShared", args="ptr, uchar", since=(6, 0))
def ex_release_spin_lock_shared(m: Machine, lock: int, old: int) -> None:
    _unshare(m, lock)
    lower_irql(m, old & 0xFF)


@export("ExAcquireSpinLockExclusive", args="ptr", since=(6, 0))
def ex_acquire_spin_lock_exclusive(m: Machine, lock: int) -> int:
    old = _raise_irql(m)
    _take(m, lock)
    return old


@export("ExReleaseSpinLockExclusive", args="ptr, uchar", since=(6, 0))
def ex_release_spin_lock_exclusive(m: Machine, lock: int, old: int) -> None:
    _release(m, lock)
    lower_irql(m, old & 0xFF)


@export("ExAcquireSpinLockSharedAtDpcLevel", args="ptr", since=(6, 0))
def ex_acquire_spin_lock_shared_at_dpc_level(m: Machine, lock: int) -> None:
    _need_dispatch_level(m, "ExAcquireSpinLockSharedAtDpcLevel")
    _share(m, lock)


@export("ExReleaseSpinLockSharedFromDpcLevel", args="ptr", since=(6, 0))
def ex_release_spin_lock_shared_from_dpc_level(m: Machine, lock: int) -> None:
    _need_dispatch_level(m, "ExReleaseSpinLockSharedFromDpcLevel")
    _unshare(m, lock)


@export("ExAcquireSpinLockExclusiveAtDpcLevel", args="ptr", since=(6, 0))
def ex_acquire_spin_lock_exclusive_at_dpc_level(m: Machine, lock: int) -> None:
    _need_dispatch_level(m, "ExAcquireSpinLockExclusiveAtDpcLevel")
    _take(m, lock)


@export("ExReleaseSpinLockExclusiveFromDpcLevel", args="ptr", since=(6, 0))
def ex_release_spin_lock_exclusive_from_dpc_level(m: Machine, lock: int) -> None:
    _need_dispatch_level(m, "ExReleaseSpinLockExclusiveFromDpcLevel")
    _release(m, lock)


@export("ExTryConvertSharedSpinLockExclusive", args="ptr", since=(6, 0))
def ex_try_convert_shared_spin_lock_exclusive(m: Machine, lock: int) -> int:
    """TRUE when the caller was the only reader, and is the writer now."""
    if m.memory.u32(lock) != 1:
        return 0
    m.memory.put_u32(lock, _WRITER)
    return 1
