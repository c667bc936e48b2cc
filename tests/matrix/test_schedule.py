from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.matrix.plan.jobs import Job
from harness.matrix.schedule.scheduler import Capacity, Part, Scheduler, lower_bound
from harness.matrix.schedule.simulate import Span, makespan, simulate


def job(name: str, expected: float, **more: object) -> Job:
    return Job(**{"id": name, "target": "reference:6.1", "paths": ("t.py",), "expected": expected, **more})  # type: ignore[arg-type]


def taken(scheduler: Scheduler, now: float = 0.0) -> list[str]:
    """The ids of all jobs that start now."""
    found = []
    while (started := scheduler.take(now)) is not None:
        found.append(started.id)
    return found


def used(spans: Sequence[Span], at: float) -> list[Job]:
    """The jobs that run right after `at`."""
    return [span.job for span in spans if span.start <= at < span.end]


HOST = Capacity(cores=4, memory_mib=4096, machines=2)
#: Of three hosts one alone has the image of vm:a.
HOSTS = Capacity(cores=6, memory_mib=3 * 4096, parts={"vm:a": Part("first", 2, 4096)})

jobs_of_any_kind = st.lists(
    st.builds(
        dict,
        target=st.sampled_from(["reference:6.1", "vm:a", "vm:b"]),
        expected=st.floats(0.01, 500),
        cores=st.integers(1, 6),
        memory_mib=st.integers(0, 4096),
        exclusive=st.sets(st.sampled_from(["licence", "board"])).map(lambda names: tuple(sorted(names))),
    ),
    max_size=40,
).map(lambda rows: [job(f"j{number}", row.pop("expected"), **row) for number, row in enumerate(rows)])


@settings(max_examples=200, deadline=None)
@given(jobs=jobs_of_any_kind, error=st.floats(0.2, 3))
def test_jobs_stay_within_the_host_and_exclusives_apart_however_long_they_take(
    jobs: list[Job], error: float
) -> None:
    spans = simulate(jobs, HOST, lambda job: job.expected * (error if job.cores % 2 else 1))

    assert sorted(span.job.id for span in spans) == sorted(job.id for job in jobs)
    for start in {span.start for span in spans}:
        running = used(spans, start)
        assert sum(min(each.cores, HOST.cores) for each in running) <= HOST.cores
        assert sum(each.memory_mib for each in running) <= HOST.memory_mib
        assert sum(each.is_machine for each in running) <= HOST.machines
        names = [name for each in running for name in each.exclusive]
        assert len(names) == len(set(names))


@settings(max_examples=100, deadline=None)
@given(jobs=jobs_of_any_kind)
def test_what_one_host_alone_can_run_never_takes_more_than_it_has(jobs: list[Job]) -> None:
    spans = simulate(jobs, HOSTS)
    assert sorted(span.job.id for span in spans) == sorted(job.id for job in jobs)
    for start in {span.start for span in spans}:
        there = [each for each in used(spans, start) if each.target == "vm:a"]
        assert sum(min(each.cores, 2) for each in there) <= 2
        assert sum(each.memory_mib for each in there) <= 4096
    assert makespan(spans) >= lower_bound(jobs, HOSTS) * 0.999999


def test_jobs_that_wait_for_their_one_host_leave_the_others_to_others() -> None:
    jobs = [*(job(f"a{n}", 100, target="vm:a") for n in range(9)), *(job(f"r{n}", 10) for n in range(9))]
    scheduler = Scheduler(jobs, HOSTS)
    assert taken(scheduler) == ["a0", "a1", "r0", "r1", "r2", "r3"]
    # A large one is not overtaken for ever by small ones of the same host.
    large = [job("a-large", 100, target="vm:a", cores=2), *jobs[1:]]
    scheduler = Scheduler([jobs[0], *large], HOSTS)
    assert taken(scheduler)[:2] == ["a0", "r0"]
    assert lower_bound(jobs, HOSTS) == 450


@settings(max_examples=100, deadline=None)
@given(jobs=jobs_of_any_kind)
def test_the_same_jobs_give_the_same_schedule_and_none_beats_the_bound(jobs: list[Job]) -> None:
    spans = simulate(jobs, HOST)
    assert spans == simulate(jobs, HOST)
    assert makespan(spans) >= lower_bound(jobs, HOST) * (1 - 1e-9)


@settings(max_examples=100, deadline=None)
@given(jobs=jobs_of_any_kind)
def test_the_host_never_waits_while_the_most_urgent_job_could_run(jobs: list[Job]) -> None:
    """Between two events something runs, as long as anything waits."""
    spans = simulate(jobs, HOST)
    events = sorted({time for span in spans for time in (span.start, span.end)})
    for at, _ in pairwise(events):
        assert used(spans, at), f"nothing runs at {at}"


def test_the_longest_expected_starts_first() -> None:
    scheduler = Scheduler([job("short", 1), job("long", 9), job("middle", 5)], Capacity(2, 4096))
    assert taken(scheduler) == ["long", "middle"]


def test_what_follows_on_an_exclusive_resource_counts_as_length() -> None:
    chain = [job(f"c{number}", 4, exclusive=("licence",)) for number in range(3)]
    scheduler = Scheduler([job("long", 9), *chain], Capacity(1, 4096))
    assert taken(scheduler) == ["c0"]  # 12 seconds are to come of that licence


def test_a_wide_job_is_not_overtaken_by_what_would_delay_it() -> None:
    jobs = [job("a", 10), job("wide", 8, cores=4), job("b", 7), job("c", 3)]
    scheduler = Scheduler(jobs, Capacity(4, 4096))
    # b and c end before a, so that the wide one loses nothing by them.
    assert taken(scheduler) == ["a", "b", "c"]
    late = Scheduler([job("a", 10), job("wide", 8, cores=4), job("b", 7), job("c", 3)], Capacity(4, 4096))
    late.take(0.0)
    assert taken(late, now=5.0) == ["c"]  # a is expected to end at 10; b would end at 12


def test_nobody_waits_for_ever_for_a_job_that_is_late() -> None:
    """Nothing may delay the wide job, but when the late one will let it run is not known."""
    jobs = [job("late", 10), job("wide", 9, cores=4), job("long", 8), job("short", 3)]
    scheduler = Scheduler(jobs, Capacity(4, 4096))
    first = scheduler.take(0.0)
    assert first is not None
    assert first.id == "late"
    assert taken(scheduler, now=9.0) == []  # it is about to end
    assert taken(scheduler, now=10.5) == ["long", "short"]  # it isn't: as long again is expected of it


def test_a_job_wider_than_the_host_runs_with_all_of_it() -> None:
    scheduler = Scheduler([job("wide", 5, cores=64), job("b", 1)], Capacity(2, 4096))
    assert taken(scheduler) == ["wide"]
    scheduler.finish(scheduler.running[0])
    assert taken(scheduler, 5.0) == ["b"]


def test_a_job_larger_than_the_host_is_refused_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"vm:big needs 8192 MiB; leave the target out"):
        Scheduler([job("j", 1, target="vm:big", memory_mib=8192)], HOST)


def test_a_job_given_back_runs_again() -> None:
    scheduler = Scheduler([job("a", 2), job("b", 1)], Capacity(1, 4096))
    first = scheduler.take(0.0)
    assert first is not None
    assert first.id == "a"
    scheduler.give_back(first)
    assert scheduler.waiting == 2
    assert taken(scheduler, 1.0) == ["a"]
    assert not scheduler.done
    scheduler.finish(first)
    with pytest.raises(ValueError, match="does not run"):
        scheduler.finish(first)


@pytest.mark.parametrize("host", [Capacity(16, 65536), Capacity(16, 12288), Capacity(16, 65536, machines=4)])
def test_of_many_jobs_the_schedule_is_within_a_tenth_of_the_bound(host: Capacity) -> None:
    """Whatever is scarce: cores, memory or machines."""
    dice = random.Random(7)
    jobs = [
        job(
            f"j{number}",
            dice.lognormvariate(3, 1),
            target=dice.choice(["reference:6.1", "vm:a"]),
            cores=dice.choice([1, 1, 2, 4]),
            memory_mib=dice.choice([256, 1024, 4096]),
        )
        for number in range(600)
    ]
    assert makespan(simulate(jobs, host)) <= 1.1 * lower_bound(jobs, host)
