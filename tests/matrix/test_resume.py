"""A run that was killed goes on where it was, and its result is that of a run that nobody disturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import harness
from harness.errors import UsageError
from harness.machine.keep.processes import Process
from harness.matrix.plan.jobs import read_frozen
from harness.matrix.run.folder import MatrixFolder
from harness.matrix.run.guard import end_marked, marked
from harness.matrix.run.lifecycle import check_unchanged, find_interrupted
from harness.results.folder import RunReader
from tests.matrix.world import NEW, OLD, World, essence, with_driver

ROOT = Path(harness.__file__).parent.parent
_SECONDS = 600.0

PLAN = f"""
name = "small"
targets = ["{NEW}"]
suites = ["test_a.py"]
retries = 1
"""

#: Four jobs, each a file on a target.
LARGER = f"""
name = "larger"
targets = ["{NEW}", "{OLD}"]
suites = ["test_a.py", "test_b.py"]
retries = 1
grain_seconds = 5
"""

#: Of the four one alone has a test that ends its process, twice, and one that is tried again.
SUITE = """
from harness.errors import InfrastructureError

@pytest.mark.parametrize("number", range(6))
def test_some(target, number): assert number != 3

def test_infra(target):
    if FILE == "a" and "26100" in target.name: raise InfrastructureError("no luck today")

def test_deadly(target):
    if FILE == "a" and "26100" in target.name: os.kill(os.getpid(), 9)

@pytest.mark.parametrize("number", range(6))
def test_more(target, number): pass
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "root")
    (world.root / "plan.toml").write_text(PLAN)
    return world


@contextmanager
def started(world: World, *arguments: str, results: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """`harness matrix run`, ended at the end of the block if it still runs."""
    place = results or world.results
    process = subprocess.Popen(
        [sys.executable, "-m", "harness", "matrix", "run", "plan.toml", "--results", str(place), *arguments],
        cwd=world.root,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def complete(world: World, *arguments: str, results: Path | None = None) -> tuple[int, str]:
    with started(world, *arguments, results=results) as process:
        said, _ = process.communicate(timeout=_SECONDS)
        return process.returncode, said


def run_in(results: Path) -> MatrixFolder:
    (found,) = results.glob("*/plan.json")
    return MatrixFolder(found.parent)


def wait_for(what: str, condition: object, process: subprocess.Popen[str] | None = None) -> None:
    """Until `condition()` is true; nothing else tells from outside how far a run is."""
    assert callable(condition)
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"still waiting for {what}"
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended before {what}: {process.communicate()[0]}")
        time.sleep(0.005)


def rows_so_far(results: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in results.glob("*/jobs/*/rows.jsonl"))


def attempts(run: MatrixFolder) -> Counter[tuple[str, str, int]]:
    _, jobs = read_frozen(run.path)
    return Counter((row.test, row.target, row.attempt) for job in jobs for row in run.job(job.id).rows)


def test_killed_twice_at_random_moments_it_ends_like_an_undisturbed_run(world: World, tmp_path: Path) -> None:
    (world.root / "plan.toml").write_text(LARGER)
    for name in ("a", "b"):
        world.suite(f"test_{name}.py", f'FILE = "{name}"\n{SUITE}')
    undisturbed = tmp_path / "undisturbed"
    code, said = complete(world, results=undisturbed)
    assert code == 3, said
    seed = random.randrange(1 << 32)
    moments = random.Random(seed)
    for kill in range(2):
        with started(world, *(["--resume"] if kill else [])) as process:
            before = rows_so_far(world.results)
            wanted = before + moments.randrange(1, 12)
            wait_for("rows", lambda wanted=wanted: rows_so_far(world.results) >= wanted, process)
            time.sleep(moments.uniform(0, 0.3))
            process.kill()
            process.wait()
        # Its guard ends what it had started.
        wait_for("the jobs' end", lambda: not marked(world.results))
    code, said = complete(world, "--resume")
    run = run_in(world.results)
    try:
        assert code == 3, said
        assert essence(RunReader(run.path)) == essence(RunReader(run_in(undisturbed).path))
        # Nothing that had a row was run again: every attempt is there once.
        assert set(attempts(run).values()) == {1}
        assert set(attempts(run)) == set(attempts(run_in(undisturbed)))
        assert marked(world.results) == ()
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise
    assert complete(world, "--resume")[0] == 2  # there is nothing left to go on with


BLOCKS = """
import threading
def test_first(target): pass
def test_blocks(target, once):
    if once("blocks"): threading.Event().wait()
"""


def blocked(world: World, process: subprocess.Popen[str]) -> None:
    wait_for("the test that blocks", (world.marks / "blocks").exists, process)


def test_a_killed_conductors_guard_ends_tests_that_would_never_end(world: World) -> None:
    world.suite("test_a.py", BLOCKS)
    with started(world) as process:
        blocked(world, process)
        assert marked(world.results) != ()
        process.kill()
        process.wait()
    wait_for("the blocked test's end", lambda: not marked(world.results))
    wait_for("the guard's end", lambda: not guards_of(world.results))


def test_without_its_guard_the_next_one_ends_what_is_left(world: World) -> None:
    world.suite("test_a.py", BLOCKS)
    with started(world, "--jobs", "1") as process:
        blocked(world, process)
        (guard,) = guards_of(world.results)
        os.kill(guard.pid, signal.SIGKILL)
        process.kill()
        process.wait()
    left = marked(world.results)
    assert left != ()
    try:
        code, said = complete(world, "--resume")
        assert code == 0, said
        assert not any(each.running for each in left)
    finally:
        end_marked(world.results)
    assert "test_blocks" in {row.test.split("::")[-1] for row in RunReader(run_in(world.results).path)}


def guards_of(results: Path) -> list[Process]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"\0harness.matrix.run.guard\0" in command and os.fsencode(results) in command:
                found.append(Process(int(entry.name), 0, ""))
    return found


def test_an_interrupt_ends_it_in_order_and_it_goes_on(world: World) -> None:
    world.suite("test_a.py", BLOCKS)
    with started(world) as process:
        blocked(world, process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=_SECONDS)
        assert process.returncode == 130, said
        assert "--resume" in said
    assert marked(world.results) == ()
    assert guards_of(world.results) == []
    run = run_in(world.results)
    code, said = complete(world, "--resume", "--run", run.name)
    assert code == 0, said
    assert set(attempts(run).values()) == {1}


def interrupted(world: World) -> MatrixFolder:
    """A run that has begun and done nothing."""
    plan = world.plan()
    return world.begin(plan, world.jobs(plan))


def test_a_history_that_cant_be_had_costs_no_night(world: World) -> None:
    world.suite("test_a.py", "def test_a(target): pass\n")
    broken = world.root / "history.sqlite"
    broken.write_text("no database" * 100)
    with started(world, "--history", str(broken)) as process:
        said, _ = process.communicate(timeout=_SECONDS)
    assert process.returncode == 0, said
    assert "going on without the history" in said
    assert "`harness matrix ingest` makes it anew" in said
    assert (run_in(world.results).path / "report.html").is_file()


def test_a_torn_row_is_dropped_and_its_test_runs_again(world: World) -> None:
    world.suite("test_a.py", "def test_a(target): pass\ndef test_b(target): pass\n")
    plan = world.plan()
    (job,) = jobs = world.jobs(plan)
    before = world.run(plan, jobs)
    text = (before.folder.job(job.id).path / "rows.jsonl").read_text()
    run = world.begin(plan, jobs)
    run.job(job.id).path.mkdir(parents=True)
    first = text.splitlines(keepends=True)[0]
    (run.job(job.id).path / "rows.jsonl").write_text(first + text[len(first) : -20])
    ran = world.go_on(run, plan, jobs)
    assert ran.outcomes == {"test_a": "PASS", "test_b": "PASS"}
    assert [test for test, _ in ran.seen.tests] == ["test_a.py::test_b"]


@pytest.mark.parametrize("changed", ["test_a.py", "conftest.py", "plan.toml", "my.sys"])
def test_it_refuses_to_go_on_as_something_else(world: World, changed: str) -> None:
    world.suite("test_a.py", "def test_a(target): pass\n")
    driver = world.root / "my.sys"
    driver.write_bytes(b"MZ")
    plan = world.plan()
    jobs = [with_driver(job, driver, "1") for job in world.jobs(plan)]
    run = world.begin(plan, jobs)
    check_unchanged(run, *read_frozen(run.path))
    with (world.root / changed).open("ab") as file:
        file.write(b"\n# changed")
    with pytest.raises(UsageError, match=rf"{changed}: was [0-9a-f]+, is [0-9a-f]+"):
        check_unchanged(run, *read_frozen(run.path))


def test_another_image_is_another_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from harness.matrix.run import origin

    world.suite("test_a.py", "def test_a(target): pass\n")
    plan = world.plan()
    jobs = [replace(job, target="vm:stand-in") for job in world.jobs(plan)]
    monkeypatch.setattr(origin, "_image", lambda target, recipes: "a" * 64)
    run = world.begin(plan, jobs)
    monkeypatch.setattr(origin, "_image", lambda target, recipes: "b" * 64)
    with pytest.raises(UsageError, match=r"image vm:stand-in: was a+, is b+"):
        check_unchanged(run, plan, jobs)


def test_the_run_to_go_on_with_is_the_newest_of_the_plan(world: World) -> None:
    world.suite("test_a.py", "def test_a(target): pass\n")
    old, new = interrupted(world), interrupted(world)
    assert find_interrupted(world.results, plan=world.root / "plan.toml") == new
    assert find_interrupted(world.results, name=old.name) == old
    with pytest.raises(UsageError, match="no run of"):
        find_interrupted(world.results, plan=world.root / "another.toml")
    new.conclude("<testsuites/>")
    assert find_interrupted(world.results, plan=world.root / "plan.toml") == old
    with pytest.raises(UsageError, match="has ended"):
        find_interrupted(world.results, name=new.name)
