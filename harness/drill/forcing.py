"""How each fault is forced on each kind of guest, and what must be seen of it then."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from harness.drill.model import Expected, Fault
from harness.guest.base import Arch, Capability, Guest, GuestKind
from harness.results.outcome import Outcome

if TYPE_CHECKING:
    from harness.machine.guest import MachineGuest
    from harness.targets import Target

__all__ = ["Way", "way_to"]

#: MANUALLY_INITIATED_CRASH1, for crashes that somebody asks for (debugger/bug-check-0xdeaddead).
_CODE: Final = 0xDEADDEAD
#: What the callback raises: an error of the customer's range, which no system code uses (ntstatus.h).
_STATUS: Final = 0xE0C0_1135
#: REGISTRY_FILTER_DRIVER_EXCEPTION: exception code, context record, callback, reserved.
_CALLBACK_RAISED: Final = 0x135
#: An exception that nobody handles, where there is no code of its own for callbacks (before Vista).
_UNHANDLED: Final = (0x1E, 0x3B, 0x7E, 0x8E)
_MONITOR: Final = "320010.7301"

#: Seconds for an event that needs nothing but to be brought.
_AT_ONCE: Final = 60.0
#: A bugcheck of Windows is told after its screen was drawn and its own dump was written.
_BUGCHECK_SECONDS: Final = 120.0
#: A request that has not returned by then counts as hung, in a drill; tests wait longer.
_CALL_SECONDS: Final = 20.0
#: The reference guest's own limit for one call into a driver (`harness.reference.boot`).
_MODEL_CALL_SECONDS: Final = 10.0
#: Beyond the limit of a watcher: a loaded host may be late.
_LATE: Final = 120.0
_KEPT_SECONDS: Final = 300.0
_PIECES: Final = ("index.json", "screen.png", "debug.log", "qemu.log", "domain.xml", "events.txt")
_PIECES_WITHOUT_QEMU: Final = ("index.json", "qemu.log", "events.txt")


#: Does what must be there before; what it puts on the stack ends with the drill. The result forces the fault.
Prepare = Callable[[ExitStack], Callable[[], object]]


@dataclass(frozen=True, slots=True)
class Way:
    """How to force a fault on one guest.

    Forcing ends with what the watchers raise, or returns when they noticed nothing in time.
    """

    expected: Expected
    prepare: Prepare


def way_to(fault: Fault, guest: Guest, target: Target) -> Way | str:
    """The way to force `fault` on `guest`, or the reason why there is none."""
    if guest.info.kind is GuestKind.REFERENCE:
        return _on_reference(fault, guest)
    from harness.machine.guest import MachineGuest

    assert isinstance(guest, MachineGuest)
    if fault is Fault.EXIT:
        return _exit(guest)
    if fault is Fault.RUNAWAY:
        return _runaway(guest)
    if guest.info.kind is GuestKind.STAND_IN:
        return _on_stand_in(fault, guest, target)
    return _on_windows(fault, guest)


# -- with the probe ----------------------------------------------------------------------------------------


def _parameters(arch: Arch) -> tuple[int, int, int, int]:
    """Another set each time: whatever is told must be of this very crash."""
    first, second, third, fourth = (secrets.randbits(8 * arch.pointer_size) for _ in range(4))
    return first, second, third, fourth


def _bugcheck(guest: Guest, expected: Expected) -> Way:
    from harness.probe import Probe

    parameters = _parameters(guest.info.arch)

    def prepare(stack: ExitStack) -> Callable[[], object]:
        probe = Probe.install(guest)
        return lambda: probe.crash(_CODE, parameters)

    return Way(replace(expected, codes=(_CODE,), parameters=parameters), prepare)


def _exception(guest: Guest, expected: Expected) -> Way | str:
    version = guest.info.version
    if Capability.CALLBACKS not in guest.info.capabilities:
        return guest.info.reasons.get(Capability.CALLBACKS, "it has no registry callbacks")
    if version.swallows_callback_exceptions:
        return f"Windows {version} goes on after an exception in a registry callback (B-NOT-39)"
    codes = (_CALLBACK_RAISED,) if version.has_layering else _UNHANDLED
    return Way(
        replace(expected, codes=codes, parameters=(_STATUS, None, None, None)),
        lambda _: _raising_callback(guest),
    )


def _raising_callback(guest: Guest) -> Callable[[], object]:
    from harness.probe import Probe
    from harness.registry.notify import Pre
    from harness.workload import Registry

    probe = Probe.install(guest)
    raising = probe.add(None if not probe.info.has_register_callback_ex else _MONITOR)
    # Nobody but the drill writes this value, so nothing happens before its time.
    name = f"drill-{secrets.token_hex(4)}"
    raising.on(Pre.SetValueKey, value=name).raise_(_STATUS)

    def force() -> None:
        with Registry(guest).program() as p:
            p.set_value(p.create_key(p.test_root / "drill"), name, b"now")

    return force


def _stuck(guest: Guest, expected: Expected, *, spin: bool) -> Way:
    from harness.probe import Probe

    def prepare(stack: ExitStack) -> Callable[[], object]:
        probe = Probe.install(guest)
        return lambda: probe.hang(spin=spin)

    return Way(expected, prepare)


# -- the reference guest -----------------------------------------------------------------------------------


def _on_reference(fault: Fault, guest: Guest) -> Way | str:
    crash = Expected(Outcome.CRASH, _AT_ONCE)
    match fault:
        case Fault.BUGCHECK:
            return _bugcheck(guest, crash)
        case Fault.EXCEPTION:
            return _exception(guest, crash)
        case Fault.HANG:
            return _stuck(
                guest, Expected(Outcome.HANG, _AT_ONCE, words="nothing that is left to run"), spin=False
            )
        case Fault.RUNAWAY:
            limit = _MODEL_CALL_SECONDS + _LATE
            return _stuck(guest, Expected(Outcome.HANG, limit, words="has been running for"), spin=True)
        case Fault.PANIC:
            return "the modelled kernel has bugchecks, which are drilled"
        case Fault.EXIT:
            return "the reference guest is no machine: there is no QEMU"


# -- machines ----------------------------------------------------------------------------------------------


def _noticed(guest: MachineGuest, seconds: float) -> None:
    """Give the watchers their time; raises what they saw."""
    guest.watch.latch.wait(seconds)
    guest.watch.latch.check()


def _exit(guest: MachineGuest) -> Way | str:
    if guest.machine.pid is None:
        return "QEMU's process is not known: libvirt runs it somewhere else"
    pid = guest.machine.pid
    expected = Expected(
        Outcome.INFRA,
        _AT_ONCE + _LATE,
        words="QEMU ended by itself",
        kept_within=_KEPT_SECONDS,
        pieces=_PIECES_WITHOUT_QEMU,
    )

    return _awaited(guest, expected, lambda _: lambda: os.kill(pid, signal.SIGKILL))


def _died(outcome: Outcome, seconds: float, words: str = "") -> Expected:
    return Expected(outcome, seconds, words=words, kept_within=_KEPT_SECONDS, dump=True, pieces=_PIECES)


def _runaway(guest: MachineGuest) -> Way:
    expected = _died(Outcome.HANG, _CALL_SECONDS + _LATE, "does not return in the guest")
    way = _stuck(guest, expected, spin=True)

    def prepare(stack: ExitStack) -> Callable[[], object]:
        force = way.prepare(stack)
        guest.call_seconds = _CALL_SECONDS
        return force

    return Way(expected, prepare)


def _on_windows(fault: Fault, guest: MachineGuest) -> Way | str:
    crash = _died(Outcome.CRASH, _BUGCHECK_SECONDS)
    match fault:
        case Fault.BUGCHECK:
            return _bugcheck(guest, crash)
        case Fault.EXCEPTION:
            return _exception(guest, crash)
        case Fault.HANG:
            return _silent(guest, lambda _: lambda: _hang_by_runner(guest))
        case _:
            return f"{guest.info.kind} has bugchecks, which are drilled"


def _silent(guest: MachineGuest, prepare: Prepare) -> Way:
    """A fault that makes the whole guest fall silent."""
    seconds = guest.watch.limits.silence + _LATE
    return _awaited(guest, _died(Outcome.HANG, seconds, "no answer to a PING"), prepare)


def _awaited(guest: MachineGuest, expected: Expected, prepare: Prepare) -> Way:
    """Forcing returns at once, and the watchers are given their time afterwards."""

    def prepared(stack: ExitStack) -> Callable[[], object]:
        force = prepare(stack)

        def forced() -> None:
            force()
            _noticed(guest, expected.noticed_within)

        return forced

    return Way(expected, prepared)


def _hang_by_runner(guest: MachineGuest) -> None:
    from harness.channel.answers import CrashKind

    with guest.watch.call():
        guest.runner.crash(CrashKind.HANG)


def _on_stand_in(fault: Fault, guest: MachineGuest, target: Target) -> Way | str:
    match fault:
        case Fault.BUGCHECK:
            return "below Wine is Linux, which has no bugchecks: its panic is drilled"
        case Fault.EXCEPTION:
            return _exception(guest, Expected(Outcome.CRASH, 0.0))
        case Fault.PANIC:
            expected = _died(Outcome.CRASH, _AT_ONCE + _LATE, "Kernel panic")
            return _awaited(guest, expected, lambda stack: _as_root(guest, target, stack, _PANIC))
        case _:
            return _silent(guest, lambda stack: _as_root(guest, target, stack, _STARVE))


#: A thread above all others in a loop, with nothing kept for the rest: as the runner on Windows. Linux keeps
#: for them a share of time (sched(7)), from 6.12 on a deadline server a processor (kernel/sched/debug.c).
_STARVE: Final = (
    "echo -1 > /proc/sys/kernel/sched_rt_runtime_us; "
    "mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug; "
    "for server in /sys/kernel/debug/sched/fair_server/cpu*/runtime; do "
    "[ ! -e $server ] || echo 0 > $server; done; "
    "for cpu in $(seq $(nproc)); do chrt --fifo 99 sh -c 'while :; do :; done' & done"
)
#: "c": a crash (Documentation/admin-guide/sysrq.rst of Linux).
_PANIC: Final = "echo c > /proc/sysrq-trigger"


def _as_root(guest: MachineGuest, target: Target, stack: ExitStack, line: str) -> Callable[[], object]:
    from harness.drill.root import connect_root

    client = stack.enter_context(connect_root(guest, target))
    # The answer may never come: it is not waited for.
    return lambda: client.exec_command(line)
