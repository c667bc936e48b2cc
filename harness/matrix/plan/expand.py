"""A plan becomes jobs: target × build of a driver × group of test files. Pure and deterministic."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Final

from harness.matrix.plan.collect import Collected
from harness.matrix.plan.estimate import START_SECONDS, Durations, Estimate, Estimator
from harness.matrix.plan.jobs import MAX_JOBS, Job
from harness.matrix.plan.plan import Build, Plan
from harness.strict import ConfigError

__all__ = ["Appetite", "expand"]

#: What a process with the reference guest takes: one core, and memory as measured (150 MiB) with room.
_PROCESS_MIB: Final = 256


@dataclass(frozen=True, slots=True)
class Appetite:
    """Cores and memory, in MiB, that one machine and its waiting clones take of a host."""

    cores: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class _File:
    """A test file of one target, with what is expected of it."""

    path: str
    tests: int
    skipped: int
    estimate: Estimate


def expand(
    plan: Plan,
    collected: Iterable[Collected],
    durations: Durations | None = None,
    machines: Mapping[str, Appetite] | None = None,
) -> tuple[Job, ...]:
    """The jobs of `plan`, in the order of its targets.

    `collected` is what the plan's suites hold, `durations` what former runs took, `machines` what the plan's
    machine targets take. Raises `ConfigError` where that makes no job at all, or more than there may be.
    """
    by_target: dict[str, list[Collected]] = {}
    for each in collected:
        by_target.setdefault(each.target, []).append(each)
    estimator = Estimator(durations or {})
    jobs: list[Job] = []
    for target in plan.targets:
        appetite = (machines or {}).get(target, Appetite(1, 0))
        for build in (None, *plan.builds):
            if build is not None and target not in build.targets:
                continue
            files = _files(plan, by_target, target, build, estimator)
            for group in _groups(files, plan.grain_seconds):
                jobs.append(_job(plan, len(jobs) + 1, target, build, group, appetite))
    if not jobs:
        raise ConfigError(f"{plan.file}: suites: hold no test for any of the targets; name others")
    if len(jobs) > MAX_JOBS:
        raise ConfigError(f"{plan.file}: makes {len(jobs)} jobs, more than {MAX_JOBS}; raise grain_seconds")
    return tuple(jobs)


def _files(
    plan: Plan,
    collected: Mapping[str, Sequence[Collected]],
    target: str,
    build: Build | None,
    estimator: Estimator,
) -> Iterator[_File]:
    """The test files that run on the target with this build, tests in them that need no guest included.

    A file without any test that needs a guest runs with the first target of the plan, or of each build.
    """
    wanted = plan.suites if build is None else build.suites
    claimed = () if build is not None else tuple(suite for each in plan.builds for suite in each.suites)
    plain = {each.file: each for each in collected.get("", ())}
    here = [_together(each, plain.get(each.file)) for each in collected.get(target, ())]
    if target == (plan.targets if build is None else build.targets)[0]:
        with_guest = {each.file for name, parts in collected.items() if name for each in parts}
        here += [each for each in plain.values() if each.file not in with_guest]
    name = "" if build is None else build.name
    for each in here:
        path = plan.root / each.file
        if not any(path.is_relative_to(suite) for suite in wanted):
            continue
        if any(path.is_relative_to(suite) for suite in claimed):
            continue
        without = 0 if build is not None else each.driver
        tests, skipped = each.tests - without, sum(each.skipped.values()) + without
        yield _File(each.file, tests, skipped, estimator.of(each.file, target, name, tests, skipped))


def _together(file: Collected, plain: Collected | None) -> Collected:
    if plain is None:
        return file
    skipped = Counter(file.skipped) + Counter(plain.skipped)
    return replace(file, tests=file.tests + plain.tests, skipped=skipped)


def _groups(files: Iterable[_File], grain: float) -> list[list[_File]]:
    """Files in as few groups as keep to `grain` seconds each: the longest file goes to the shortest group."""
    found = list(files)
    total = sum(file.estimate.seconds for file in found)
    count = min(len(found), max(1, math.ceil(total / max(grain - START_SECONDS, START_SECONDS))))
    groups: list[list[int]] = [[] for _ in range(count)]
    heap = [(0.0, number) for number in range(count)]
    for index in sorted(range(len(found)), key=lambda index: (-found[index].estimate.seconds, index)):
        seconds, number = heapq.heappop(heap)
        groups[number].append(index)
        heapq.heappush(heap, (seconds + found[index].estimate.seconds, number))
    return [[found[index] for index in sorted(group)] for group in groups if group]


def _job(
    plan: Plan, number: int, target: str, build: Build | None, files: Sequence[_File], appetite: Appetite
) -> Job:
    name = "" if build is None else build.name
    words = re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{target}-{name}" if name else target)[:100]
    return Job(
        id=f"{number:04}-{words}",
        target=target,
        paths=tuple(file.path for file in files),
        build=name,
        driver="" if build is None else str(build.file),
        driver_sha256="" if build is None else build.sha256,
        parameters=() if build is None else build.parameters,
        isolation=plan.isolation,
        retries=plan.retries,
        cores=appetite.cores,
        memory_mib=_PROCESS_MIB + appetite.memory_mib,
        exclusive=_exclusive(plan, target, name),
        expected=round(START_SECONDS + sum(file.estimate.seconds for file in files), 3),
        guessed=_guessed(files),
        tests=sum(file.tests for file in files),
        skipped=sum(file.skipped for file in files),
    )


def _guessed(files: Sequence[_File]) -> float:
    """How many seconds of a job no former run supports; where none supports any, the start is a guess too."""
    seconds = sum(file.estimate.seconds for file in files if file.estimate.guessed)
    start = START_SECONDS if all(file.estimate.guessed for file in files) else 0.0
    return round(start + seconds, 3)


def _exclusive(plan: Plan, target: str, build: str) -> tuple[str, ...]:
    return tuple(
        each.name
        for each in plan.exclusive
        if any(fnmatchcase(target, pattern) for pattern in each.targets)
        and (not each.builds or any(fnmatchcase(build, pattern) for pattern in each.builds))
    )
