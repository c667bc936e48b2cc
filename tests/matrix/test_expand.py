from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.machine.describe.spec import Hardware
from harness.matrix.plan.collect import Collected, collect
from harness.matrix.plan.estimate import START_SECONDS, Estimate, Estimator
from harness.matrix.plan.expand import Appetite, expand
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Build, Exclusive, Plan
from harness.matrix.plan.prepare import machine_appetite
from harness.strict import ConfigError

ROOT = Path("/checkout")
NEW, OLD, MACHINE = "reference:10.0.26100", "reference:6.1", "vm:stand-in"


def plan(*targets: str, **more: object) -> Plan:
    return Plan(
        **{
            "name": "p",
            "file": ROOT / "p.toml",
            "root": ROOT,
            "targets": targets,
            "suites": (ROOT / "s",),
            **more,
        }
    )  # type: ignore[arg-type]


def build(name: str, *targets: str) -> Build:
    return Build(name, Path(f"/{name}.sys"), "0" * 64, targets, (ROOT / "s" / "own",), ("Mode=1",))


def test_a_job_for_each_target_with_what_is_needed_to_run_it() -> None:
    collected = [Collected("s/test_a.py", NEW, 5), Collected("s/test_a.py", MACHINE, 3, skipped={"no": 2})]
    whole = plan(NEW, MACHINE, exclusive=(Exclusive("licence", ("vm:*",)),), retries=2)
    reference, machine = expand(whole, collected, machines={MACHINE: Appetite(2, 1024)})
    assert (reference.id, reference.target, reference.paths) == (
        "0001-reference-10.0.26100",
        NEW,
        ("s/test_a.py",),
    )
    assert (reference.cores, reference.tests, reference.skipped, reference.retries) == (1, 5, 0, 2)
    assert (machine.cores, machine.tests, machine.skipped, machine.exclusive) == (2, 3, 2, ("licence",))
    assert machine.memory_mib == reference.memory_mib + 1024


def test_a_suite_for_drivers_runs_with_each_build_and_never_without() -> None:
    collected = [
        Collected(file, target, 4, driver=4 if "own" in file else 0)
        for target in (NEW, OLD)
        for file in ("s/test_a.py", "s/own/test_own.py")
    ]
    jobs = expand(plan(NEW, OLD, builds=(build("a-1", NEW, OLD), build("a-2", OLD))), collected)
    assert [(job.target, job.build, job.paths) for job in jobs] == [
        (NEW, "", ("s/test_a.py",)),
        (NEW, "a-1", ("s/own/test_own.py",)),
        (OLD, "", ("s/test_a.py",)),
        (OLD, "a-1", ("s/own/test_own.py",)),
        (OLD, "a-2", ("s/own/test_own.py",)),
    ]
    assert [job.driver for job in jobs if job.build == "a-2"] == ["/a-2.sys"]
    assert {job.parameters for job in jobs if job.build} == {("Mode=1",)}


def test_without_a_driver_tests_of_drivers_count_as_skipped() -> None:
    (job,) = expand(plan(NEW), [Collected("s/own/test_own.py", NEW, 5, driver=4, skipped={"no": 1})])
    assert (job.tests, job.skipped) == (1, 5)


def test_a_file_that_needs_no_guest_runs_once() -> None:
    collected = [
        Collected("s/test_a.py", NEW, 1),
        Collected("s/test_a.py", OLD, 1),
        Collected("s/test_b.py", "", 7),
    ]
    jobs = expand(plan(NEW, OLD), collected)
    assert [job.paths for job in jobs] == [("s/test_a.py", "s/test_b.py"), ("s/test_a.py",)]


def test_tests_without_a_guest_count_where_their_file_runs() -> None:
    collected = [Collected("s/test_a.py", NEW, 1, skipped={"no": 1}), Collected("s/test_a.py", OLD, 1)]
    jobs = expand(plan(NEW, OLD), [*collected, Collected("s/test_a.py", "", 2, skipped={"no": 1})])
    assert [(job.tests, job.skipped) for job in jobs] == [(3, 2), (3, 1)]


def test_a_file_of_a_drivers_suite_that_needs_no_guest_runs_once_with_each_build() -> None:
    collected = [Collected("s/own/test_own.py", target, 1) for target in (NEW, OLD)]
    builds = (build("a-1", NEW, OLD), build("a-2", OLD))
    jobs = expand(plan(NEW, OLD, builds=builds), [*collected, Collected("s/own/test_plain.py", "", 7)])
    assert [(job.target, job.build, len(job.paths)) for job in jobs] == [
        (NEW, "a-1", 2),
        (OLD, "a-1", 1),
        (OLD, "a-2", 2),
    ]


files = st.dictionaries(st.integers(0, 60).map(lambda n: f"s/test_{n:02}.py"), st.floats(0, 400), min_size=1)


@given(seconds=files, grain=st.floats(5, 600))
def test_every_file_runs_once_in_jobs_that_keep_to_the_grain(seconds: dict[str, float], grain: float) -> None:
    collected = [Collected(file, NEW, 1) for file in seconds]
    durations = {(file, NEW, ""): each for file, each in seconds.items()}
    jobs = expand(plan(NEW, grain_seconds=grain), collected, durations)
    assert jobs == expand(plan(NEW, grain_seconds=grain), collected, durations)
    assert sorted(path for job in jobs for path in job.paths) == sorted(seconds)
    # The longest-to-shortest-group rule leaves no group above twice its fair share, but for a single file.
    for job in jobs:
        assert len(job.paths) == 1 or job.expected <= 2 * grain
    assert all(job.guessed == 0 for job in jobs)
    # Files of a job stay in the order in which they were collected.
    assert all([path for path in seconds if path in job.paths] == list(job.paths) for job in jobs)


def test_expectations_are_of_the_same_target_and_build_else_of_the_nearest() -> None:
    known = {
        ("f", NEW, ""): 10.0,
        ("f", NEW, "a-1"): 20.0,
        ("g", OLD, ""): 4.0,
        ("g", MACHINE, ""): 100.0,
    }
    of = Estimator(known).of
    assert of("f", NEW, "", 1) == Estimate(10.0, guessed=False)
    assert of("f", NEW, "a-2", 1) == Estimate(15.0, guessed=True)  # of any build
    assert of("g", NEW, "", 1) == Estimate(4.0, guessed=True)  # of another reference guest, no machine
    assert of("g", "vm:other", "", 1) == Estimate(100.0, guessed=True)
    unknown = of("h", NEW, "", 100)
    assert unknown.guessed
    assert of("h", MACHINE, "", 100).seconds > unknown.seconds > of("h", NEW, "", 10).seconds
    assert not of("h", NEW, "", 0, skipped=5).guessed  # what is skipped takes next to nothing


def test_a_job_tells_how_much_of_it_is_a_guess() -> None:
    collected = [Collected("s/test_a.py", NEW, 1), Collected("s/test_b.py", NEW, 100)]
    (job,) = expand(plan(NEW), collected, {("s/test_a.py", NEW, ""): 7.0})
    assert job.expected == pytest.approx(START_SECONDS + 7.0 + job.guessed)
    assert 0 < job.guessed < 7
    (new,) = expand(plan(NEW), collected)
    assert new.guessed == new.expected  # nothing of it was ever run


def test_names_of_jobs_are_names_of_folders() -> None:
    collected = [Collected("s/test_a.py", "vm:a+verifier+hvci", 1)]
    (job,) = expand(plan("vm:a+verifier+hvci"), collected)
    assert Job.from_json(job.to_json(), ROOT / "plan.json").id == "0001-vm-a+verifier+hvci"


def test_a_plan_that_comes_to_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"p\.toml: suites: hold no test"):
        expand(plan(NEW), [])


def test_a_machine_takes_its_memory_and_a_part_for_each_clone() -> None:
    hardware = Hardware(processors=2, memory_mib=1024)
    one, two = (machine_appetite(hardware, clones) for clones in (1, 2))
    assert one.cores == 2
    assert 1024 < one.memory_mib < two.memory_mib < one.memory_mib + 1024


def test_collecting_counts_tests_by_target_with_the_reasons_for_skips(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_a.py").write_text(
        """
import pytest

@pytest.mark.parametrize("number", [1, 2])
def test_everywhere(guest, number): pass

@pytest.mark.versions(since="10.0.26100")
def test_new(guest): pass

@pytest.mark.skip(reason="not yet")
def test_later(guest): pass

@pytest.mark.requires("app-hives")
def test_hives(guest): pass

def test_driver(own_driver): pass
"""
    )
    (tmp_path / "test_b.py").write_text("def test_plain(): pass\n")
    found = collect(tmp_path, [tmp_path], [NEW, OLD, MACHINE])
    assert [(each.file, each.target, each.tests, each.driver) for each in found] == [
        ("test_a.py", NEW, 5, 1),
        ("test_a.py", OLD, 4, 1),
        ("test_a.py", MACHINE, 2, 0),  # no probe there, so no driver between its filters either
        ("test_b.py", "", 1, 0),
    ]
    assert found[0].skipped == {"not yet": 1}
    assert found[1].skipped == {"not for this target": 1, "not yet": 1}
    assert any("app-hives" in reason for reason in found[2].skipped)


def test_what_cant_be_collected_is_told_in_pytests_words(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("import no_such_module_anywhere\n")
    with pytest.raises(ConfigError, match=r"can't be collected; [\s\S]*no_such_module_anywhere"):
        collect(tmp_path, [tmp_path], [NEW])
