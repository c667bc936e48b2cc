"""What kernel code must have given back when a thread is done with it: APCs enabled, its own process.

Critical and guarded regions, mutexes and guarded mutexes all disable APCs, so that one that is kept is found
here. Sources: debugger/bug-check-0x1--apc-index-mismatch, bug-check-0x20--kernel-apc-pending-during-exit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.modules import Driver
    from harness.reference.threads import Thread

__all__ = ["balance", "check_service_exit", "check_thread_exit", "check_work_item"]

_APC_INDEX_MISMATCH: Final = 0x01
_KERNEL_APC_PENDING_DURING_EXIT: Final = 0x20
_SYSTEM_CALL: Final = 0
_WORKER_ROUTINE: Final = 1


def balance(thread: Thread) -> tuple[int, int]:
    """CombinedApcDisable, and how many processes the thread is attached to: both 0 where nothing is kept."""
    body = thread.body
    return body.combined_apc_disable, len(body.attached)


def check_service_exit(m: Machine, routine: int) -> None:
    """A system service returns to user mode. `routine` is the callback that upset the balance last.

    Parameter 1 is the service's address on Windows; there is none here, so it is the callback's.
    """
    _check(m, m.current, routine, m.driver_at(routine), _SYSTEM_CALL, "a registry callback")


def check_work_item(m: Machine, thread: Thread, routine: int) -> None:
    """A worker thread gets back from a work item."""
    _check(m, thread, routine, m.driver_at(routine), _WORKER_ROUTINE, "a work item routine")


def _check(m: Machine, thread: Thread, routine: int, driver: Driver | None, kind: int, what: str) -> None:
    disabled, attached = balance(thread)
    if not disabled and not attached:
        return
    kept = f"APCs disabled ({_counts(disabled)}): a critical region, a mutex or a guarded mutex is kept"
    if attached:
        kept = "its thread attached to another process (KeStackAttachProcess)"
    m.bugcheck(
        _APC_INDEX_MISMATCH,
        routine,
        int(attached > 0),
        disabled,
        kind,
        driver=driver,
        stack=(routine,),
        reason=f"{what} left {kept}",
    )


def check_thread_exit(m: Machine, thread: Thread, routine: int) -> None:
    """A system thread ends. Parameters: the pending APC, the disable count, the IRQL, reserved."""
    disabled, _attached = balance(thread)
    if disabled:
        m.bugcheck(
            _KERNEL_APC_PENDING_DURING_EXIT,
            0,
            disabled,
            m.cpu.irql,
            driver=m.driver_at(routine),
            stack=(routine,),
            reason=f"a system thread ended with APCs disabled ({_counts(disabled)})",
        )


def _counts(combined: int) -> str:
    special, kernel = combined >> 16, combined & 0xFFFF
    return f"special {_signed(special)}, normal {_signed(kernel)}"


def _signed(count: int) -> int:
    return count - 0x10000 if count & 0x8000 else count
