"""A run without running: when each job would start and end, by the scheduler that a run uses."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.matrix.plan.jobs import Job
from harness.matrix.schedule.scheduler import Capacity, Scheduler

__all__ = ["Span", "makespan", "simulate"]


@dataclass(frozen=True, slots=True)
class Span:
    """When a job ran, in seconds from the beginning of the run."""

    job: Job
    start: float
    end: float


def simulate(
    jobs: Iterable[Job], capacity: Capacity, takes: Callable[[Job], float] | None = None
) -> tuple[Span, ...]:
    """Every job's span, in the order of their starts.

    `takes` says how many seconds a job really takes; without it, what is expected. Raises as `Scheduler`.
    """
    scheduler = Scheduler(jobs, capacity)
    spans: list[Span] = []
    ends: list[tuple[float, int]] = []
    now = 0.0
    while True:
        while (job := scheduler.take(now)) is not None:
            end = now + (job.expected if takes is None else takes(job))
            heapq.heappush(ends, (end, len(spans)))
            spans.append(Span(job, now, end))
        if not ends:
            return tuple(spans)
        now, index = heapq.heappop(ends)
        scheduler.finish(spans[index].job)


def makespan(spans: Iterable[Span]) -> float:
    """Seconds until the last one ended."""
    return max((span.end for span in spans), default=0.0)
