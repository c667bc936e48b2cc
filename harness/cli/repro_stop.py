"""`harness repro --before-op`: a machine paused before an operation, or a look at a reference guest there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from harness.cli.output import say
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.guests import Guests
    from harness.repro.bundle import Bundle
    from harness.repro.scenario import RunProgram, Scenario
    from harness.repro.stop import Stop
    from harness.targets import Target

__all__ = ["stop_before"]

_PAUSED: Final = """
{target} is paused before {what}; handles that are open at that moment are open.
Set breakpoints, then let it go on in the debugger: what it is held before goes on with it.
"""


def stop_before(bundle: Bundle, wanted: str, target: str, recipes: list[Path]) -> None:
    """Do what the test did as far as the operation `wanted`, a number or "failure"."""
    from harness.repro.missing import check, recipe_folders
    from harness.repro.recorded import scenario_of
    from harness.repro.stop import program_of, stop_at
    from harness.targets import parse_target

    if wanted != "failure" and not wanted.isdecimal():
        raise UsageError(f"--before-op: {wanted!r} is no number of an operation, nor 'failure'")
    name = target or bundle.manifest.target
    for note in check(bundle, name, recipes):
        say(f"note: {note}", err=True)
    scenario = scenario_of(bundle)
    stop = stop_at(scenario, None if wanted == "failure" else int(wanted))
    chosen = parse_target(name, recipe_folders(bundle, recipes))
    unknown = program_of(scenario, stop) if stop.operation is None else None
    if chosen.recipe is not None:
        _hold(bundle, scenario, stop, unknown, chosen)
    elif unknown is None:
        _look(bundle, scenario, stop, name)
    else:
        raise UsageError(
            f"which operation failed is not known; its program has {len(unknown.operations)}: "
            "say --before-op N"
        )


def _look(bundle: Bundle, scenario: Scenario, stop: Stop, target: str) -> None:
    """A reference guest has no processor that a debugger could attach to: show what is there."""
    from harness.repro.stop import described
    from harness.repro.unpacked import Unpacked
    from harness.repro.worker import Order
    from harness.repro.workers import Workers

    with Unpacked(bundle) as unpacked, Workers(bundle, unpacked, target, 1) as workers:
        (answer,) = workers.ask([Order(scenario, target, stop=stop)])
    say(f"{target} has no debugger port, it is a model; before {described(scenario, stop)} it holds:")
    for line in answer.picture:
        say(line)


def _hold(bundle: Bundle, scenario: Scenario, stop: Stop, unknown: RunProgram | None, target: Target) -> None:
    """A machine with its debugger ports open, until Ctrl-C or `harness guest stop`.

    `unknown` is a program of which nobody knows which operation failed.
    """
    from rich.console import Console

    from harness.guests import Guests, GuestSettings
    from harness.machine.desk import hold
    from harness.machine.guest import MachineGuest
    from harness.machine.hypervisor.debugger import open_debugger
    from harness.repro.debug import held_before
    from harness.repro.stop import described

    images = {driver.member: bundle.image(driver) for driver in bundle.manifest.drivers}
    with Guests(GuestSettings(channel=bundle.manifest.test.channel)) as guests:
        if unknown is not None:
            stop = _found(scenario, unknown, stop, images, guests, target)
        with Console(stderr=True).status(f"starting {target} (its template is made the first time)"):
            guest = guests.boot(target)
        with guest:
            assert isinstance(guest, MachineGuest)
            with (
                hold(guest, target.name) as ended,
                held_before(guest, scenario, stop, images) as held,
                open_debugger(guest.machine) as ports,
            ):
                if held.done:
                    typer.echo("operations:")
                for line in held.done:
                    say(line)
                say(_PAUSED.format(target=target, what=described(scenario, stop)))
                typer.echo(ports.instructions)
                try:
                    while not ended.is_set():
                        for line in held.news(0.5):
                            say(line)
                except KeyboardInterrupt:
                    typer.echo("ending it", err=True)


def _found(
    scenario: Scenario,
    program: RunProgram,
    stop: Stop,
    images: dict[str, bytes],
    guests: Guests,
    target: Target,
) -> Stop:
    """Where the machine dies, found on one that is thrown away."""
    from rich.console import Console

    from harness.machine.guest import MachineGuest
    from harness.repro.failure import CrashFacts
    from harness.repro.stepping import failing_operation
    from harness.repro.stop import described

    with (
        Console(stderr=True).status(f"starting {target} to find the operation that fails") as status,
        guests.boot(target) as guest,
    ):
        assert isinstance(guest, MachineGuest)
        culprit = failing_operation(
            guest,
            scenario,
            program,
            images,
            lambda number, count: status.update(f"letting operation {number} of {count} go"),
        )
    stop = replace(stop, operation=culprit.operation)
    typer.echo(
        f"{target} died of {described(scenario, stop)}, found by letting the program's operations go one by "
        f"one on another machine: {str(culprit.error).splitlines()[0]}"
    )
    recorded = scenario.failure.crash
    if recorded is not None and recorded.code != culprit.error.bugcheck.code:
        typer.echo(
            f"note: recorded was {recorded}, this is {CrashFacts.of(culprit.error.bugcheck)}", err=True
        )
    return stop
