"""`harness repro --machine`: the failed machine itself, held for debuggers and for the other commands."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

import typer

from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
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
    from harness.repro.restart import check_restart, restarted
    from harness.targets import parse_target

    if resume and not trust:
        raise UsageError(
            "--resume loads the state of a machine's devices, which QEMU takes much as it is; if you know "
            "who made the bundle, say --trust too"
        )
    manifest = bundle.manifest
    name = target or manifest.target
    chosen = parse_target(name, [*recipes, *(Path(each) for each in manifest.test.recipes)])
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
        typer.echo(text.format(target=chosen, test=manifest.test.name, failure=failure))
        typer.echo(ports.instructions)
        if run or (run is None and not resume):
            machine.resume()
        else:
            typer.echo(_WAITS)

        def reached() -> bool:
            """Whether there is nothing more to wait for: its guest is at the desk, or never will be."""
            guest = _guest(machine, lambda: guests.machines.reach(machine, make))
            if isinstance(guest, HarnessError):
                typer.echo(f"its runner is left alone: {guest}", err=True)
                return True
            if guest is None:
                return False
            stack.callback(guest.close)
            guest.watch.stop()  # a machine in a debugger is silent for as long as somebody thinks
            desk.guest = guest
            typer.echo(_USE.format(target=chosen))
            return True

        try:
            _attend(happened, ended.is_set, reached)
        except KeyboardInterrupt:
            typer.echo("ending it", err=True)


def _guest(machine: Machine, reach: Callable[[], MachineGuest | None]) -> MachineGuest | HarnessError | None:
    """The machine's guest; None while it doesn't answer, and an error when it is none to talk to."""
    if not machine.running:
        return None
    try:
        return reach()
    except HarnessError as error:
        return error


def _attend(
    happened: SimpleQueue[MachineEvent], ended: Callable[[], bool], reached: Callable[[], bool]
) -> None:
    """Tell what happens to the machine until it ends, and ask for its guest until that was `reached`."""
    from harness.machine.hypervisor.events import EventKind

    told = (EventKind.PANIC, EventKind.RESET, EventKind.SHUTDOWN, EventKind.EXIT)
    waiting = True
    while not ended():
        waiting = waiting and not reached()
        try:
            event = happened.get(timeout=_LOOK)
        except Empty:
            continue
        if event.kind in told:
            typer.echo(f"the machine: {event}")
        if event.kind is EventKind.EXIT:
            return
