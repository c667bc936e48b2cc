"""A job: what one pytest process runs; and the file that keeps a plan with its jobs in a run's folder."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

from harness.matrix.plan.plan import Plan
from harness.plugin.options import Isolation
from harness.strict import ConfigError, Mistakes, plain, read_table
from harness.targets import VM

__all__ = ["MAX_JOBS", "PLAN_FILE", "Job", "read_frozen", "write_frozen"]

#: What a run's folder keeps its plan and its jobs in.
PLAN_FILE: Final = "plan.json"
#: Most jobs of a plan.
MAX_JOBS: Final = 100_000
_LARGEST_FILE: Final = 256 << 20
#: Ids are names of folders.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,119}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Job:
    """One pytest process: some test files on one target, with one build of a driver or none.

    `paths` are test files relative to the plan's root, with slashes, or absolute outside of it. `cores` and
    `memory_mib` are what it takes of a host. No two jobs with the same name in `exclusive` run at once.
    `expected` is in seconds, start-up included; `guessed` says how many of them no former run supports.
    """

    id: str
    target: str
    paths: tuple[str, ...]
    #: Name of the driver's build, its file and that file's digest; empty without one.
    build: str = ""
    driver: str = ""
    driver_sha256: str = ""
    #: NAME=VALUE of the driver's Parameters key.
    parameters: tuple[str, ...] = ()
    isolation: Isolation = Isolation.MODULE
    retries: int = 0
    cores: int = 1
    memory_mib: int = 512
    exclusive: tuple[str, ...] = ()
    expected: float = 0.0
    guessed: float = 0.0
    #: Tests that will run, and those that are skipped, as far as that is known before.
    tests: int = 0
    skipped: int = 0

    @property
    def is_machine(self) -> bool:
        """Whether it boots a machine; else it runs on the reference guest, inside its own process."""
        return self.target.startswith(VM)

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        found: dict[str, Any] = plain(self)
        return found

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], file: Path, where: str = "") -> Self:
        """The job that `to_json` wrote to `file`, at its key `where`. Raises `ConfigError` for another."""
        job = read_table(cls, raw, file, where)
        mistakes = Mistakes()
        if not _ID.fullmatch(job.id):
            mistakes.add(file, f"{where}.id", f"{job.id!r} can't be the name of a folder")
        if not job.target or not job.paths:
            mistakes.add(file, where, "has no target or no paths")
        for path in job.paths:
            if ".." in PurePosixPath(path).parts or path.startswith("-"):
                mistakes.add(file, f"{where}.paths", f"{path!r} leaves the plan's root")
        if bool(job.driver) != bool(_SHA256.fullmatch(job.driver_sha256)):
            mistakes.add(file, f"{where}.driver_sha256", "a driver comes with its SHA-256, nothing else does")
        numbers = (job.memory_mib, job.retries, job.expected, job.guessed, job.tests, job.skipped)
        if job.cores < 1 or not all(0 <= number < math.inf for number in numbers):
            mistakes.add(file, where, "has a number that can't be, or no core")
        mistakes.check()
        return job


def write_frozen(folder: Path, plan: Plan, jobs: Iterable[Job]) -> None:
    """Keep a plan and its jobs in a run's folder, in one step: the file is whole or not there."""
    part = folder / f"{PLAN_FILE}.part"
    text = json.dumps({"plan": plan.to_json(), "jobs": [job.to_json() for job in jobs]}, indent=1)
    part.write_text(text + "\n", encoding="utf-8")
    part.replace(folder / PLAN_FILE)


def read_frozen(folder: Path) -> tuple[Plan, tuple[Job, ...]]:
    """What `write_frozen` kept. Raises `ConfigError` for a folder without it and for a damaged file."""
    file = folder / PLAN_FILE
    try:
        if file.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{file}: larger than {_LARGEST_FILE >> 20} MB, which no plan is")
        raw = json.loads(file.read_text(encoding="utf-8"))
        plan, jobs = raw["plan"], list(raw["jobs"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: not the plan of a run: {error!r}; start a new run") from error
    if len(jobs) > MAX_JOBS:
        raise ConfigError(f"{file}: {len(jobs)} jobs; a plan has at most {MAX_JOBS}")
    found = tuple(Job.from_json(job, file, f"jobs[{index}]") for index, job in enumerate(jobs))
    if len({job.id for job in found}) != len(found):
        raise ConfigError(f"{file}: two jobs have the same id; start a new run")
    return Plan.from_json(plan, file), found
