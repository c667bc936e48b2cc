"""The leak gates of a run, where all rows come together: one row for each module and target.

In a job, which may be killed at any moment, a gate has a row as soon as there is something to tell, before
the guest is done with; a later row of the same gate takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from harness.plugin.known import issue_of
from harness.plugin.leaks import GATE, GATE_ATTRIBUTE, SO_FAR_ATTRIBUTE
from harness.plugin.options import SETTINGS
from harness.plugin.recording import OUTCOME_ATTRIBUTE
from harness.results.folder import ROWS_FILE, read_rows
from harness.results.model import RunResult
from harness.results.outcome import Outcome

__all__ = ["GateLog"]


class GateLog:
    """Makes one row of all gates of a module on a target, and tells pytest of those that failed."""

    def __init__(self, config: pytest.Config, add: Callable[[RunResult], None]) -> None:
        self._config = config
        self._add = add
        self._rows: dict[tuple[str, str], RunResult] | None = None
        self._failed: dict[tuple[str, str], RunResult] = {}
        #: How the gates stand of which nothing final is known yet.
        self._so_far: dict[tuple[str, str], RunResult] = {}

    @pytest.hookimpl(trylast=True)  # after the row of the test it came with
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        raw = getattr(report, GATE_ATTRIBUTE, None)
        if raw is None:
            return
        row = RunResult.from_json(raw)
        key = row.test, row.target
        before = self._known().get(key)
        merged = row if before is None else _merged(before, row)
        self._known()[key] = merged
        if self._so_far.pop(key, None) is not None or before is None or _telling(merged) != _telling(before):
            self._tell(key, merged)

    @pytest.hookimpl(specname="pytest_runtest_logreport", tryfirst=True)  # before the row of the test
    def pytest_note_so_far(self, report: pytest.TestReport) -> None:
        """Write down how a gate stands, where it changed. A test without a row yet runs again, one with a row
        doesn't.
        """
        raw = getattr(report, SO_FAR_ATTRIBUTE, None)
        if raw is None:
            return
        row = RunResult.from_json(raw)
        key = row.test, row.target
        before = self._known().get(key)
        row = row if before is None else _merged(before, row)
        noted = self._so_far.get(key, before)
        if row.outcome is not Outcome.PASS if noted is None else _telling(row) != _telling(noted):
            self._so_far[key] = row
            self._add(self._excused(row))

    def _known(self) -> dict[tuple[str, str], RunResult]:
        if self._rows is None:
            self._rows = dict(self._earlier())
        return self._rows

    def _earlier(self) -> Iterator[tuple[tuple[str, str], RunResult]]:
        """The gates of a run that this one goes on with."""
        rows = self._config.stash[SETTINGS].run_folder / ROWS_FILE
        if rows.is_file():
            for row in read_rows(rows):
                if row.test.endswith(f"::{GATE}"):
                    yield (row.test, row.target), row

    def _tell(self, key: tuple[str, str], row: RunResult) -> None:
        excused = self._excused(row)
        if excused.outcome.is_bad:
            self._failed[key] = row
        self._add(excused)

    def _excused(self, row: RunResult) -> RunResult:
        """The row, KNOWN where a known issue expects it."""
        if not row.outcome.is_bad:
            return row
        targets = {target.name: target for target in self._config.stash[SETTINGS].targets}
        issue = issue_of(self._config, row.test, targets.get(row.target), row.outcome)
        return row if issue is None else replace(row, outcome=Outcome.KNOWN, known=issue.link)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        for row in self._failed.values():
            self._config.hook.pytest_runtest_logreport(report=_report(row))
        if self._failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _telling(row: RunResult) -> tuple[Outcome, str, dict[str, str]]:
    return row.outcome, row.detail, dict(row.recorded)


def _merged(one: RunResult, other: RunResult) -> RunResult:
    """The worse outcome, with the texts of both where both are bad."""
    bad = [row for row in (one, other) if row.outcome.is_bad]
    worse = min((one, other), key=lambda row: row.outcome.gravity)
    shown = bad or [worse]
    return replace(
        worse,
        duration=round(one.duration + other.duration, 6),
        message="; ".join(dict.fromkeys(row.message for row in shown)),
        detail="\n".join(dict.fromkeys(row.detail for row in shown)),
        recorded={**other.recorded, **one.recorded},
        started=min(one.started, other.started),
    )


def _report(row: RunResult) -> pytest.TestReport:
    """What pytest is told of a gate that failed, as if it were a test of the module."""
    module, _, name = row.test.rpartition("::")
    report = pytest.TestReport(
        nodeid=f"{row.test}[{row.target}]",
        location=(module, None, f"{name}[{row.target}]"),
        keywords={},
        outcome="failed",
        longrepr=row.detail,
        when="call",
    )
    if row.outcome is not Outcome.FAIL:
        setattr(report, OUTCOME_ATTRIBUTE, row.outcome.value)
    return report
