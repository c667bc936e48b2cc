"""Small suites without guests, plans over them, and runs of these: what the conductor's tests are made of."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Limits, Plan
from harness.matrix.run.conductor import LocalHost, conduct
from harness.matrix.run.folder import JobEnd, MatrixFolder
from harness.matrix.run.lifecycle import begin, finish
from harness.matrix.schedule.scheduler import Capacity
from harness.plugin.journal import Entry, Kind
from harness.results.folder import RunReader
from harness.results.model import RunResult

NEW, OLD = "reference:10.0.26100", "reference:6.1"
CAPACITY = Capacity(cores=2, memory_mib=1 << 20)


class Seen:
    """A view that remembers."""

    def __init__(self) -> None:
        self.order: list[tuple[str, str]] = []
        self.tests: list[tuple[str, str]] = []
        self.ends: list[JobEnd] = []

    def began(self, job: Job) -> None:
        self.order.append(("began", job.id))

    def heard(self, job: Job, entry: Entry) -> None:
        if entry.kind is Kind.OVER:
            self.tests.append((entry.test, entry.outcome))

    def ended(self, job: Job, end: JobEnd) -> None:
        self.order.append(("ended", job.id))
        self.ends.append(end)

    @property
    def notes(self) -> str:
        return "\n".join(note for end in self.ends for note in end.notes)


@dataclass
class World:
    """A root with test files. Tests leave marks in `marks`, which outlives the processes they run in."""

    root: Path
    suites: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "pytest.ini").write_text("[pytest]\n")
        self.marks.mkdir(exist_ok=True)
        (self.root / "conftest.py").write_text(_CONFTEST.format(marks=str(self.marks)))

    @property
    def marks(self) -> Path:
        return self.root / "marks"

    @property
    def results(self) -> Path:
        return self.root / "results"

    def suite(self, name: str, text: str) -> str:
        """A test file; its tests have `target` and `once(name)`, true for one caller for ever."""
        file = self.root / name
        file.write_text(f"import os, pytest\n{text}")
        self.suites.append(file)
        return name

    def plan(self, *, retries: int = 1, limits: Limits | None = None) -> Plan:
        file = self.root / "plan.toml"
        file.touch()
        return Plan(
            name="small",
            file=file,
            root=self.root,
            targets=(NEW, OLD),
            suites=tuple(self.suites),
            retries=retries,
            limits=limits or Limits(test_seconds=120),
        )

    def jobs(self, plan: Plan, targets: Iterable[str] = (NEW,)) -> list[Job]:
        """One job a target, with all suites."""
        paths = tuple(file.name for file in self.suites)
        return [
            Job(f"{n:04}-{target.replace(':', '-')}", target, paths, retries=plan.retries, expected=1.0)
            for n, target in enumerate(targets, 1)
        ]

    def begin(self, plan: Plan, jobs: list[Job]) -> MatrixFolder:
        return begin(plan, jobs, self.results)

    def run(self, plan: Plan | None = None, jobs: list[Job] | None = None) -> Ran:
        """A run from its beginning to its end."""
        plan = plan or self.plan()
        jobs = jobs or self.jobs(plan)
        return self.go_on(self.begin(plan, jobs), plan, jobs)

    def go_on(self, folder: MatrixFolder, plan: Plan, jobs: list[Job]) -> Ran:
        seen = Seen()
        with folder.locked(), LocalHost(folder, plan).open(jobs) as host:
            assert asyncio.run(conduct(folder, jobs, host, CAPACITY, seen))
        code = finish(folder, jobs)
        return Ran(folder, code, tuple(RunReader(folder.path)), seen)


@dataclass(frozen=True)
class Ran:
    """A run that has ended."""

    folder: MatrixFolder
    exit_code: int
    rows: tuple[RunResult, ...]
    seen: Seen

    @property
    def outcomes(self) -> dict[str, str]:
        """By the test's name alone, for runs on one target."""
        found = {row.test.split("::")[-1]: row.outcome.value for row in self.rows}
        assert len(found) == len(self.rows)
        return found

    def row(self, name: str) -> RunResult:
        (found,) = (row for row in self.rows if row.test.endswith(f"::{name}"))
        return found

    def attempts(self, job: Job) -> Counter[str]:
        return Counter(row.test.split("::")[-1] for row in self.folder.job(job.id).rows)


def essence(rows: Iterable[RunResult]) -> set[tuple[str, str, str, str]]:
    """What two runs of the same plan have in common."""
    found = [(row.test, row.target, row.build, row.outcome.value) for row in rows]
    assert len(set(found)) == len(found)
    return set(found)


def with_driver(job: Job, file: Path, build: str) -> Job:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return replace(job, driver=str(file), driver_sha256=digest, build=build)


_CONFTEST = """
from pathlib import Path
import pytest

@pytest.fixture
def once():
    def first(name):
        try:
            (Path({marks!r}) / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
    return first
"""
