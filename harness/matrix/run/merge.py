"""From the rows of jobs to the rows of a run: one for each test, target and build."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from harness.matrix.plan.jobs import Job
from harness.matrix.run.folder import MatrixFolder, write_whole
from harness.results.folder import ROWS_FILE
from harness.results.model import RunResult
from harness.results.outcome import worst

__all__ = ["last_attempts", "merge", "once_without_guest", "relocated"]


def relocated(row: RunResult, place: str) -> RunResult:
    """The row with files below `place`, a job's folder relative to the run's."""

    def below(name: str) -> str:
        return f"{place}/{name}" if name else ""

    return replace(
        row,
        evidence=tuple(map(below, row.evidence)),
        bundle=below(row.bundle),
        comparison=below(row.comparison),
    )


def last_attempts(rows: Iterable[RunResult]) -> Iterator[RunResult]:
    """The last row of each test, target and build, in the order in which they first came."""
    found: dict[tuple[str, str, str], RunResult] = {}
    for row in rows:
        found[row.test, row.target, row.build] = row
    return iter(found.values())


def once_without_guest(rows: Iterable[RunResult]) -> tuple[RunResult, ...]:
    """The same rows, but of a test that uses no guest, which ran in each job of its file, the worst alone."""
    found: dict[tuple[str, str, str], RunResult] = {}
    for row in rows:
        key = row.test, row.target, row.build
        known = found.get(key)
        if known is None or (
            known.outcome is not row.outcome and worst([known.outcome, row.outcome]) is row.outcome
        ):
            found[key] = row
    return tuple(found.values())


def merge(run: MatrixFolder, jobs: Iterable[Job]) -> tuple[RunResult, ...]:
    """Write the rows of the whole run, in the order of its jobs, and return them.

    Evidence stays where it is, in the folders of the jobs; so do earlier attempts.
    """
    merged = once_without_guest(
        row
        for job in jobs
        for row in last_attempts(
            relocated(row, _place(run.job(job.id).path, run.path)) for row in run.job(job.id).rows
        )
    )
    lines = (json.dumps(row.to_json(), separators=(",", ":")) + "\n" for row in merged)
    write_whole(run.path / ROWS_FILE, "".join(lines))
    return merged


def _place(folder: Path, run: Path) -> str:
    return folder.relative_to(run).as_posix()
