"""`harness matrix run`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.cluster_options import ClusterOption, cluster_at, machines_at
from harness.cli.history_options import HistoryOption, history_or_none
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.matrix.cluster.placing import Cluster
    from harness.matrix.plan.jobs import Job
    from harness.matrix.plan.plan import Plan
    from harness.matrix.run.folder import MatrixFolder

__all__ = ["run"]

#: As a shell has it for SIGINT.
_INTERRUPTED = 130


def run(
    plan: Annotated[
        Path | None,
        typer.Argument(help="The plan, a TOML file; not needed with --run.", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest run of this plan that was interrupted.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option("--run", help="With --resume: name or folder of the run.", show_default=False),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", min=0, help="Cores to use; 0: what the plan says, else all there are."),
    ] = 0,
    results: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("results"),
    history: HistoryOption = None,
    cluster: ClusterOption = None,
) -> None:
    """Run a plan: every job on its target, with progress, a report and a place in the history.

    A run that was interrupted, however, goes on with --resume and repeats nothing that finished.
    Exit codes: 0 nothing failed, 1 something did, 3 results are missing (INFRA), 130 interrupted.

    Example: harness matrix run nightly.toml

    Example: harness matrix run nightly.toml --resume

    Example: harness matrix run nightly.toml --cluster 10.0.0.1:6379
    """
    from rich.console import Console

    from harness.cli.output import short_path
    from harness.matrix.plan.jobs import read_frozen
    from harness.matrix.run.conclude import conclude
    from harness.matrix.run.conductor import host_capacity
    from harness.matrix.run.lifecycle import begin, check_unchanged
    from harness.matrix.schedule.scheduler import check_room
    from harness.report.github import announce
    from harness.report.write import PAGE
    from harness.results.notes import read_findings
    from harness.results.terminal import print_matrix
    from harness.results.words import one_line

    folder: MatrixFolder | None = None
    with cluster_at(cluster) as ray:
        if resume or name is not None:
            folder = _interrupted(plan, results, name, resume=resume)
            frozen, todo = read_frozen(folder.path)
            check_unchanged(folder, frozen, todo)
        else:
            frozen, todo = _prepared(plan, history, results, ray)
        hosts = _hosts(ray, frozen, todo)
        if folder is None:
            if hosts is None:
                check_room(todo, host_capacity(frozen.limits, jobs))
            folder = begin(frozen, todo, results, arguments=("matrix", *sys.argv[2:]))
        with folder.locked():
            if not _conduct(folder, frozen, todo, jobs, hosts):
                said = f"interrupted; go on with: harness matrix run --resume --run {folder.path}"
                typer.echo(said, err=True)
                raise typer.Exit(_INTERRUPTED)
            with history_or_none(history, results) as store:
                code, matrix = conclude(folder, todo, store)
    print_matrix(matrix, Console())
    for finding in read_findings(folder.path):
        typer.echo(one_line(str(finding), 1000))
    announce(folder.path, os.environ, typer.echo, root=frozen.root)
    typer.echo(f"results: {short_path(folder.path)}, report: {short_path(folder.path / PAGE)}")
    raise typer.Exit(code)


def _interrupted(plan: Path | None, results: Path, name: str | None, *, resume: bool) -> MatrixFolder:
    from harness.matrix.run.lifecycle import find_interrupted

    if not resume:
        raise UsageError("--run names a run to go on with: give --resume as well")
    if plan is None and name is None:
        raise UsageError("--resume needs the plan, or --run with the name of the run")
    return find_interrupted(results, plan=plan, name=name)


def _prepared(
    plan: Path | None, history: str | None, results: Path, ray: Any
) -> tuple[Plan, tuple[Job, ...]]:
    from rich.console import Console

    from harness.matrix.plan.prepare import prepare

    if plan is None:
        raise UsageError("which plan? harness matrix run PLAN.toml")
    with history_or_none(history, results) as store:
        durations = store.durations() if store is not None else None
    with Console(stderr=True).status("reading the plan, collecting its suites"):
        prepared = prepare(plan, durations, machines=machines_at(ray))
    return prepared.plan, prepared.jobs


def _conduct(
    folder: MatrixFolder,
    plan: Plan,
    jobs: tuple[Job, ...],
    cores: int,
    hosts: Cluster | None,
) -> bool:
    import asyncio

    from harness.cli.matrix_progress import ProgressView
    from harness.matrix.run.conductor import LocalHost, conduct, host_capacity

    done = [job for job in jobs if folder.job(job.id).end is not None]
    with ProgressView(jobs, done) as view:
        if hosts is not None:
            there = hosts.capacity(jobs, cores)
            return asyncio.run(conduct(folder, jobs, hosts.working_on(folder), there, view))
        with LocalHost(folder, plan).open(jobs) as host:
            return asyncio.run(conduct(folder, jobs, host, host_capacity(plan.limits, cores), view))


def _hosts(ray: Any, plan: Plan, jobs: tuple[Job, ...]) -> Cluster | None:
    """The hosts of the cluster, which can run all of the jobs; None without one."""
    if ray is None:
        return None
    from harness.matrix.cluster.placing import Cluster

    hosts = Cluster(ray, plan)
    hosts.check(jobs)
    return hosts
