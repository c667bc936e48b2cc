"""`harness image drill`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.output import AsJson, print_json, short_path
from harness.drill.model import Fault

if TYPE_CHECKING:
    from harness.drill import DrillReport

__all__ = ["drill"]


def drill(
    name: Annotated[
        str, typer.Argument(metavar="NAME|TARGET", help="An image, or a target: reference:10.0.26100.")
    ],
    recipes: Annotated[
        list[Path] | None,
        typer.Option("--recipes", help="Further folder of recipes; repeatable.", show_default=False),
    ] = None,
    only: Annotated[
        list[Fault] | None,
        typer.Option(help="This fault alone; repeatable. Nothing is recorded then.", show_default=False),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="New folder for the evidence of each drill.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring guests down on purpose, and see whether it is noticed.

    Each way on a fresh one; each must be detected in time, attributed, dumped and evidenced. The result is
    kept beside the image, and `harness image list` shows it. Exit code 1 when one failed.

    Example: harness image drill stand-in

    Example: harness image drill reference:10.0.26100 --json
    """
    from rich.console import Console

    from harness.drill import DrillStore, run_drills
    from harness.errors import UsageError
    from harness.guests import Guests
    from harness.targets import VM, parse_target

    target = parse_target(name if ":" in name else VM + name, recipes or ())
    if keep is not None and keep.exists():
        raise UsageError(f"{keep} is there already; name a new folder for the evidence")
    with Guests() as guests, Console(stderr=True).status(f"{target}: booting") as status:
        report = run_drills(
            target,
            lambda: guests.boot(target),
            faults=tuple(dict.fromkeys(only)) if only else tuple(Fault),
            keep=keep,
            progress=lambda fault: status.update(f"{target}: {fault}"),
        )
    kept = DrillStore().keep(report) if report.image and report.complete else None
    if as_json:
        print_json({"passed": report.passed, **_as_dict(report)})
    else:
        _show(report)
        if kept is not None:
            typer.echo(f"kept: {short_path(kept)}", err=True)
    if not report.passed:
        raise typer.Exit(1)


def _as_dict(report: DrillReport) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(report)


def _show(report: DrillReport) -> None:
    width = max(len(result.fault) for result in report.results)
    for result in report.results:
        line = f"{result.fault:<{width}}  {result.verdict}"
        if result.reason:
            line += f": {result.reason}"
        elif result.outcome is not None:
            line += f": {result.outcome} after {result.noticed_seconds:.1f} s"
        if result.evidence:
            line += f", {len(result.evidence)} files of evidence after another {result.kept_seconds:.1f} s"
        typer.echo(line)
        for text in (result.said, *(f"WRONG: {problem}" for problem in result.problems)):
            if text:
                typer.echo(f"{'':<{width}}  {text}")
