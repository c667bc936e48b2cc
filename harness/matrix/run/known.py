"""What a whole run says of its plan's known issues; a single job can't tell: it sees a part of the tests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from harness.matrix.plan.plan import Plan
from harness.results.known import Finding, load_known, review
from harness.results.model import RunResult

__all__ = ["known_findings"]


def known_findings(plan: Plan, results: Iterable[RunResult]) -> tuple[Finding, ...]:
    """The entries of the plan's known issues that need care: fixed, expired, or about no test.

    Raises `ConfigError` when the file has gone bad since the run began.
    """
    if plan.known_issues is None:
        return ()
    return review(load_known(plan.known_issues), results, datetime.now(UTC).date())
