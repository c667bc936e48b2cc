"""What the end of a run says about the changes that a user's driver makes."""

from __future__ import annotations

from harness.between import CHANGED, UNCHANGED
from harness.plugin.session import changes_told
from harness.results.model import RunResult
from harness.results.outcome import Outcome


def row(outcome: Outcome, **recorded: str) -> RunResult:
    return RunResult("t.py::test", "reference:6.1", outcome, recorded=recorded)


def test_a_change_is_told_by_target_and_operation() -> None:
    changed = row(Outcome.PASS, **{f"{CHANGED}delete-value": "blocked"})
    assert changes_told("my.sys", [changed, row(Outcome.PASS, other=UNCHANGED)]) == [
        "my.sys changed:",
        "  reference:6.1  delete-value: blocked",
    ]


def test_nothing_changed_is_said_of_what_was_compared_alone() -> None:
    compared = row(Outcome.PASS, a=UNCHANGED, b=UNCHANGED, c="7 keys")
    assert changes_told("my.sys", [compared]) == [
        "my.sys changed nothing in 2 operation(s) that were compared"
    ]


def test_a_run_that_crashed_claims_nothing() -> None:
    said = changes_told("my.sys", [row(Outcome.CRASH), row(Outcome.PASS)])
    assert "changed nothing" not in "".join(said)
    assert said[0].startswith("whether my.sys changes operations was not compared")
    assert said[1].startswith("1 test(s) ended in CRASH, HANG or INFRA")
