"""The session as a whole: rows into the run's folder, the exit code, the last words on the terminal."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

import pytest

from harness.between import CHANGED, UNCHANGED
from harness.plugin.known import summarise
from harness.plugin.options import Settings
from harness.plugin.recording import OUTCOME_ATTRIBUTE, ROW_ATTRIBUTE
from harness.plugin.version import own_version
from harness.results.folder import RunWriter
from harness.results.matrix import Matrix
from harness.results.model import RunResult
from harness.results.outcome import Outcome

__all__ = ["EXIT_INFRA", "RunLog", "changes_told", "status_words"]

#: The harness or its host failed; the same number as pytest's own INTERNAL_ERROR.
EXIT_INFRA: Final = 3

_SHOWN: Final = {
    Outcome.CRASH: ("C", "CRASH"),
    Outcome.HANG: ("H", "HANG"),
    Outcome.INFRA: ("I", "INFRA"),
}


def status_words(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Letter and word for outcomes that pytest has no name for; they stay failures to pytest."""
    name = getattr(report, OUTCOME_ATTRIBUTE, None)
    if name is None or (shown := _SHOWN.get(Outcome(name))) is None:
        return None
    category = "failed" if report.when == "call" else "error"
    return category, shown[0], (shown[1], {"red": True})


class RunLog:
    """Writes the rows of a session as they come in. Lives in the one process that sees all reports."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._writer: RunWriter | None = None
        self.results: list[RunResult] = []
        self._infra = False

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._infra |= getattr(report, OUTCOME_ATTRIBUTE, None) == Outcome.INFRA
        row = getattr(report, ROW_ATTRIBUTE, None)
        if row is not None:
            self.add(RunResult.from_json(row))
        elif report.failed and report.when not in ("setup", "call", "teardown"):
            # pytest-xdist's own report of a worker that died; the test's row died with it.
            self._infra = True
            self.add(RunResult(report.nodeid, "", Outcome.INFRA, message=report.longreprtext.split("\n")[0]))

    def add(self, result: RunResult) -> None:
        """Write a row; a later one of the same test, target and build replaces an earlier one."""
        if self._writer is None:
            self._writer = RunWriter(
                self._settings.run_folder, arguments=self._settings.arguments, harness=own_version()
            )
        self._writer.add(result)
        self.results.append(result)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
        code = int(session.exitstatus)  # gates of leaks may have failed since
        if self._infra and code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            code = session.exitstatus = EXIT_INFRA
        if self._writer is not None:
            self._writer.finish(code)

    @pytest.hookimpl
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, config: pytest.Config
    ) -> None:
        if self._writer is None:
            return
        matrix = Matrix(self.results)
        tally = ", ".join(
            f"{count} {outcome}"
            for outcome, count in sorted(matrix.counts.items(), key=lambda item: item[0].gravity)
        )
        kinds = ", ".join(matrix.kinds) or "no guest"
        terminalreporter.section("harness")
        terminalreporter.write_line(f"{tally} on {len(matrix.targets)} target(s), kind of guest: {kinds}")
        accelerators = {each.attestation.accelerator for each in self.results if each.attestation} - {""}
        if accelerators:
            names = " and ".join(sorted(accelerators)).upper()
            slow = "" if accelerators == {"kvm"} else ": emulated, many times slower than KVM"
            terminalreporter.write_line(f"machines ran on {names}{slow}")
        for result in matrix.failures:
            if result.outcome is not Outcome.FAIL:  # pytest's summary cuts the line, and the stack with it
                terminalreporter.write_line(f"{result.test} on {result.target}: {result.message}", red=True)
        summarise(config, self.results, terminalreporter)
        if self._settings.driver is not None:
            self._tell_changes(terminalreporter)
        terminalreporter.write_line(f"results: {self._writer.folder}")
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from harness.report.github import announce

            announce(self._writer.folder, os.environ, terminalreporter.write_line, root=config.rootpath)

    def _tell_changes(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What the user's driver did to the operations that passed through it."""
        assert self._settings.driver is not None
        for line in changes_told(self._settings.driver.name, self.results):
            terminalreporter.write_line(line)


def changes_told(driver: str, results: Sequence[RunResult]) -> list[str]:
    """What tests recorded of the changes that `driver` makes; nothing recorded is not nothing changed."""
    found = []
    unchanged = 0
    for result in results:
        for name, what in result.recorded.items():
            if name.startswith(CHANGED):
                found.append(f"  {result.target}  {name.removeprefix(CHANGED)}: {what}")
            elif what == UNCHANGED:
                unchanged += 1
    silent = sum(result.outcome in _SHOWN for result in results)
    if found:
        lines = [f"{driver} changed:", *found]
    elif unchanged:
        lines = [f"{driver} changed nothing in {unchanged} operation(s) that were compared"]
    else:
        lines = [f"whether {driver} changes operations was not compared (suites/own-driver does)"]
    if silent:
        lines.append(f"{silent} test(s) ended in CRASH, HANG or INFRA: they compared nothing from there on")
    return lines
