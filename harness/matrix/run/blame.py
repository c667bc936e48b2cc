"""Rows for tests that could not leave one themselves: their process died, their host was lost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from harness.matrix.plan.jobs import Job
from harness.matrix.run.folder import JobFolder
from harness.plugin.finished import standings
from harness.plugin.journal import Entry, Kind
from harness.results.folder import RunWriter
from harness.results.model import RunResult
from harness.results.outcome import Outcome

__all__ = ["blame", "blame_paths"]


def blame(folder: JobFolder, job: Job, key: tuple[str, str], message: str, detail: str = "") -> Entry:
    """Give the test `key`, name and target, an INFRA row; returns what a journal would have said of it."""
    test, target = key
    before = standings(folder.rows).get(key)
    row = RunResult(
        test,
        target,
        Outcome.INFRA,
        message=f"INFRA: {message}",
        detail=detail or f"{message}; see {folder.output.name} of job {job.id}",
        started=datetime.now(UTC).isoformat(timespec="milliseconds"),
        attempt=1 if before is None else before.attempt + 1,
        build=job.build,
    )
    with RunWriter(folder.path) as writer:
        writer.add(row)
    return Entry(Kind.OVER, test, target, row.outcome, row.message)


def blame_paths(folder: JobFolder, job: Job, message: str, detail: str = "") -> Iterable[Entry]:
    """A row for each path of a job of which nobody knows what tests it has."""
    return [blame(folder, job, (path, job.target), message, detail) for path in job.paths]
