"""What a run of many jobs is about: targets, suites, builds of drivers, limits.

A plan is complete and checked: names are resolved, files are there (`harness.matrix.plan.planfile` reads it).
With its jobs it is frozen into the run's folder, so that a run that goes on later does what it began with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from harness.plugin.options import EvidencePolicy, Isolation
from harness.strict import plain, read_table

__all__ = ["Build", "Exclusive", "LeftOut", "Limits", "NotBuilt", "NotDrilled", "Plan", "Retention"]


class NotBuilt(StrEnum):
    """What becomes of a target whose image isn't built."""

    REFUSE = "refuse"  # the plan is refused
    LEAVE_OUT = "leave-out"  # the plan does without it, and says so


class NotDrilled(StrEnum):
    """What becomes of a target of which it isn't known that a crash would be noticed."""

    REFUSE = "refuse"  # the plan is refused
    LEAVE_OUT = "leave-out"  # the plan does without it, and says so
    RUN = "run"  # it runs, and its rows say so


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds and what of the host may be used; 0: no limit of time, all that the host has of the rest.

    `test_seconds` is the longest that nothing may finish within a job: from one test's end to the next one's.
    `machines` counts jobs on machines; each holds one running machine and the clones that wait.
    """

    test_seconds: float = 900.0
    job_seconds: float = 0.0
    cores: int = 0
    memory_mib: int = 0
    machines: int = 0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long the history keeps evidence of this plan's runs, in days, and how much; 0: no limit.

    It is thinned out after each run: evidence of passes first. Rows stay.
    """

    failures_days: int = 0
    passes_days: int = 30
    max_mib: int = 0


@dataclass(frozen=True, slots=True)
class Exclusive:
    """Something that there is one of, such as a licence: no two jobs that need it run at the same time."""

    name: str
    #: Patterns of targets and of builds that need it.
    targets: tuple[str, ...] = ("*",)
    builds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Build:
    """One build of a user's driver: which file, with what parameters, and what runs with it.

    `parameters` are ``NAME=VALUE``, as for ``--driver-parameter``. `targets` are names of the plan's targets.
    """

    name: str
    file: Path
    sha256: str
    targets: tuple[str, ...]
    suites: tuple[Path, ...]
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A target that a pattern matched and that doesn't run."""

    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as read and checked. Paths are absolute, `targets` are names of single targets.

    `root` is the folder that jobs run in: pytest's root, which names of tests are relative to. `suites` run
    without a driver on every target; those of a build only with it. `retries` says how often an INFRA test is
    tried again; nothing else is.
    """

    name: str
    file: Path
    root: Path
    targets: tuple[str, ...]
    suites: tuple[Path, ...]
    builds: tuple[Build, ...] = ()
    isolation: Isolation = Isolation.MODULE
    channel: str = ""
    clones: int = 1
    retries: int = 1
    evidence: EvidencePolicy = EvidencePolicy.ON_FAILURE
    memory_dump_mib: int = 2048
    bundle_machine: bool = False
    known_issues: Path | None = None
    recipes: tuple[Path, ...] = ()
    not_drilled: NotDrilled = NotDrilled.REFUSE
    #: Seconds that a job is meant to take at most; a single test file is never divided.
    grain_seconds: float = 120.0
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=Retention)
    exclusive: tuple[Exclusive, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        found: dict[str, Any] = plain(self)
        return found

    @classmethod
    def from_json(cls, raw: Mapping[str, Any], file: Path) -> Self:
        """The plan that `to_json` wrote to `file`. Raises `ConfigError` for anything else."""
        return read_table(cls, raw, file)
