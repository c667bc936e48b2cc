"""`harness matrix plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from harness.cli.cluster_options import ClusterOption, cluster_at, machines_at
from harness.cli.history_options import HistoryOption
from harness.cli.output import AsJson, print_json, print_table

if TYPE_CHECKING:
    from harness.matrix.plan.estimate import Durations
    from harness.matrix.schedule.preview import Preview

__all__ = ["plan"]

#: Reasons for skips that are shown; JSON has them all.
_REASONS: Final = 8


def plan(
    file: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan, a TOML file.")],
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=0, help="Cores to use; 0: what the plan says, else all there are."),
    ] = 0,
    results: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("results"),
    history: HistoryOption = None,
    cluster: ClusterOption = None,
    as_json: AsJson = False,
) -> None:
    """Show what a plan would run, where, and for how long; nothing is started.

    All mistakes of the plan, of what it names and of the suites are told at once. Times come from former
    runs; what none supports is guessed, and marked so.

    Example: harness matrix plan docs/examples/nightly.toml

    Example: harness matrix plan nightly.toml --cluster 10.0.0.1:6379
    """
    from rich.console import Console

    from harness.matrix.plan.prepare import prepare
    from harness.matrix.run.conductor import host_capacity
    from harness.matrix.schedule.preview import Preview
    from harness.targets import parse_target

    with Console(stderr=True).status("reading the plan, collecting its suites"), cluster_at(cluster) as ray:
        machines = machines_at(ray)
        prepared = prepare(file, _durations(history, results), machines=machines)
        if ray is None:
            capacity = host_capacity(prepared.plan.limits, jobs)
        else:
            from harness.matrix.cluster.placing import Cluster

            hosts = Cluster(ray, prepared.plan)
            hosts.check(prepared.jobs)
            capacity = hosts.capacity(prepared.jobs, jobs)
        preview = Preview.of(prepared, capacity)
    if as_json:
        print_json({**preview.to_json(), "jobs": [job.to_json() for job in prepared.jobs]})
        return
    _print(preview, "this host" if ray is None else "the cluster")
    for target in dict.fromkeys(job.target for job in prepared.jobs if job.is_machine):
        if why := machines.flaw(parse_target(target, prepared.plan.recipes)):
            typer.echo(f"note: a crash of {target} may go unnoticed: {why}", err=True)


def _durations(history: str | None, results: Path) -> Durations:
    """What former runs took; nothing where there is no history yet. Looking at a plan makes none."""
    from harness.history import history_at

    with history_at(history, results, make=False) as store:
        return {} if store is None else store.durations()


def _print(preview: Preview, host: str) -> None:
    with_builds = any(share.build for share in preview.shares)
    columns = (
        "target",
        *(("build",) if with_builds else ()),
        "jobs",
        "files",
        "tests",
        "skipped",
        "expected",
    )
    print_table(
        (*columns, "guessed"),
        [
            {
                "target": share.target,
                "build": share.build or "-",
                "jobs": share.jobs,
                "files": share.files,
                "tests": share.tests,
                "skipped": share.skipped,
                "expected": _time(share.expected),
                "guessed": f"{share.guessed:.0%}" if share.guessed else "",
            }
            for share in preview.shares
        ],
    )
    if preview.skips:
        typer.echo("\nskipped:")
    for skips in preview.skips[:_REASONS]:
        where = skips.targets[0] if len(skips.targets) == 1 else f"{len(skips.targets)} targets"
        typer.echo(f"  {skips.tests} on {where}: {skips.reason}")
    if len(preview.skips) > _REASONS:
        typer.echo(f"  and for {len(preview.skips) - _REASONS} more reasons; --json has them all")
    for left in preview.left_out:
        typer.echo(f"left out: {left.target}: {left.reason}")
    count, tests = (sum(getattr(share, name) for share in preview.shares) for name in ("jobs", "tests"))
    size = f"{preview.capacity.cores} cores, {preview.capacity.memory_mib} MiB"
    typer.echo(
        f"\n{preview.name}: {count} jobs, {tests} tests, {_time(preview.work)} of work; "
        f"about {_time(preview.makespan)} on {host} ({size})"
    )
    if preview.guessed:
        typer.echo(f"{preview.guessed:.0%} of the time is a guess: no former run took the same")


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
