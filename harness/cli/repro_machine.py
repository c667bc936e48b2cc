"""`harness repro --machine`: the failed machine itself, held for debuggers and for the other commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

import typer

from harness.cleanup import Closing
from harness.cli.output import say
from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from harness.machine.desk import EarlyDesk
    from harness.machine.guest import MachineGuest
    from harness.machine.hypervisor.events import MachineEvent
    from harness.machine.hypervisor.machine import Machine
    from harness.repro.bundle import Bundle

__all__ = ["hold_machine"]

#: Seconds between two looks at a machine that nothing happens to.
_LOOK: Final = 0.5

_SWITCHED_ON: Final = """
{target} starts on the disks, UEFI variables and TPM state it had when {test} failed: {failure}.
It was switched off and on: what it had only in memory is gone, its file systems are as after a power failure.
"""
_RESUMED: Final = """
{target} stands, with its memory, where it stood when {test} had failed: {failure}.
Its CD drive is empty and its clock has stood still; the rest is as it was.
"""
_WAITS: Final = "It is paused: a debugger lets it go on. With --run it goes on at once."
_USE: Final = "its runner answers; use it: harness guest shell {target}   end it: harness guest stop {target}"


def hold_machine(
    bundle: Bundle, target: str, recipes: list[Path], *, resume: bool, run: bool | None, trust: bool
) -> None:
    """Start the machine of a bundle and hold it until Ctrl-C, or until `harness guest stop`.

    `run` False leaves it paused, before its first instruction or where it stood. None is True, with `resume`
    False.
    """
    from rich.console import Console

    from harness.cli.guest import refuse_held
    from harness.guests import Guests, GuestSettings
    from harness.machine.desk import EarlyDesk, hold
    from harness.machine.hypervisor.debugger import open_debugger
    from harness.repro.missing import recipe_folders
    from harness.repro.restart import check_restart, restarted
    from harness.targets import parse_target

    if resume and not trust:
        raise UsageError(
            "--resume loads the state of a machine's devices, which QEMU takes much as it is; if you know "
            "who made the bundle, say --trust too"
        )
    manifest = bundle.manifest
    name = target or manifest.target
    chosen = parse_target(name, recipe_folders(bundle, recipes))
    refuse_held(chosen.name)
    own = manifest.own_driver
    verified = () if own is None else (f"{own.service}.sys",)
    with ExitStack() as stack:
        guests = stack.enter_context(Guests(GuestSettings(channel=manifest.test.channel, verified=verified)))
        make = check_restart(bundle, chosen, guests, resume=resume)
        with Console(stderr=True).status(f"starting {chosen} on what {bundle.file.name} has of it"):
            machine = stack.enter_context(restarted(bundle, make, guests, resume=resume))
        desk = EarlyDesk(machine)
        ended = stack.enter_context(hold(desk, chosen.name))
        ports = stack.enter_context(open_debugger(machine))
        happened: SimpleQueue[MachineEvent] = SimpleQueue()
        stack.callback(machine.subscribe(happened.put))
        failure = manifest.failure.crash or manifest.failure.outcome.value
        text = _RESUMED if resume else _SWITCHED_ON
        say(text.format(target=chosen, test=manifest.test.name, failure=failure))
        typer.echo(ports.instructions)
        if run or (run is None and not resume):
            machine.resume()
        else:
            typer.echo(_WAITS)
        runner = stack.enter_context(_Runner(desk, machine, lambda: guests.machines.reach(machine, make)))
        try:
            _attend(happened, ended.is_set, runner)
        except KeyboardInterrupt:
            typer.echo("ending it", err=True)


class _Runner(Closing):
    """The guest of a machine, at the desk for as long as its runner answers."""

    def __init__(self, desk: EarlyDesk, machine: Machine, reach: Callable[[], MachineGuest | None]) -> None:
        self._desk = desk
        self._machine = machine
        self._reach = reach
        self._guest: MachineGuest | None = None
        self._left_alone = False

    def look(self) -> None:
        """Try to reach it, unless it is reached, or is none to talk to."""
        if self._guest is not None or self._left_alone or not self._machine.running:
            return
        try:
            self._guest = self._reach()
        except HarnessError as error:
            say(f"its runner is left alone: {error}", err=True)
            self._left_alone = True
            return
        if self._guest is not None:
            self._guest.watch.stop()  # a machine in a debugger is silent for as long as somebody thinks
            self._desk.seat(self._guest)
            typer.echo(_USE.format(target=self._guest.identity.name))

    def close(self) -> None:
        """Leave it, to look anew: the system starts again, or the machine ends."""
        guest, self._guest = self._guest, None
        self._left_alone = False
        self._desk.seat(None)
        if guest is not None:
            guest.close()


def _attend(happened: SimpleQueue[MachineEvent], ended: Callable[[], bool], runner: _Runner) -> None:
    """Tell what happens to the machine until it ends, and look for its runner after each start."""
    from harness.machine.hypervisor.events import EventKind

    told = (EventKind.PANIC, EventKind.RESET, EventKind.SHUTDOWN, EventKind.EXIT)
    while not ended():
        for event in _news(happened):
            if event.kind in told:
                say(f"the machine: {event}")
            if event.kind is EventKind.RESET:
                runner.close()
            if event.kind is EventKind.EXIT:
                return
        runner.look()


def _news(happened: SimpleQueue[MachineEvent]) -> Iterator[MachineEvent]:
    """What happened since the last look, and up to a moment later."""
    with suppress(Empty):
        yield happened.get(timeout=_LOOK)
        while True:
            yield happened.get_nowait()
