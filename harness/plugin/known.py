"""``--known FILE``: failures that a file of known issues expects are KNOWN, which is no failure to pytest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.plugin.options import SETTINGS
from harness.plugin.selection import behaviours_of, name_without_target, target_of
from harness.results.known import Case, KnownIssue, KnownIssues, Standing, load_known, review
from harness.results.model import RunResult
from harness.results.outcome import Outcome
from harness.targets import Target

__all__ = ["excuse", "issue_of", "read_known", "summarise"]


@dataclass(frozen=True, slots=True)
class _Known:
    issues: KnownIssues
    #: The day of the run, which since and until are compared with.
    day: date


_KNOWN = pytest.StashKey[_Known]()


def read_known(config: pytest.Config) -> None:
    """Read the file. Raises `pytest.UsageError` with everything that is wrong with it."""
    file = config.getoption("--known")
    if file is None:
        return
    try:
        issues = load_known(Path(file).absolute())
    except UsageError as error:
        raise pytest.UsageError(f"--known: {error}") from None
    config.stash[_KNOWN] = _Known(issues, datetime.now(UTC).date())


def excuse(item: pytest.Item, report: pytest.TestReport, outcome: Outcome) -> KnownIssue | None:
    """The issue that this failure is known by. The report then tells pytest of an expected failure."""
    issue = issue_of(
        item.config, name_without_target(item), target_of(item), outcome, behaviours=behaviours_of(item)
    )
    if issue is not None:
        report.outcome = "skipped"
        # What pytest, and through it pytest-xdist, knows an expected failure by.
        report.wasxfail = f"known issue {issue.link}"
    return issue


def issue_of(
    config: pytest.Config,
    test: str,
    target: Target | None,
    outcome: Outcome,
    *,
    behaviours: tuple[str, ...] = (),
) -> KnownIssue | None:
    """The issue that an outcome of a test on a target is known by."""
    known = config.stash.get(_KNOWN, None)
    if known is None:
        return None
    case = Case(
        test=test,
        target="" if target is None else target.name,
        version=None if target is None else target.version,
        behaviours=behaviours,
        build=config.stash[SETTINGS].build,
    )
    return known.issues.excuse(outcome, case, known.day)


def summarise(
    config: pytest.Config, results: Iterable[RunResult], terminalreporter: pytest.TerminalReporter
) -> None:
    """Say which known issues were met, and which entries of the file need care."""
    known = config.stash.get(_KNOWN, None)
    if known is None:
        return
    rows = tuple(results)
    met = Counter(row.known for row in rows if row.outcome is Outcome.KNOWN and row.known)
    for link, count in sorted(met.items()):
        terminalreporter.write_line(f"known issue {link}: {count} result(s)", yellow=True)
    findings = review(known.issues, rows, known.day)
    for finding in findings:
        if finding.standing is not Standing.UNMATCHED:
            terminalreporter.write_line(str(finding), yellow=True)
    if unmatched := sum(finding.standing is Standing.UNMATCHED for finding in findings):
        terminalreporter.write_line(f"{unmatched} known issue(s) are about no test of this run")
