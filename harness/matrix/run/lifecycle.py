"""The life of a matrix run: begun from a plan, found again after an interruption, brought to its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from harness.errors import UsageError
from harness.matrix.plan.jobs import Job, read_frozen, write_frozen
from harness.matrix.plan.plan import Plan
from harness.matrix.run.folder import MatrixFolder
from harness.matrix.run.merge import merge
from harness.matrix.run.origin import changes, origin_of, read_origin, write_origin
from harness.results.folder import RunReader, find_run, new_run_folder, write_info
from harness.results.model import RunInfo, RunResult
from harness.results.outcome import Outcome

__all__ = ["begin", "check_unchanged", "exit_code_of", "find_interrupted", "finish"]

_FAILED, _INFRA = 1, 3


def begin(plan: Plan, jobs: Sequence[Job], results: Path, *, arguments: Sequence[str] = ()) -> MatrixFolder:
    """A new run's folder below `results`, with the frozen plan and what else its results depend on."""
    run = MatrixFolder(new_run_folder(results).absolute())
    run.path.mkdir(parents=True)
    write_origin(run.path, origin_of(plan, jobs))
    try:
        own = version("regfilter-harness")
    except PackageNotFoundError:  # a source tree that isn't installed
        own = ""
    write_info(run.path, RunInfo(run.name, _now(), tuple(arguments), own))
    # Last: a folder with a plan is a run that can go on.
    write_frozen(run.path, plan, jobs)
    return run


def find_interrupted(results: Path, *, plan: Path | None = None, name: str | None = None) -> MatrixFolder:
    """The run `name`, or the newest of `plan` that has not ended.

    Raises `UsageError` where there is none, and where the run that was named has ended.
    """
    if name is not None:
        run = MatrixFolder(find_run(results, name).absolute())
        if not run.is_one:
            raise UsageError(f"{run.path} is not a run of a plan; `harness matrix run PLAN` makes one")
        if run.concluded:
            raise UsageError(f"{run.path} has ended; there is nothing to go on with")
        return run
    folders = sorted(results.absolute().glob("*/plan.json"), reverse=True) if results.is_dir() else []
    for file in folders:
        run = MatrixFolder(file.parent)
        if run.concluded:
            continue
        if plan is None or read_frozen(run.path)[0].file == plan.absolute():
            return run
    wanted = f"of {plan} " if plan is not None else ""
    raise UsageError(f"no run {wanted}in {results} was interrupted; leave --resume out to begin one")


def check_unchanged(run: MatrixFolder, plan: Plan, jobs: Iterable[Job]) -> None:
    """Raise `UsageError`, with all that changed, where the run can't go on as what it began as."""
    found = changes(read_origin(run.path), origin_of(plan, jobs))
    if found:
        listed = "\n  ".join(found)
        raise UsageError(
            f"{run.path} can't go on, because this is not what it began with:\n  {listed}\n"
            "put it back, or begin a new run without --resume"
        )


def exit_code_of(rows: Iterable[RunResult]) -> int:
    """0: nothing failed; 1: something did; 3: the harness or a host failed, so results are missing."""
    outcomes = {row.outcome for row in rows}
    if Outcome.INFRA in outcomes:
        return _INFRA
    return _FAILED if any(outcome.is_bad for outcome in outcomes) else 0


def finish(run: MatrixFolder, jobs: Iterable[Job]) -> int:
    """Merge the rows of a run whose jobs have all ended, close it, and return its exit code."""
    code = exit_code_of(merge(run, jobs))
    info = RunReader(run.path).info
    write_info(run.path, replace(info, finished=_now(), exit_code=code))
    return code


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
