from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.matrix.plan.collect import Collected
from harness.matrix.plan.expand import expand
from harness.matrix.plan.plan import Plan
from harness.matrix.plan.prepare import Prepared
from harness.matrix.schedule.preview import Preview
from harness.matrix.schedule.scheduler import Capacity
from harness.results.folder import RunWriter
from harness.results.model import RunResult
from harness.results.outcome import Outcome

NEW, OLD = "reference:10.0.26100", "reference:6.1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_a.py").write_text(
        "import pytest\n"
        "def test_one(guest): pass\n"
        "@pytest.mark.versions(since='6.2')\n"
        "def test_two(guest): pass\n"
    )
    (tmp_path / "night.toml").write_text(f'targets = ["{NEW}", "{OLD}"]\nsuites = ["test_a.py"]\n')
    return tmp_path


def harness(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", "matrix", "plan", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_table_says_what_would_run_and_starts_nothing(root: Path) -> None:
    before = sorted(root.rglob("*"))
    done = harness(root, "night.toml")
    assert done.returncode == 0, done.stderr
    assert NEW in done.stdout
    assert "1 on reference:6.1: not for this target" in done.stdout
    assert "night: 2 jobs, 3 tests" in done.stdout
    assert "a guess" in done.stdout
    assert [path for path in sorted(root.rglob("*")) if "__pycache__" not in path.parts] == before


def test_what_ran_before_is_no_guess(root: Path) -> None:
    pytest.importorskip("sqlalchemy", reason="the history's packages are not installed")
    from harness.history import open_history

    results = root / "results"
    with RunWriter(results / "20261121-000000-000000-1") as run:
        run.add(RunResult("test_a.py::test_one", NEW, Outcome.PASS, duration=40.0))
        run.finish(0)
    with open_history(results / "history.sqlite") as history:
        history.ingest(results / "20261121-000000-000000-1")
    done = harness(root, "night.toml", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    new, old = found["shares"]
    assert (new["target"], new["guessed"]) == (NEW, 0)
    assert 40 < new["expected"] < 50
    assert old["guessed"] > 0  # another target took so long, this one has not been tried
    assert [job["target"] for job in found["jobs"]] == [NEW, OLD]


def test_every_mistake_is_on_a_line_of_its_own(root: Path) -> None:
    (root / "test_b.py").write_text("import no_such_module_anywhere\n")
    (root / "night.toml").write_text(
        f'targets = ["{NEW}", "reference:9.9"]\nsuites = ["test_b.py"]\n'
        'clones = 0\nknown_issues = "gone.toml"\n'
    )
    done = harness(root, "night.toml")
    assert done.returncode == 2
    for expected in ("clones: ", "targets[1]: ", "gone.toml: can't be read", "no_such_module_anywhere"):
        assert expected in done.stderr
    assert done.stdout == ""


def test_the_whole_is_scheduled_on_this_hosts_capacity(tmp_path: Path) -> None:
    plan = Plan("p", tmp_path / "p.toml", tmp_path, (NEW, OLD), (tmp_path / "s",), grain_seconds=5)
    collected = tuple(Collected(f"s/test_{n}.py", name, 1) for n in range(4) for name in plan.targets)
    durations = {(each.file, each.target, ""): 30.0 for each in collected}
    prepared = Prepared(plan, collected, expand(plan, collected, durations))
    one, four = (Preview.of(prepared, Capacity(cores, 1 << 20)) for cores in (1, 4))
    assert one.makespan == pytest.approx(one.work)
    assert four.makespan == pytest.approx(one.work / 4)
    assert four.bound <= four.makespan
    assert [(share.target, share.jobs) for share in four.shares] == [(NEW, 4), (OLD, 4)]
    assert four.guessed == 0
