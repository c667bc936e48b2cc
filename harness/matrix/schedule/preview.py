"""What a plan would do: jobs and their expected time, guesses, skips, and how long the whole takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import LeftOut
from harness.matrix.plan.prepare import Prepared
from harness.matrix.schedule.scheduler import Capacity, lower_bound
from harness.matrix.schedule.simulate import makespan, simulate
from harness.strict import plain

__all__ = ["Preview", "Share", "Skips"]

_THE_TARGET = "the target"


@dataclass(frozen=True, slots=True)
class Share:
    """The jobs of one target with one build of a driver, or with none. Times are in seconds."""

    target: str
    build: str
    jobs: int
    files: int
    tests: int
    skipped: int
    expected: float
    #: How much of `expected` no former run supports, 0 to 1.
    guessed: float

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Self:
        expected = sum(job.expected for job in jobs)
        guessed = sum(job.guessed for job in jobs)
        return cls(
            target=jobs[0].target,
            build=jobs[0].build,
            jobs=len(jobs),
            files=sum(len(job.paths) for job in jobs),
            tests=sum(job.tests for job in jobs),
            skipped=sum(job.skipped for job in jobs),
            expected=round(expected, 3),
            guessed=round(guessed / expected, 3) if expected else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Skips:
    """Tests that will be skipped for one reason, in all and on which targets."""

    reason: str
    tests: int
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """What would run on a host of this capacity, and for how long. Times are in seconds."""

    name: str
    shares: tuple[Share, ...]
    skips: tuple[Skips, ...]
    left_out: tuple[LeftOut, ...]
    capacity: Capacity
    #: The sum over all jobs, the time until the last has ended, and what no schedule could beat.
    work: float
    makespan: float
    bound: float
    #: How much of `work` no former run supports, 0 to 1.
    guessed: float

    @classmethod
    def of(cls, prepared: Prepared, capacity: Capacity) -> Self:
        """Raises `UsageError` for jobs that never fit the host."""
        jobs, plan = prepared.jobs, prepared.plan
        groups: defaultdict[tuple[str, str], list[Job]] = defaultdict(list)
        for job in jobs:
            groups[job.target, job.build].append(job)
        work = sum(job.expected for job in jobs)
        return cls(
            name=plan.name,
            shares=tuple(Share.of(group) for group in groups.values()),
            skips=_skips(prepared),
            left_out=plan.left_out,
            capacity=capacity,
            work=round(work, 3),
            makespan=round(makespan(simulate(jobs, capacity)), 3),
            bound=round(lower_bound(jobs, capacity), 3),
            guessed=round(sum(job.guessed for job in jobs) / work, 3),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        found: dict[str, Any] = plain(self)
        return found


def _skips(prepared: Prepared) -> tuple[Skips, ...]:
    """By reason, the most tests first. A reason that names its target is the same for all of them."""
    tests: defaultdict[str, int] = defaultdict(int)
    targets: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for each in prepared.collected:
        for reason, count in each.skipped.items():
            words = reason.replace(each.target, _THE_TARGET) if each.target else reason
            tests[words] += count
            targets[words][each.target] = None
    ordered = sorted(tests, key=lambda reason: (-tests[reason], reason))
    return tuple(Skips(reason, tests[reason], tuple(targets[reason])) for reason in ordered)
