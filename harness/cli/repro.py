"""`harness repro`: a failure once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harness.cli.output import AsJson, print_json, say
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.repro.bundle import Bundle
    from harness.repro.verdict import Attempt

__all__ = ["BundleFile", "repro"]

#: Exit codes by `harness.repro.verdict.Verdict`.
_EXIT: Final = {"REPRODUCED": 0, "NOT_REPRODUCED": 1, "INFRA": 3, "SKIPPED": 3, "DIFFERENT": 4}

BundleFile = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="results/<run>/bundles/NAME.zip", show_default=False)
]


def repro(
    bundle: BundleFile,
    target: Annotated[
        str, typer.Option("--target", "-t", help="Run it there instead of on its own.", show_default=False)
    ] = "",
    times: Annotated[int, typer.Option(min=1, max=100_000, help="So often; tells the failure rate.")] = 1,
    driver: Annotated[
        Path | None, typer.Option(help="Another build of the driver under test.", show_default=False)
    ] = None,
    earlier: Annotated[
        bool, typer.Option("--earlier", help="Run the tests before it on the same guest first.")
    ] = False,
    steps: Annotated[
        bool, typer.Option("--steps", help="Replay what the test did, without its Python.")
    ] = False,
    before_op: Annotated[
        str,
        typer.Option(
            "--before-op",
            metavar="N",
            help="Stop before operation N, or before 'failure', the one that failed; a machine waits there "
            "for debuggers.",
            show_default=False,
        ),
    ] = "",
    extract: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Run nothing: write the machine's disks and memory there, if the bundle has them "
            "(pytest --bundle-machine).",
            show_default=False,
        ),
    ] = None,
    machine: Annotated[
        bool,
        typer.Option(
            "--machine",
            help="Start the failed machine itself, on its own disks, UEFI variables and TPM state, switched "
            "off and on, and hold it until Ctrl-C (pytest --bundle-machine).",
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="With --machine: with its memory too, paused where it failed."),
    ] = False,
    run: Annotated[
        bool | None,
        typer.Option(
            "--run/--paused",
            help="With --machine: let it run, or wait for debuggers; by default it runs, resumed it waits.",
            show_default=False,
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Replay the bundle's assertion though its test isn't here; resume its machine's state.",
        ),
    ] = False,
    recipes: Annotated[
        list[Path] | None, typer.Option(help="Further folder of recipes; repeatable.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the failure of a bundle again, on a fresh guest.

    Exit codes: 0 reproduced, 1 not reproduced, 4 it fails in another way, 3 the harness or its host failed.

    Example: harness repro results/20261121-150000-000000-1/bundles/test_it.zip

    Example: harness repro failure.zip --times 20 -t reference:6.1

    Example: harness repro failure.zip --before-op failure

    Example: harness repro failure.zip --machine

    Example: harness repro failure.zip --machine --resume --trust

    Example: harness repro failure.zip --extract machine/
    """
    from harness.cli.repro_machine import hold_machine
    from harness.cli.repro_stop import stop_before
    from harness.repro.again import Again
    from harness.repro.bundle import Bundle

    if not machine and (resume or run is not None):
        raise UsageError("--resume, --run and --paused are about the failed machine itself: add --machine")
    if machine + bool(before_op) + (extract is not None) > 1:
        raise UsageError("--machine, --before-op and --extract are three things: say one at a time")
    if extract is not None:
        with Bundle.open(bundle) as opened:
            _extract(opened, extract, target, recipes or [])
        return
    if machine:
        with Bundle.open(bundle) as opened:
            hold_machine(opened, target, recipes or [], resume=resume, run=run, trust=trust)
        return
    if before_op:
        with Bundle.open(bundle) as opened:
            stop_before(opened, before_op, target, recipes or [])
        return
    with (
        Bundle.open(bundle) as opened,
        Again(
            opened,
            target=target,
            driver=driver,
            earlier=earlier,
            recipes=recipes or (),
            steps=steps,
            trust=trust,
        ) as again,
    ):
        for note in again.notes:
            say(f"note: {note}", err=True)
        say(f"{opened.manifest.test.name} on {again.target}", err=True)
        with _progress(times) as advance:
            attempts = again.repeat(times, advance)
    raise typer.Exit(_tell(opened, attempts, as_json))


def _extract(bundle: Bundle, folder: Path, target: str, recipes: list[Path]) -> None:
    from rich.console import Console

    from harness.repro.machine_files import extract_machine
    from harness.repro.missing import missing

    with Console(stderr=True).status(f"extracting to {folder}"):
        files = extract_machine(bundle, folder)
    for file in files:
        typer.echo(file)
    if bundle.manifest.no_machine:
        say(f"missing: {bundle.manifest.no_machine}", err=True)
    for line in missing(bundle, target or bundle.manifest.target, recipes)[1]:
        say(f"a machine on these files needs what is not here: {line}", err=True)


@contextmanager
def _progress(times: int) -> Iterator[Callable[[object], None]]:
    """A bar for several runs, on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("running", total=times)
        yield lambda _: bar.advance(task)


def _tell(bundle: Bundle, attempts: list[Attempt], as_json: bool) -> int:
    """Print the verdict; the exit code."""
    from harness.repro.verdict import Rate, Verdict

    verdicts = [attempt.verdict for attempt in attempts]
    order = (Verdict.REPRODUCED, Verdict.DIFFERENT, Verdict.NOT_REPRODUCED, Verdict.INFRA, Verdict.SKIPPED)
    verdict = next(each for each in order if each in verdicts)
    message = next(attempt.message for attempt in attempts if attempt.verdict is verdict)
    rate = Rate.of_attempts(attempts)
    if as_json:
        print_json(
            {
                "bundle": str(bundle.file),
                "verdict": verdict,
                "message": message,
                "runs": [{"verdict": each.verdict, "message": each.message} for each in attempts],
                "rate": {"hits": rate.hits, "runs": rate.runs, "low": rate.low, "high": rate.high},
            }
        )
    else:
        say(f"{verdict}: {message}")
        if len(attempts) > 1:
            typer.echo(f"failed the same way in {rate}")
            for other in (Verdict.DIFFERENT, Verdict.INFRA):
                if other in verdicts:
                    typer.echo(f"{other}: {verdicts.count(other)}")
    return _EXIT[verdict.name]
