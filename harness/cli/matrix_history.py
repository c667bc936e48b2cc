"""`harness matrix runs`, `ingest`, `prune` and `verify`: the history itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from harness.cli.history_options import HistoryOption, ResultsOption, history_of, opened
from harness.cli.output import AsJson, print_json, print_table
from harness.results.words import one_line

if TYPE_CHECKING:
    from harness.history import Ingested, Problem, RunSummary

__all__ = ["ingest", "prune", "runs", "verify"]

_MIB: Final = 1 << 20


def runs(
    plan: Annotated[str | None, typer.Option(help="Runs of this plan only.", show_default=False)] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, the newest first.")] = 20,
    results: ResultsOption = Path("results"),
    history: HistoryOption = None,
    as_json: AsJson = False,
) -> None:
    """List the runs in the history, the newest first.

    Example: harness matrix runs --plan nightly -n 5
    """
    with history_of(history, results) as found:
        summaries = found.runs(limit=limit, plan=plan)
    if as_json:
        print_json([_json(summary) for summary in summaries])
        return
    columns = ("run", "plan", "started", "targets", "outcomes")
    print_table(columns, [_row(summary) for summary in summaries])


def _json(summary: RunSummary) -> dict[str, Any]:
    return {
        **asdict(summary.info),
        "plan": summary.plan,
        "targets": summary.targets,
        "counts": {outcome.value: count for outcome, count in summary.counts.items()},
        "folder": str(summary.folder),
    }


def _row(summary: RunSummary) -> dict[str, object]:
    counts = sorted(summary.counts.items(), key=lambda item: item[0].gravity)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts) or "no rows"
    return {
        "run": summary.name,
        "plan": one_line(summary.plan, 64) or "-",
        "started": summary.info.started[:16].replace("T", " "),
        "targets": len(summary.targets),
        "outcomes": outcomes if summary.info.finished else f"{outcomes}; not finished",
    }


def ingest(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders of runs; default: all in --results.", show_default=False),
    ] = None,
    results: ResultsOption = Path("results"),
    history: HistoryOption = None,
    as_json: AsJson = False,
) -> None:
    """Take runs into the history, with their evidence; what is there already stays as it is.

    Matrix runs get there by themselves, and `show`, `diff` and `runs` take in what is new in the folder.

    Example: harness matrix ingest /mnt/ci/results/20261121-023000-000000-4711
    """
    with opened(history, results) as found:
        done = [found.ingest(folder) for folder in folders] if folders else found.ingest_all(results)
    if as_json:
        print_json([asdict(each) for each in done])
        return
    for each in done:
        typer.echo(f"{each.run}: {each.trouble}" if each.trouble else _said(each))
        for name in each.missing:
            typer.echo(f"  {one_line(name)} is named by a row and missing")


def _said(done: Ingested) -> str:
    changed = f", {done.changed} changed" if done.changed else ""
    rows = f"{done.added} new rows{changed}, {done.unchanged} known"
    return f"{done.run}: {rows}; {done.evidence} new files of evidence"


def prune(
    passes_days: Annotated[
        float, typer.Option(min=0, help="Days that evidence of passes is kept; 0: for ever.")
    ] = 30,
    failures_days: Annotated[
        float, typer.Option(min=0, help="Days that evidence of failures is kept; 0: for ever.")
    ] = 0,
    max_mib: Annotated[
        int, typer.Option(min=0, help="MiB of evidence at most, passes go first, the oldest first; 0: all.")
    ] = 0,
    plan: Annotated[
        str | None, typer.Option(help="Of the runs of this plan only.", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")
    ] = False,
    results: ResultsOption = Path("results"),
    history: HistoryOption = None,
    as_json: AsJson = False,
) -> None:
    """Remove old evidence from the history and from the folders of runs. Rows and reports stay.

    A report.html that links to it is made anew and says there what was thinned out, and when.

    Example: harness matrix prune --passes-days 14 --dry-run
    """
    from harness.history import Retention
    from harness.report.write import rewrite_thinned

    policy = Retention(passes_days, failures_days, max_mib * _MIB)
    with history_of(history, results) as found:
        gone = found.prune(policy, plan=plan, dry_run=dry_run)
        if not dry_run:
            rewrite_thinned(found)
    if as_json:
        print_json({**asdict(gone), "dry_run": dry_run})
        return
    would = "would remove" if dry_run else "removed"
    typer.echo(
        f"{would} evidence: {gone.passes} of passes, {gone.failures} of failures, "
        f"{gone.unreferenced} of no row; {gone.bytes / _MIB:,.1f} MiB"
    )


def verify(
    results: ResultsOption = Path("results"),
    history: HistoryOption = None,
    as_json: AsJson = False,
) -> None:
    """Read all evidence again: whether each file is there, and still what its SHA-256 says.

    Exits with 1 where one isn't. Nothing is changed; what is lost comes back from a backup alone.

    Example: harness matrix verify --history /srv/harness/history.sqlite
    """
    with opened(history, results) as found:
        verified = found.verify()
    if as_json:
        print_json({**asdict(verified), "problems": [_problem(each) for each in verified.problems]})
    else:
        for each in verified.problems:
            typer.echo(f"{each.wrong}: {each.path}")
            for run, name in each.uses:
                typer.echo(f"  {one_line(name)} of {run}")
        stray = f", {verified.unreferenced} of no row (the next prune removes them)"
        typer.echo(
            f"{verified.files} files, {verified.bytes / _MIB:,.1f} MiB: {len(verified.problems)} problems"
            f"{stray if verified.unreferenced else ''}"
        )
    if verified.problems:
        raise typer.Exit(1)


def _problem(problem: Problem) -> dict[str, Any]:
    uses = [{"run": run, "name": name} for run, name in problem.uses]
    return {"wrong": problem.wrong, "digest": problem.digest, "path": str(problem.path), "uses": uses}
