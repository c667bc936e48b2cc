"""Which job starts next. Pure: no clock and no processes, so that a simulation decides exactly as a run does.

The longest expected first, as far as cores, memory, machines and exclusive resources allow. A job that lacks
room at the moment is not overtaken for ever: others start before it only where that doesn't delay it, by what
is expected of the jobs that run (EASY backfilling: D. Lifka, The ANL/IBM SP Scheduling System, 1995).
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from harness.errors import UsageError
from harness.matrix.plan.jobs import Job

__all__ = ["Capacity", "Part", "Scheduler", "check_room", "lower_bound"]


@dataclass(frozen=True, slots=True)
class Part:
    """Some hosts of several, by a name that tells them from other parts, and what they have together."""

    name: str
    cores: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Capacity:
    """What jobs may use together, of one host or of several; `machines` is how many may run machines, 0: any
    number. `parts` has, by target, the hosts that can run its jobs where not all can.
    """

    cores: int
    memory_mib: int
    machines: int = 0
    parts: Mapping[str, Part] = field(default_factory=dict)

    def cores_of(self, job: Job) -> int:
        """Cores that the job takes: no more than there are where it runs."""
        part = self.parts.get(job.target)
        return min(job.cores, self.cores, part.cores if part is not None else self.cores)


def check_room(jobs: Iterable[Job], capacity: Capacity) -> None:
    """Raise `UsageError` for jobs that need more memory than there is: they would wait for ever."""
    large = [job for job in jobs if job.memory_mib > capacity.memory_mib]
    if large:
        worst = max(large, key=lambda job: job.memory_mib)
        raise UsageError(
            f"{len(large)} jobs never fit into {capacity.memory_mib} MiB of memory: {worst.target} needs "
            f"{worst.memory_mib} MiB; leave the target out, use a larger host, fewer clones or a higher "
            "limits.memory_mib"
        )


@dataclass(frozen=True, slots=True)
class _Room:
    """An amount of what jobs share: cores, MiB, machines."""

    cores: float
    memory: float
    machines: float

    def holds(self, other: _Room) -> bool:
        return other.cores <= self.cores and other.memory <= self.memory and other.machines <= self.machines

    def plus(self, other: _Room) -> _Room:
        return _Room(self.cores + other.cores, self.memory + other.memory, self.machines + other.machines)

    def minus(self, other: _Room) -> _Room:
        return _Room(self.cores - other.cores, self.memory - other.memory, self.machines - other.machines)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What tells jobs apart that wait: those of a kind fit in the same gaps."""

    room: _Room
    exclusive: tuple[str, ...]
    part: str


@dataclass(frozen=True, slots=True, order=True)
class _Waiting:
    """A place in the queue: what sorts last starts first. `place` is the job's in the plan, negated."""

    priority: float
    place: int


@dataclass(frozen=True, slots=True)
class _Reservation:
    """The next job that has no room: when it will have, and what others may use beyond that time."""

    time: float
    spare: _Room


class Scheduler:
    """The jobs of a run that wait, and those that run. Times are seconds of any clock that goes forward.

    A job with more cores than there are runs with all of them. Raises as `check_room`.
    """

    def __init__(self, jobs: Iterable[Job], capacity: Capacity) -> None:
        self.capacity = capacity
        self._jobs = tuple(jobs)
        check_room(self._jobs, capacity)
        self._place = {job.id: place for place, job in enumerate(self._jobs)}
        self._priority = _priorities(self._jobs)
        self._free = _Room(capacity.cores, capacity.memory_mib, capacity.machines or math.inf)
        parts = capacity.parts.values()
        self._parts = {part.name: _Room(part.cores, part.memory_mib, math.inf) for part in parts}
        self._waiting: defaultdict[_Kind, list[_Waiting]] = defaultdict(list)
        self._running: dict[str, tuple[Job, float]] = {}
        self._held: set[str] = set()
        for job in self._jobs:
            self._add(job)

    def _kind(self, job: Job) -> _Kind:
        room = _Room(self.capacity.cores_of(job), job.memory_mib, int(job.is_machine))
        part = self.capacity.parts.get(job.target)
        return _Kind(room, job.exclusive, "" if part is None else part.name)

    def _add(self, job: Job) -> None:
        insort(self._waiting[self._kind(job)], _Waiting(self._priority[job.id], -self._place[job.id]))

    @property
    def waiting(self) -> int:
        """How many jobs have not started."""
        return sum(map(len, self._waiting.values()))

    @property
    def running(self) -> tuple[Job, ...]:
        """In the order in which they started."""
        return tuple(job for job, _ in self._running.values())

    @property
    def done(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._running and not self.waiting

    def take(self, now: float) -> Job | None:
        """The job to start now; it counts as running from here on. None: wait until one ends.

        Called until it gives None, each time something has ended.
        """
        reserved: _Reservation | None = None
        for kind, first in self._candidates():
            at: int | None = None
            if not self._free.holds(kind.room):
                # Only the first that lacks room is waited for: what it waits for, others may need as well.
                reserved = reserved or self._reserve(kind, now)
            elif reserved is None or reserved.spare.holds(kind.room):
                at = first
            else:
                at = self._shorter(kind, first, reserved.time - now)
            if at is not None:
                return self._start(kind, at, now)
        return None

    def finish(self, job: Job) -> None:
        """The job has ended, however it did."""
        self._release(job)

    def give_back(self, job: Job) -> None:
        """The job has ended without a result, and is to run again."""
        self._release(job)
        self._add(job)

    def _candidates(self) -> list[tuple[_Kind, int]]:
        """The most urgent job of each kind that no exclusive resource keeps waiting, as kind and index.

        Nor the hosts it needs: where one has no room in its part, none of that part overtakes it.
        """
        heads = [
            (queue[-1], kind)
            for kind, queue in self._waiting.items()
            if queue and self._held.isdisjoint(kind.exclusive)
        ]
        heads.sort(key=lambda head: head[0], reverse=True)
        full: set[str] = set()
        found = []
        for _, kind in heads:
            if kind.part and not self._parts[kind.part].holds(kind.room):
                full.add(kind.part)
            if kind.part not in full:
                found.append((kind, len(self._waiting[kind]) - 1))
        return found

    def _shorter(self, kind: _Kind, first: int, seconds: float) -> int | None:
        """The index of the longest job of a kind that is expected to end within `seconds`."""
        queue = self._waiting[kind]
        if kind.exclusive:  # these are in the order of what is to come after them
            return first if self._jobs[-queue[first].place].expected <= seconds else None
        at = bisect_right(queue, seconds, key=lambda each: each.priority) - 1
        return at if at >= 0 else None

    def _reserve(self, kind: _Kind, now: float) -> _Reservation:
        """When the jobs that run will have made room for one of `kind`."""
        free, time = self._free, now
        ends = [(_expected_end(job, started, now), job) for job, started in self._running.values()]
        for end, job in sorted(ends, key=lambda each: each[0]):
            time = end
            free = free.plus(self._kind(job).room)
            if free.holds(kind.room):
                break
        return _Reservation(time, free.minus(kind.room))

    def _start(self, kind: _Kind, at: int, now: float) -> Job:
        job = self._jobs[-self._waiting[kind].pop(at).place]
        if not self._waiting[kind]:
            del self._waiting[kind]
        self._free = self._free.minus(kind.room)
        if kind.part:
            self._parts[kind.part] = self._parts[kind.part].minus(kind.room)
        self._held.update(kind.exclusive)
        self._running[job.id] = (job, now)
        return job

    def _release(self, job: Job) -> None:
        if self._running.pop(job.id, None) is None:
            raise ValueError(f"job {job.id} does not run")
        kind = self._kind(job)
        self._free = self._free.plus(kind.room)
        if kind.part:
            self._parts[kind.part] = self._parts[kind.part].plus(kind.room)
        self._held.difference_update(kind.exclusive)


def _expected_end(job: Job, started: float, now: float) -> float:
    """When a job that runs will end. One that is late is taken to be half done: nobody knows, and others must
    not wait for it for as long as it takes.
    """
    end = started + job.expected
    return end if end >= now else now + (now - started)


def _priorities(jobs: Iterable[Job]) -> Mapping[str, float]:
    """How urgent each job is: what it takes, and those that an exclusive resource keeps behind it."""
    chains: defaultdict[str, list[Job]] = defaultdict(list)
    found: dict[str, float] = {}
    for job in jobs:
        found[job.id] = job.expected
        for name in job.exclusive:
            chains[name].append(job)
    for chain in chains.values():
        rest = 0.0
        for job in _shortest_first(chain):
            rest += job.expected
            found[job.id] = max(found[job.id], rest)
    return found


def _shortest_first(chain: list[Job]) -> list[Job]:
    """Of equally long jobs, the later in the plan first."""
    return sorted(chain, key=lambda job: job.expected, reverse=True)[::-1]


def lower_bound(jobs: Iterable[Job], capacity: Capacity) -> float:
    """Seconds that no schedule can beat: of cores, memory, machines, the longest job, exclusive resources,
    and of the hosts that alone can run some of the jobs.
    """
    found: defaultdict[str, float] = defaultdict(float)
    for job in jobs:
        found["cores"] += job.expected * capacity.cores_of(job) / capacity.cores
        found["memory"] += job.expected * job.memory_mib / capacity.memory_mib
        found["machines"] += job.expected * job.is_machine / (capacity.machines or math.inf)
        found["longest"] = max(found["longest"], job.expected)
        for name in job.exclusive:
            found[f"exclusive {name}"] += job.expected
        if (part := capacity.parts.get(job.target)) is not None:
            found[f"cores of {part.name}"] += job.expected * capacity.cores_of(job) / part.cores
            found[f"memory of {part.name}"] += job.expected * job.memory_mib / part.memory_mib
    return max(found.values(), default=0.0)
