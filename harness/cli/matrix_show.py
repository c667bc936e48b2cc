"""`harness matrix show` and `harness matrix diff`: a run, and what changed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from harness.cli.history_options import HistoryOption, ResultsOption, history_of, run_named
from harness.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from harness.history import Change, Difference
    from harness.results.matrix import Matrix
    from harness.results.model import RunInfo

__all__ = ["diff", "print_run", "show"]

#: Changes listed without --all; each group is of one test.
_SHOWN: Final = 20


def show(
    run: Annotated[
        str | None, typer.Argument(help="Name or folder of a run; default: the newest.", show_default=False)
    ] = None,
    results: ResultsOption = Path("results"),
    history: HistoryOption = None,
    everything: Annotated[bool, typer.Option("--all", help="List every change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the matrix of a run, and what changed against the run before it of the same plan.

    Runs in the folder are taken into the history first. A run without a plan is compared with the one before
    that was asked for the same.

    Example: harness matrix show

    Example: harness matrix show 20261121-023000-000000-4711 --json
    """
    from harness.results.matrix import Matrix

    with history_of(history, results) as found:
        summary = found.run(None if run is None else run_named(found, run))
        previous = found.previous(summary.name)
        matrix = Matrix(found.results(summary.name))
        changes = None if previous is None else found.difference(previous.name, summary.name)
    print_run(matrix, summary.info, changes, as_json=as_json, limit=None if everything else _SHOWN)
    if not as_json:
        typer.echo(str(summary.folder))


def print_run(
    matrix: Matrix,
    info: RunInfo,
    changes: Difference | None = None,
    *,
    as_json: bool = False,
    limit: int | None = _SHOWN,
) -> None:
    """The matrix of a run and its changes, at most `limit` of them, for people or programs."""
    if as_json:
        print_json(
            {
                "run": asdict(info),
                "results": [result.to_json() for result in matrix.results],
                "difference": None if changes is None else _json(changes),
            }
        )
        return
    from rich.console import Console

    from harness.results.terminal import print_matrix

    print_matrix(matrix, Console())
    if changes is not None:
        _print_difference(changes, limit)


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A run (name or folder), or a target.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    run: Annotated[
        str | None,
        typer.Option(help="With targets: the run; default: the newest.", show_default=False),
    ] = None,
    results: ResultsOption = Path("results"),
    history: HistoryOption = None,
    everything: Annotated[bool, typer.Option("--all", help="List every change.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 where B fails and A didn't.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print which tests differ between two runs, or between two targets of one run.

    Example: harness matrix diff 20261120-023000-000000-4711 20261121-023000-000000-4811

    Example: harness matrix diff reference:10.0.19045 reference:10.0.26100
    """
    with history_of(history, results) as found:
        sides = [run_named(found, name) for name in (before, after)]
        known = {summary.name for summary in found.runs()}
        if run is not None or not known.intersection(sides):
            chosen = None if run is None else run_named(found, run)
            difference = found.difference_of_targets(chosen, before, after)
        else:
            difference = found.difference(*sides)
    if as_json:
        print_json(_json(difference))
    else:
        _print_difference(difference, None if everything else _SHOWN)
    if exit_code and difference.worse:
        raise typer.Exit(1)


def _json(difference: Difference) -> dict[str, Any]:
    changes = [{**asdict(change), "worse": change.worse} for change in difference.changes]
    return {**asdict(difference), "changes": changes}


def _print_difference(difference: Difference, limit: int | None) -> None:
    """A line for every change, of one test on many targets together; what got worse first."""
    from rich.console import Console
    from rich.text import Text

    from harness.results.matrix import column_of
    from harness.results.terminal import STYLES
    from harness.results.words import one_line

    console = Console()
    worse, better = len(difference.worse), len(difference.better)
    others = len(difference.changes) - worse - better
    console.print(
        Text(
            f"{one_line(difference.after)} against {one_line(difference.before)}: "
            f"{worse} worse, {better} better, "
            f"{others} otherwise different, {difference.same} the same"
        ),
        soft_wrap=True,
    )
    groups = _grouped(difference.changes)
    for same in groups[:limit]:
        change = same[0]
        columns = ", ".join(column_of(each.target, each.build) for each in same if each.target or each.build)
        where = "" if not columns else f" [{columns if len(same) <= 3 else f'{len(same)} targets'}]"
        sides = [
            ("-", "dim") if side is None else (str(side), STYLES[side])
            for side in (change.before, change.after)
        ]
        line = Text.assemble(
            sides[0],
            " → ",
            sides[1],
            f" {one_line(change.test)}{one_line(where)} ",
            (one_line(change.message), "dim"),
        )
        console.print(line, soft_wrap=True)
    if limit is not None and len(groups) > limit:
        console.print(Text(f"... and {len(groups) - limit} more; --all lists them"))


def _grouped(changes: tuple[Change, ...]) -> list[list[Change]]:
    """The same change of one test on several targets together, in the order of the first."""
    found: dict[tuple[object, ...], list[Change]] = {}
    for change in changes:
        found.setdefault((change.test, change.before, change.after), []).append(change)
    return list(found.values())
