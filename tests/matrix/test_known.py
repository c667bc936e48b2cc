from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from harness.registry.version import WindowsVersion
from harness.results.known import Case, KnownIssue, KnownIssues, Standing, load_known, review
from harness.results.model import Attestation, RunResult
from harness.results.outcome import Outcome
from harness.strict import ConfigError

LINK = "https://tracker.example/1"
DAY = date(2026, 11, 21)


def result(
    outcome: Outcome, *, test: str = "a.py::test", target: str = "vm:a", attempt: int = 1
) -> RunResult:
    return RunResult(test, target, outcome, ("B-LAY-03",), attempt=attempt)


def standings(issue: KnownIssue, *results: RunResult, day: date = DAY) -> list[Standing]:
    return [finding.standing for finding in review(KnownIssues((issue,)), results, day)]


def test_an_issue_is_fixed_when_everything_it_is_about_ran_and_passed() -> None:
    issue = KnownIssue(LINK, behaviour="B-LAY-*", targets=("vm:*",))
    passed = result(Outcome.PASS)
    assert standings(issue, passed, result(Outcome.PASS, target="vm:b")) == [Standing.FIXED]
    assert standings(issue, passed, result(Outcome.FAIL, target="reference:6.1")) == [Standing.FIXED]
    assert standings(issue, passed, result(Outcome.KNOWN, target="vm:b")) == []
    assert standings(issue, passed, result(Outcome.INFRA, target="vm:b")) == []
    assert standings(issue, passed, result(Outcome.SKIP, target="vm:b")) == [Standing.FIXED]
    assert standings(issue, result(Outcome.SKIP)) == []  # nothing ran
    assert standings(issue, result(Outcome.PASS, target="reference:6.1")) == [Standing.UNMATCHED]


def test_the_last_attempt_counts() -> None:
    issue = KnownIssue(LINK, test="a.py::test")
    infra, passed = result(Outcome.INFRA), result(Outcome.PASS, attempt=2)
    assert standings(issue, infra, passed) == [Standing.FIXED]
    assert standings(issue, passed, infra) == [Standing.FIXED]


@pytest.mark.parametrize(
    ("day", "excused"),
    [(date(2026, 11, 20), False), (DAY, True), (date(2026, 11, 23), True), (date(2026, 11, 24), False)],
)
def test_both_days_are_included(day: date, excused: bool) -> None:
    issues = KnownIssues((KnownIssue(LINK, test="*", since=DAY, until=date(2026, 11, 23)),))
    case = Case("a.py::test", "vm:a", None)
    assert (issues.excuse(Outcome.CRASH, case, day) is not None) is excused
    assert issues.excuse(Outcome.INFRA, case, day) is None
    infra = KnownIssues((KnownIssue(LINK, test="*", outcomes=(Outcome.INFRA,)),))
    assert infra.excuse(Outcome.INFRA, case, day) is None
    assert standings(issues.issues[0], result(Outcome.FAIL), day=date(2026, 11, 24)) == [Standing.EXPIRED]


@pytest.mark.parametrize(
    ("version", "covered"), [("6.0", False), ("6.1", True), ("6.3", True), ("10.0.10240", False)]
)
def test_both_versions_are_included(version: str, covered: bool) -> None:
    issue = KnownIssue(LINK, test="*", since="6.1", until="6.3")
    assert issue.covers(Case("t", "vm:a", WindowsVersion.parse(version))) is covered
    assert not issue.covers(Case("t", "vm:a", None))


def test_names_with_brackets_are_names() -> None:
    """Parameters stand in brackets, which are a set of characters in a pattern."""
    case = Case("a.py::test[block-x]", "vm:a", None)
    assert KnownIssue(LINK, test="a.py::test[block-x]").covers(case)
    assert KnownIssue(LINK, test="a.py::test").covers(case)
    assert KnownIssue(LINK, test="*::test*").covers(case)
    assert not KnownIssue(LINK, test="a.py::tes").covers(case)


def test_a_behaviour_and_a_test_must_both_match() -> None:
    issue = KnownIssue(LINK, behaviour="B-LAY-03", test="a.py::*")
    assert issue.covers(Case("a.py::t", "vm:a", None, ("B-LAY-03",)))
    assert not issue.covers(Case("a.py::t", "vm:a", None, ("B-LAY-05",)))
    assert not issue.covers(Case("b.py::t", "vm:a", None, ("B-LAY-03",)))


def test_every_mistake_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text(
        """
        [[issue]]
        link = "the wiki"
        [[issue]]
        behaviour = "B-NOT-THERE"
        link = "https://tracker.example/1"
        outcomes = ["INFRA"]
        since = 2026-11-21
        until = 2026-11-20
        [[issue]]
        test = "*"
        targets = []
        link = "https://tracker.example/1"
        until = "seven"
        """
    )
    with pytest.raises(ConfigError) as raised:
        load_known(file)
    assert [mistake.removeprefix(f"{file}: ").split(": ")[0] for mistake in raised.value.mistakes] == [
        "issue[0]",
        "issue[0].link",
        "issue[1].behaviour",
        "issue[1].outcomes",
        "issue[1].until",
        "issue[2].targets",
        "issue[2].until",
    ]


def test_a_file_without_issues_is_one(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text("# nothing is known to be broken\n")
    assert load_known(file) == KnownIssues()


def test_a_row_with_any_text_for_a_version_does_no_harm() -> None:
    odd = RunResult("t", "vm:a", Outcome.PASS, attestation=Attestation("vm:a", "windows", "eleven", "x64"))
    assert standings(KnownIssue(LINK, test="t", since="6.1"), odd) == [Standing.UNMATCHED]
    assert standings(KnownIssue(LINK, test="t"), odd) == [Standing.FIXED]
