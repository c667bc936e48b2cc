"""`harness repro --before-op`: a machine paused before an operation, or a look at a reference guest there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.repro.bundle import Bundle
    from harness.repro.scenario import Scenario
    from harness.repro.stop import Stop
    from harness.targets import Target

__all__ = ["stop_before"]

_PAUSED: Final = """
{target} is paused before operation {operation}. What came before it has ended: its handles are closed.
Let it go on in the debugger, and the operation is sent, after what opens its handles again.
"""


def stop_before(bundle: Bundle, wanted: str, target: str, recipes: list[Path]) -> None:
    """Do what the test did as far as the operation `wanted`, a number or "failure"."""
    from harness.repro.missing import check
    from harness.repro.recorded import scenario_of
    from harness.repro.stop import stop_at
    from harness.targets import parse_target

    if wanted != "failure" and not wanted.isdigit():
        raise UsageError(f"--before-op: {wanted!r} is no number of an operation, nor 'failure'")
    name = target or bundle.manifest.target
    for note in check(bundle, name, recipes):
        typer.echo(f"note: {note}", err=True)
    scenario = scenario_of(bundle)
    stop = stop_at(scenario, None if wanted == "failure" else int(wanted))
    chosen = parse_target(name, [*recipes, *(Path(each) for each in bundle.manifest.test.recipes)])
    if chosen.recipe is None:
        _look(bundle, scenario, stop, name)
    else:
        _hold(bundle, scenario, stop, chosen)


def _look(bundle: Bundle, scenario: Scenario, stop: Stop, target: str) -> None:
    """A reference guest has no processor that a debugger could attach to: show what is there."""
    from harness.repro.unpacked import Unpacked
    from harness.repro.worker import Order
    from harness.repro.workers import Workers

    with Unpacked(bundle) as unpacked, Workers(bundle, unpacked, target, 1) as workers:
        (answer,) = workers.ask([Order(scenario, target, stop=stop)])
    typer.echo(f"{target} has no debugger port, it is a model; before operation {stop.operation} it holds:")
    for line in answer.picture:
        typer.echo(line)


def _hold(bundle: Bundle, scenario: Scenario, stop: Stop, target: Target) -> None:
    """A machine with its debugger ports open, until Ctrl-C or `harness guest stop`."""
    from rich.console import Console

    from harness.guests import Guests, GuestSettings
    from harness.machine.desk import hold
    from harness.machine.guest import MachineGuest
    from harness.machine.hypervisor.debugger import open_debugger
    from harness.repro.debug import held_before

    with Guests(GuestSettings(channel=bundle.manifest.test.channel)) as guests:
        with Console(stderr=True).status(f"starting {target} (its template is made the first time)"):
            guest = guests.boot(target)
        with guest:
            assert isinstance(guest, MachineGuest)
            with (
                hold(guest, target.name) as ended,
                held_before(guest, bundle, scenario, stop) as held,
                open_debugger(guest.machine) as ports,
            ):
                for line in held.picture:
                    typer.echo(line)
                typer.echo(_PAUSED.format(target=target, operation=stop.operation))
                typer.echo(ports.instructions)
                try:
                    while not ended.is_set():
                        if held.gone_on.wait(0.5):
                            held.gone_on.clear()
                            for line in held.finish():
                                typer.echo(line)
                            ended.wait()
                except KeyboardInterrupt:
                    typer.echo("ending it", err=True)
