"""What an event of QEMU's or libvirt's means for the tests that run in the machine. Pure."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import GuestCrashed, GuestHung, HarnessError, InfrastructureError
from harness.guest.bugcheck import Bugcheck
from harness.machine.hypervisor.events import EventKind, MachineEvent, Panic

__all__ = ["verdict_on"]


def verdict_on(event: MachineEvent, text: Bugcheck | None, *, name: str) -> HarnessError | None:
    """The error that `event` makes of whatever is asked of the machine; None when it is harmless.

    `text` is what the debug port said of a bugcheck, `name` the machine's. Nobody asked for the event: the
    watchers are told off before the harness itself stops or resets a machine.
    """
    match event.kind:
        case EventKind.PANIC:
            return GuestCrashed(_panicked(event.panic or Panic(), text))
        case EventKind.RESET:
            if not event.data.get("guest", True):
                return None
            return GuestCrashed(
                text
                or Bugcheck.unknown("the guest reset itself: a triple fault, or a restart after a bugcheck")
            )
        case EventKind.SHUTDOWN:
            if not event.data.get("guest", True):
                return None  # QEMU is being ended; EXIT follows
            return InfrastructureError(
                f"{name}: the guest switched itself off in the middle of a run; look at what it had to do"
            )
        case EventKind.EXIT:
            if text is not None:
                return GuestCrashed(text)
            return InfrastructureError(
                f"{name}: QEMU ended by itself; its log is in the evidence (out of memory on the host, or a "
                "fault of QEMU's)"
            )
        case EventKind.IO_ERROR:
            return InfrastructureError(
                f"{name}: QEMU can't use the machine's disk ({_reason(event)}); is the host's disk full?"
            )
        case EventKind.WATCHDOG:
            return GuestHung(Bugcheck.unknown("the machine's watchdog device ran out"))
        case _:
            return None


def _panicked(panic: Panic, text: Bugcheck | None) -> Bugcheck:
    """A panic device's word for the code, the debug port's for what the device doesn't say."""
    if panic.code is None:
        return text or Bugcheck.unknown(
            "the guest panicked; its bugcheck code is not known (the panic device tells none)"
        )
    found = Bugcheck(panic.code, panic.parameters)
    if text is not None and text.code == panic.code:
        return replace(found, driver=text.driver)
    return found


def _reason(event: MachineEvent) -> str:
    reason = event.data.get("reason") or event.data.get("nospace") or "no reason given"
    return str(reason)[:200]
