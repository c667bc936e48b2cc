"""The folder of a matrix run, and of one job in it.

    results/<run>/run.json, plan.json      the run, and its frozen plan with its jobs
                  origin.json              what its result depends on besides: `harness.matrix.run.origin`
                  conductor.lock           held by the process that works on the run
                  jobs/<id>/               the folder of a run of its own: rows.jsonl, evidence/, bundles/
                  jobs/<id>/output.log     what its pytest processes printed
                  jobs/<id>/done.json      written in one step when the job has ended
                  rows.jsonl               of the whole run, once it has ended
                  report.html, junit.xml   of the whole run

A job's rows.jsonl is the truth about what finished; it holds every attempt at a test.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from harness.errors import UsageError
from harness.locks import held
from harness.matrix.plan.jobs import PLAN_FILE
from harness.results.folder import ROWS_FILE, read_rows
from harness.results.model import RunResult

__all__ = ["JobEnd", "JobFolder", "MatrixFolder", "job_rows", "write_whole"]

_DONE: Final = "done.json"
_LAST: Final = "junit.xml"
_LARGEST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. `host` ran it; `processes` pytest processes took part, in `seconds` seconds.

    `notes` say what went wrong with processes and hosts; what went wrong with tests is in the rows.
    """

    job: str
    host: str
    seconds: float
    processes: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Raises `ValueError` for anything that `to_json` didn't make."""
        try:
            notes = tuple(map(str, raw["notes"]))
            return cls(str(raw["job"]), str(raw["host"]), float(raw["seconds"]), int(raw["processes"]), notes)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the end of a job: {error!r}") from error


def write_whole(file: Path, text: str) -> None:
    """Write `file` in one step: it is whole or not there."""
    part = file.with_name(f"{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def job_rows(folder: Path) -> tuple[RunResult, ...]:
    """Every attempt at every test of a job, in order; none before its first row."""
    try:
        return tuple(read_rows(folder / ROWS_FILE))
    except UsageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return ()
        raise


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The folder of one job; it need not exist yet."""

    path: Path

    @property
    def output(self) -> Path:
        return self.path / "output.log"

    @property
    def rows(self) -> tuple[RunResult, ...]:
        return job_rows(self.path)

    @property
    def end(self) -> JobEnd | None:
        """How the job ended; None while it hasn't. Raises `UsageError` for a file that somebody damaged."""
        file = self.path / _DONE
        try:
            with file.open("rb") as content:
                return JobEnd.from_json(json.loads(content.read(_LARGEST)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} can't be read: {error}; remove it, and the job goes on") from error

    def finish(self, end: JobEnd) -> None:
        write_whole(self.path / _DONE, json.dumps(end.to_json()) + "\n")


@dataclass(frozen=True, slots=True)
class MatrixFolder:
    """The folder of a matrix run."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    def job(self, name: str) -> JobFolder:
        return JobFolder(self.jobs / name)

    @property
    def is_one(self) -> bool:
        return (self.path / PLAN_FILE).is_file()

    @property
    def concluded(self) -> bool:
        """Whether there is nothing left to do. JUnit's file is the last that is written."""
        return (self.path / _LAST).is_file()

    def conclude(self, junit: str) -> None:
        write_whole(self.path / _LAST, junit)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only process that works on this run. Raises `UsageError` when there is another."""
        with held(self.path / "conductor.lock") as alone:
            if not alone:
                raise UsageError(f"another process is working on {self.path}; wait for its end, or end it")
            yield
