"""The conductor runs jobs to their end, whatever their processes do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.machine.keep.processes import start_time
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Limits
from harness.matrix.run.conductor import LocalHost
from harness.matrix.run.exclusives import Exclusives
from harness.matrix.run.folder import JobEnd, MatrixFolder
from harness.matrix.run.guard import MARK, marked
from harness.matrix.run.merge import merge
from harness.matrix.run.process import Ending, _Watch
from harness.matrix.run.running import run_job
from harness.results.folder import RunWriter, write_evidence
from harness.results.model import RunResult
from harness.results.outcome import Outcome
from tests.matrix.world import NEW, OLD, World, with_driver


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "root")


def test_every_job_runs_and_its_rows_become_the_runs(world: World) -> None:
    world.suite("test_a.py", "def test_passes(target): pass\ndef test_fails(target): assert 0\n")
    plan = world.plan()
    ran = world.run(plan, world.jobs(plan, (NEW, OLD)))
    assert [(row.test, row.target, row.outcome) for row in ran.rows] == [
        ("test_a.py::test_passes", NEW, Outcome.PASS),
        ("test_a.py::test_fails", NEW, Outcome.FAIL),
        ("test_a.py::test_passes", OLD, Outcome.PASS),
        ("test_a.py::test_fails", OLD, Outcome.FAIL),
    ]
    assert ran.exit_code == 1
    assert [end.processes for end in ran.seen.ends] == [1, 1]
    assert len(ran.seen.tests) == 4


def test_a_death_costs_one_test(world: World) -> None:
    world.suite(
        "test_a.py",
        "def test_before(target): pass\n"
        "def test_deadly(target): os.kill(os.getpid(), 9)\n"
        "def test_after(target): pass\n",
    )
    plan = world.plan()
    (job,) = jobs = world.jobs(plan)
    ran = world.run(plan, jobs)
    assert ran.outcomes == {"test_before": "PASS", "test_deadly": "INFRA", "test_after": "PASS"}
    assert "SIGKILL" in ran.row("test_deadly").message
    assert ran.attempts(job) == {"test_before": 1, "test_deadly": 2, "test_after": 1}
    assert "process 1 died of SIGKILL" in ran.seen.notes
    assert ran.exit_code == 3


@pytest.fixture
def time_flies(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """``time_flies(since)``: none passes for the conductor until `test_hangs` runs, then an hour since that.

    How long Python takes to start, and a test to come to its turn, is the host's affair.
    """
    left = _Watch._left

    def call(since: str) -> None:
        def after_an_hour(watch: _Watch) -> tuple[float, Ending] | None:
            watch._last = watch._began = watch._loop.time()
            if (world.marks / "hangs").exists():
                (world.marks / "hangs").unlink()
                setattr(watch, since, watch._loop.time() - 3600)
            return left(watch)

        monkeypatch.setattr(_Watch, "_left", after_an_hour)

    return call


_HANGS = "import threading\ndef test_hangs(target, once):\n    once('hangs')\n    threading.Event().wait()\n"


def test_a_test_that_never_ends_is_ended_and_the_others_run(
    world: World, time_flies: Callable[[str], None]
) -> None:
    world.suite("test_a.py", f"{_HANGS}def test_after(target): pass\n")
    time_flies("_last")
    ran = world.run(world.plan(retries=0, limits=Limits(test_seconds=0.1)))
    assert ran.outcomes == {"test_hangs": "INFRA", "test_after": "PASS"}
    assert "nothing had finished for 0.1 s" in ran.row("test_hangs").message


def test_when_the_jobs_time_is_over_the_rest_is_infra_and_not_repeated(
    world: World, time_flies: Callable[[str], None]
) -> None:
    world.suite("test_a.py", f"def test_first(target): pass\n{_HANGS}def test_after(target): pass\n")
    plan = world.plan(retries=3, limits=Limits(test_seconds=0.1, job_seconds=3000))
    (job,) = jobs = world.jobs(plan)
    time_flies("_began")
    ran = world.run(plan, jobs)
    assert ran.outcomes == {"test_first": "PASS", "test_hangs": "INFRA", "test_after": "INFRA"}
    assert set(ran.attempts(job).values()) == {1}
    assert "not run" in ran.row("test_after").message
    assert "while this test ran" in ran.row("test_hangs").message


def test_a_file_that_cant_be_collected_is_a_row_and_the_others_run(world: World) -> None:
    world.suite("test_bad.py", "import no_such_module\n")
    world.suite("test_good.py", "def test_good(target): pass\n")
    plan = world.plan()
    (job,) = jobs = world.jobs(plan)
    ran = world.run(plan, jobs)
    assert ran.outcomes == {"test_bad.py": "INFRA", "test_good": "PASS"}
    assert "no_such_module" in ran.rows[1].message + ran.rows[0].message
    assert ran.attempts(job)["test_bad.py"] == 1  # no use in trying that again


def test_a_job_that_never_begins_is_infra_with_what_pytest_said(world: World) -> None:
    world.suite("test_a.py", "def test_a(target): pass\n")
    plan = world.plan(retries=1)
    jobs = world.jobs(plan)
    (world.root / "conftest.py").write_text("raise RuntimeError('not today')\n")
    ran = world.run(plan, jobs)
    (row,) = ran.rows
    assert (row.test, row.target, row.outcome) == ("test_a.py", NEW, Outcome.INFRA)
    assert "not today" in row.detail
    assert ran.seen.ends[0].processes == 2


def test_a_file_that_went_away_is_no_job_well_done(world: World) -> None:
    gone = world.root / world.suite("test_a.py", "def test_a(target): pass\n")
    world.suite("test_b.py", "def test_b(target): pass\n")
    plan = world.plan(retries=0)
    jobs = world.jobs(plan)
    gone.unlink()
    ran = world.run(plan, jobs)
    assert {(row.test, row.outcome) for row in ran.rows} == {
        ("test_a.py", Outcome.INFRA),
        ("test_b.py", Outcome.INFRA),
    }
    assert all("not found" in row.detail for row in ran.rows)


def test_outcomes_are_heard_as_tests_end(world: World) -> None:
    world.suite("test_a.py", "def test_bad(target): assert 1 == 2\ndef test_good(target): pass\n")
    ran = world.run()
    assert ran.seen.tests == [("test_a.py::test_bad", "FAIL"), ("test_a.py::test_good", "PASS")]


def test_a_test_without_a_guest_that_fails_fails_the_run(world: World) -> None:
    """It runs in each job of its file; the run has one row, the worst, whichever job ended last."""
    world.suite(
        "test_a.py",
        "def test_plain(once): assert not once('plain')\n"
        "def test_good(): pass\n"
        "def test_other(target): pass\n",
    )
    plan = world.plan()
    ran = world.run(plan, world.jobs(plan, (NEW, OLD)))
    assert ran.exit_code == 1
    assert [(row.test, row.target, row.outcome.value) for row in ran.rows] == [
        ("test_a.py::test_plain", "", "FAIL"),
        ("test_a.py::test_good", "", "PASS"),
        ("test_a.py::test_other", NEW, "PASS"),
        ("test_a.py::test_other", OLD, "PASS"),
    ]
    assert "not once('plain')" in ran.rows[0].detail


def test_a_test_without_a_row_that_dies_has_one(world: World) -> None:
    world.suite("test_a.py", "def test_plain(): os._exit(7)\ndef test_other(target): pass\n")
    ran = world.run(world.plan(retries=0))
    assert ran.outcomes == {"test_plain": "INFRA", "test_other": "PASS"}
    assert "ended with status 7" in ran.row("test_plain").message


def test_what_a_job_leaves_running_is_ended_with_it(world: World) -> None:
    world.suite(
        "test_a.py",
        "import subprocess, sys\n"
        "def test_a(target):\n"
        "    code = 'import signal; signal.pause()'\n"
        "    child = subprocess.Popen([sys.executable, '-c', code], start_new_session=True)\n"
        "    child.returncode = 0  # not waited for\n"
        f"    open({str(world.marks / 'pid')!r}, 'w').write(str(child.pid))\n",
    )
    plan = world.plan()
    (job,) = jobs = world.jobs(plan)
    folder = world.begin(plan, jobs).job(job.id)

    async def run() -> JobEnd | None:
        return await run_job(plan, job, folder, stop=asyncio.Event())

    assert asyncio.run(run()) is not None  # no guard has a part in this
    assert [row.outcome for row in folder.rows] == [Outcome.PASS]
    assert start_time(int((world.marks / "pid").read_text())) is None


def test_what_a_killed_conductor_left_is_ended_before_anything_begins(world: World) -> None:
    world.suite("test_a.py", "def test_a(target): pass\n")
    plan = world.plan()
    (job,) = jobs = world.jobs(plan)
    run = world.begin(plan, jobs)
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    mine = {**os.environ, MARK: str(run.job(job.id).path)}
    with subprocess.Popen(command, env=mine) as left, subprocess.Popen(command) as other:
        try:
            wait_for_mark(run.path, left.pid)
            with LocalHost(run, plan).open(jobs):
                assert left.wait(120) == -signal.SIGKILL
                assert other.poll() is None
        finally:
            left.kill()
            other.kill()


def wait_for_mark(folder: Path, pid: int) -> None:
    """Until the process has its own environment: between fork and exec it has its parent's."""
    while pid not in {process.pid for process in marked(folder)}:
        os.sched_yield()


def test_output_is_bounded_and_keeps_both_ends(world: World) -> None:
    world.suite(
        "test_a.py",
        "def test_a(target, capfd):\n"
        "    with capfd.disabled():\n"
        "        print('the beginning')\n"
        "        for _ in range(16): print('x' * (1 << 20))\n"
        "        print('the end')\n",
    )
    plan = world.plan()
    (job,) = jobs = world.jobs(plan)
    ran = world.run(plan, jobs)
    text = ran.folder.job(job.id).output.read_text()
    assert len(text) < 6 << 20
    assert "the beginning" in text
    assert "bytes left out" in text
    assert "the end" in text


def test_options_of_the_environment_are_not_the_plans(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.suite("test_a.py", "def test_a(target): pass\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    assert world.run().outcomes == {"test_a": "PASS"}


def test_the_build_is_in_the_rows(world: World) -> None:
    driver = world.root / "my.sys"
    driver.write_bytes(b"MZ")
    world.suite("test_a.py", "def test_a(target): pass\n")
    plan = world.plan()
    (job,) = world.jobs(plan)
    ran = world.run(plan, [with_driver(job, driver, "1.2-checked")])
    assert [row.build for row in ran.rows] == ["1.2-checked"]


def test_an_exclusive_resource_has_one_holder_on_this_host(tmp_path: Path) -> None:
    first, second = Exclusives(tmp_path / "locks"), Exclusives(tmp_path / "locks")
    with first.taken(["licence", "device 7"]) as got:
        assert got
        with second.taken(["another"]) as got:
            assert got
        with second.taken(["another", "licence"]) as got:
            assert not got
        with second.taken(["another"]) as got:
            assert got  # nothing of the refused set is kept
    with second.taken(["licence"]) as got:
        assert got


@pytest.mark.parametrize("exclusive", [("licence",), ()])
def test_jobs_with_the_same_exclusive_resource_run_one_after_the_other(
    world: World, exclusive: tuple[str, ...]
) -> None:
    world.suite("test_a.py", "def test_a(target): pass\n")
    plan = world.plan()
    ran = world.run(plan, [replace(job, exclusive=exclusive) for job in world.jobs(plan, (NEW, OLD))])
    words = [word for word, _ in ran.seen.order]
    assert words == (["began", "ended"] * 2 if exclusive else ["began", "began", "ended", "ended"])


def test_merged_rows_name_files_that_are_there(tmp_path: Path) -> None:
    run = MatrixFolder(tmp_path / "run")
    jobs = [Job("0001-a", NEW, ("test_a.py",)), Job("0002-b", OLD, ("test_a.py",))]
    for job in jobs:
        folder = run.job(job.id).path
        with RunWriter(folder) as writer:
            for attempt in (1, 2):
                name = write_evidence(folder, "trace.txt", b"what was seen")
                writer.add(
                    RunResult(
                        "test_a.py::test_a",
                        job.target,
                        Outcome.INFRA,
                        evidence=(name,),
                        bundle=name,
                        comparison=name,
                        attempt=attempt,
                    )
                )
    rows = merge(run, jobs)
    assert [(row.target, row.attempt) for row in rows] == [(NEW, 2), (OLD, 2)]
    for row in rows:
        assert row.evidence == (f"jobs/{'0001-a' if row.target == NEW else '0002-b'}/evidence/2-trace.txt",)
        for name in (*row.evidence, row.bundle, row.comparison):
            assert (run.path / name).read_bytes() == b"what was seen"
    written = (run.path / "rows.jsonl").read_text().splitlines()
    assert [RunResult.from_json(json.loads(line)) for line in written] == list(rows)


def test_a_run_has_one_conductor(world: World) -> None:
    world.suite("test_a.py", "def test_a(target): pass\n")
    plan = world.plan()
    run = world.begin(plan, world.jobs(plan))
    with run.locked(), pytest.raises(UsageError, match="another process"), run.locked():
        pass
