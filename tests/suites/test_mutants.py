"""The suites can fail: against a wrong contract the right tests do, the others do not."""

from __future__ import annotations

import importlib.metadata
from collections import defaultdict
from pathlib import Path

import pytest

from tests.suites.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
TARGET = "reference:10.0.26100"


class Outcomes:
    """A pytest plugin that keeps how each test ended, by its node id below suites/ without parameters."""

    def __init__(self) -> None:
        self.passed: dict[str, int] = defaultdict(int)
        self.failed: dict[str, int] = defaultdict(int)
        self.messages: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid.removeprefix("suites/").partition("[")[0]
        if report.failed:
            self.failed[test] += 1
            self.messages.append(report.longreprtext)
        elif report.when == "call" and report.passed:
            self.passed[test] += 1


def run_suites(tests: tuple[str, ...], results: Path) -> Outcomes:
    """Run suite tests in this process, so that what is patched here holds there."""
    outcomes = Outcomes()
    arguments = [
        *(str(ROOT / "suites" / test) for test in tests),
        f"--rootdir={ROOT}", f"--target={TARGET}", f"--results={results}", "--isolation=session",
        "-p", "no:cacheprovider", "-p", "no:terminal",
        "-o", "addopts=--import-mode=importlib",  # the project's own hold options of the terminal reporter
    ]  # fmt: skip
    if not importlib.metadata.entry_points(group="pytest11", name="harness"):
        arguments += ["-p", "harness.plugin"]
    pytest.main(arguments, plugins=[outcomes])
    return outcomes


def test_the_tests_pass_against_the_right_contract(tmp_path: Path) -> None:
    """Otherwise a failure below would prove nothing."""
    every = sorted({test for mutant in MUTANTS for test in (*mutant.caught_by, *mutant.spared)})

    outcomes = run_suites(tuple(every), tmp_path)

    assert dict(outcomes.failed) == {}, "\n".join(outcomes.messages)
    assert sorted(outcomes.passed) == every


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_wrong_contract_is_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mutant.apply(monkeypatch)

    outcomes = run_suites((*mutant.caught_by, *mutant.spared), tmp_path)

    assert sorted(outcomes.failed) == sorted(mutant.caught_by)
    assert set(mutant.spared) <= set(outcomes.passed)
