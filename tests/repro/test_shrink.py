"""Shrinking what is awkward: failures by chance, filters that matter, a search that is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.machine.keep.processes import start_time
from harness.pytest_command import pytest_command
from harness.repro.chance import Chance, failing_of
from harness.repro.failure import Failure
from harness.results.outcome import Outcome
from tests.repro.commands import ROOT, bundle_of, harness

pytest.importorskip("unicorn", reason="the reference guest needs unicorn")

SUITE = """
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS


def test_text(registry):
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        for number in range(NOISE):
            p.set_value(key, f"noise {number}", number)
        p.set_value(key, "colour", "red")
        read = p.query_value(key, "colour")
    assert read.text == "red"


def test_order(probe, registry):
    high, low = probe.add("380020"), probe.add("380010")
    probe.add("380015").on(Pre.QueryValueKey, under=registry.test_root).pass_()
    low.on(Pre.SetValueKey, under=registry.test_root, value="secret").block(NTSTATUS.ACCESS_DENIED)
    high.on(Post.SetValueKey, under=registry.test_root, status=NTSTATUS.ACCESS_DENIED).override(0)
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "other", 1)
        write = p.set_value(key, "secret", "x")
    assert write.status == NTSTATUS.ACCESS_DENIED
"""
#: Bounds waits for what must happen.
PATIENCE = 600.0


def failed(folder: Path, test: str, noise: int = 3, *options: str) -> Path:
    """The bundle of a test of the suite above."""
    (folder / "test_mine.py").write_text(SUITE.replace("NOISE", str(noise)))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    results = folder / "results"
    command = [*pytest_command(), "-q", f"--results={results}", "--target", "reference:6.1", "-k", test]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, *options], cwd=folder, env=environment, capture_output=True, check=False)
    return bundle_of(results, test)


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BY_CHANCE", str(tmp_path / "counter"))
    return tmp_path / "counter"


def test_how_often_it_fails_says_how_often_to_try() -> None:
    failure = Failure(Outcome.FAIL)

    def one_of_three(times: int) -> Iterator[Failure | None]:
        return (failure if next(numbers) % 3 == 2 else None for _ in range(times))

    numbers = iter(range(100))
    failing, chance = failing_of(lambda times: list(one_of_three(times)))
    assert (len(failing), chance) == (4, Chance(4, 12))
    assert (2 / 3) ** chance.trials < 0.01 < (2 / 3) ** (chance.trials - 1)
    assert failing_of(lambda times: [failure] * times)[1].trials == 1


def test_a_failure_by_chance_is_shrunk_all_the_same(tmp_path: Path, counter: Path) -> None:
    bundle = failed(tmp_path, "test_text", 3, "-p", "tests.repro.by_chance")
    done = harness("shrink", bundle, "-j", "1", "-o", tmp_path / "test_small.py", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    assert "fails 4 of 12 times, so each trial was repeated up to 12 times" in done.out
    text = (tmp_path / "test_small.py").read_text()
    assert "noise" not in text
    assert 'p.set_value(key, "colour", "red")' in text


def test_filters_stay_where_the_failure_is_about_them(tmp_path: Path) -> None:
    bundle = failed(tmp_path, "test_order")
    done = harness("shrink", bundle, "-o", tmp_path / "test_none.py", cwd=tmp_path)
    assert "it fails without rules too; if it is about them, give --control or --keep-filters" in done.out
    done = harness("shrink", bundle, "--keep-filters", "-o", tmp_path / "test_kept.py", cwd=tmp_path)
    assert done.code == 0, done.out + done.err
    text = (tmp_path / "test_kept.py").read_text()
    assert text.index('probe.add("380020")') < text.index('probe.add("380010")')
    assert ".override(" in text
    assert "block(NTSTATUS.ACCESS_DENIED)" in text
    assert '"other"' not in text


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def searching(bundle: Path, folder: Path, counter: Path) -> subprocess.Popen[str]:
    """A search that has found out how the failure goes, and has a lot left to try."""
    program = "from harness.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "shrink", str(bundle), "-j", "1", "-o", "test_small.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background jobs ignore SIGINT, and so would this one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    before, deadline = counter.stat().st_size, time.monotonic() + PATIENCE
    while counter.stat().st_size < before + 30:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the search does not begin"
        time.sleep(0.02)
    return process


def gone(pids: list[int]) -> None:
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid in pids if start_time(pid) is not None]:
        assert time.monotonic() < deadline, f"processes that don't end: {left}"
        time.sleep(0.02)


def test_an_interrupted_search_keeps_the_smallest_so_far(tmp_path: Path, counter: Path) -> None:
    bundle = failed(tmp_path, "test_text", 400, "-p", "tests.repro.by_chance")
    process = searching(bundle, tmp_path, counter)
    workers = children(process.pid)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert "the search was interrupted" in said
    text = (tmp_path / "test_small.py").read_text()
    assert text.startswith('"""NOT PROVEN: ')
    assert "403 operations" in text
    compile(text, "test_small.py", "exec")
    assert workers
    gone(workers)


def test_a_killed_search_leaves_no_process(tmp_path: Path, counter: Path) -> None:
    bundle = failed(tmp_path, "test_text", 400, "-p", "tests.repro.by_chance")
    process = searching(bundle, tmp_path, counter)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    assert workers
    gone(workers)
