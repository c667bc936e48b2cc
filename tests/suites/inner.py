"""Running suite tests inside a test: in this process, so that what is patched here holds there."""

from __future__ import annotations

import importlib.metadata
from collections import defaultdict
from pathlib import Path

import pytest

import harness.plugin
from harness.plugin.recording import ROW_ATTRIBUTE
from harness.results.model import RunResult

__all__ = ["ROOT", "Outcomes", "run_suites"]

ROOT = Path(__file__).resolve().parents[2]
TARGET = "reference:10.0.26100"


class Outcomes:
    """A pytest plugin that keeps how each test ended, by its id below suites/ without the target."""

    def __init__(self) -> None:
        self.passed: dict[str, int] = defaultdict(int)
        self.failed: dict[str, int] = defaultdict(int)
        self.messages: list[str] = []
        #: What `record` kept, by name, of all tests together.
        self.recorded: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = getattr(report, ROW_ATTRIBUTE, None)
        if row is not None:
            self.recorded.update(RunResult.from_json(row).recorded)
        test = report.nodeid.removeprefix("suites/").replace(f"[{TARGET}]", "").replace(f"[{TARGET}-", "[")
        if report.failed:
            self.failed[test] += 1
            self.messages.append(report.longreprtext)
        elif report.when == "call" and report.passed:
            self.passed[test] += 1


def run_suites(tests: tuple[str, ...], results: Path, *options: str) -> Outcomes:
    """Run files or tests below suites/ on the reference guest; ``test_x[set-value]`` is one case."""
    outcomes = Outcomes()
    arguments = [
        *(str(ROOT / "suites" / _with_target(test)) for test in tests),
        f"--rootdir={ROOT}", f"--target={TARGET}", f"--results={results}", "--isolation=session",
        "-p", "no:cacheprovider", "-p", "no:terminal",
        "-o", "addopts=--import-mode=importlib",  # the project's own hold options of the terminal reporter
    ]  # fmt: skip
    arguments += options
    installed = importlib.metadata.entry_points(group="pytest11", name="harness")
    pytest.main(arguments, plugins=[outcomes] if installed else [outcomes, harness.plugin])
    return outcomes


def _with_target(test: str) -> str:
    if "::" not in test:
        return test
    name, bracket, parameters = test.partition("[")
    return f"{name}[{TARGET}-{parameters}" if bracket else f"{name}[{TARGET}]"
