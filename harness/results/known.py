"""Known issues: failures that are expected, each with a link, so that a run fails only over what is new.

A TOML file names them::

    [[issue]]
    behaviour = "B-LAY-03"          # or test = "suites/layering/*::test_a_block*"; patterns, both must match
    targets = ["vm:win10-*"]        # patterns; without: every target
    link = "https://tracker.example/4711"
    since = 2026-11-01              # a date: of the run; a text, "10.0.19041": the target's Windows version
    until = 2026-12-24              # both ends included

A matched FAIL, CRASH or HANG becomes KNOWN; INFRA never does: it says nothing about what is tested.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from harness.catalogue import Catalogue
from harness.errors import UsageError
from harness.registry.version import WindowsVersion
from harness.results.model import MAX_RECORDED, RunResult
from harness.results.outcome import Outcome
from harness.strict import Mistakes, load_toml, read_table

__all__ = ["Case", "Finding", "KnownIssue", "KnownIssues", "Standing", "load_known", "review"]

#: What a known issue can excuse.
_FAILURES: Final = (Outcome.FAIL, Outcome.CRASH, Outcome.HANG)


@dataclass(frozen=True, slots=True)
class Case:
    """What is matched: one test on one target. `version` is None where it isn't known."""

    test: str
    target: str
    version: WindowsVersion | None
    behaviours: tuple[str, ...] = ()
    build: str = ""

    @classmethod
    def of(cls, result: RunResult) -> Self:
        """The case that a row is about."""
        known = None
        if result.attestation is not None:
            with suppress(UsageError):  # a row may hold any text
                known = WindowsVersion.parse(result.attestation.version)
        return cls(result.test, result.target, known, result.behaviours, result.build)


@dataclass(frozen=True, slots=True)
class KnownIssue:
    """One entry of the file. Patterns are those of the shell, compared with the whole name.

    `since` and `until` are dates, compared with the day of the run (UTC), or Windows versions, compared with
    the target's; both ends are included.
    """

    link: str
    behaviour: str = ""
    test: str = ""
    targets: tuple[str, ...] = ("*",)
    #: Patterns of builds of a driver under test; runs without one have the build "".
    builds: tuple[str, ...] = ("*",)
    outcomes: tuple[Outcome, ...] = _FAILURES
    since: date | str | None = None
    until: date | str | None = None
    note: str = ""

    @property
    def subject(self) -> str:
        """What it is about, in words."""
        return " and ".join(part for part in (self.behaviour, self.test) if part)

    def covers(self, case: Case) -> bool:
        """Whether it is about this test on this target, on whatever day."""
        return (
            (not self.behaviour or any(fnmatchcase(each, self.behaviour) for each in case.behaviours))
            and (not self.test or _matches_test(case.test, self.test))
            and any(fnmatchcase(case.target, pattern) for pattern in self.targets)
            and any(fnmatchcase(case.build, pattern) for pattern in self.builds)
            and self._covers_version(case.version)
        )

    def _covers_version(self, version: WindowsVersion | None) -> bool:
        since, until = _version(self.since), _version(self.until)
        if since is None and until is None:
            return True
        if version is None:
            return False
        return (since is None or since <= version) and (until is None or version <= until)

    def holds_on(self, day: date) -> bool:
        """Whether the entry is in force on that day: begun, and not over."""
        return not self.is_expired(day) and not (isinstance(self.since, date) and day < self.since)

    def is_expired(self, day: date) -> bool:
        """Whether its last day is over."""
        return isinstance(self.until, date) and day > self.until


def _matches_test(name: str, pattern: str) -> bool:
    """Whether the pattern means the test; a name without parameters means all of them."""
    return name == pattern or name.partition("[")[0] == pattern or fnmatchcase(name, pattern)


def _version(bound: date | str | None) -> WindowsVersion | None:
    return WindowsVersion.parse(bound) if isinstance(bound, str) else None


@dataclass(frozen=True, slots=True)
class KnownIssues:
    """The entries of a file, in its order: the first that matches counts."""

    issues: tuple[KnownIssue, ...] = ()

    def excuse(self, outcome: Outcome, case: Case, day: date) -> KnownIssue | None:
        """The issue that a failure on that day is known by; None for anything else."""
        if outcome not in _FAILURES:
            return None
        fitting = (i for i in self.issues if outcome in i.outcomes and i.holds_on(day) and i.covers(case))
        return next(fitting, None)


class Standing(StrEnum):
    """What a run says of an entry that should be looked at."""

    FIXED = "fixed"  # everything it is about ran and passed
    EXPIRED = "expired"  # its last day is over
    UNMATCHED = "unmatched"  # it is about no test of the run


@dataclass(frozen=True, slots=True)
class Finding:
    """An entry of the file that somebody should look at."""

    issue: KnownIssue
    standing: Standing

    @property
    def advice(self) -> str:
        """What to do about it."""
        return _ADVICE[self.standing]

    def __str__(self) -> str:
        about = f"{self.issue.subject} on {', '.join(self.issue.targets)} ({self.issue.link})"
        return f"known issue {about} {self.advice}"


_ADVICE: Final = {
    Standing.FIXED: "passed everywhere it should fail: remove it, or set until",
    Standing.EXPIRED: "is past its last day: remove it, or move until",
    Standing.UNMATCHED: "is about no test that ran: correct its patterns, or remove it",
}


def review(known: KnownIssues, results: Iterable[RunResult], day: date) -> tuple[Finding, ...]:
    """The entries that a whole run proves to be in need of care, in the order of the file.

    Of a test that was tried again the last attempt counts. A test that was skipped shows nothing; one that
    ended as INFRA leaves it open whether an issue is fixed.
    """
    last: dict[tuple[str, str, str], RunResult] = {}
    for result in results:
        key = (result.test, result.target, result.build)
        if key not in last or last[key].attempt <= result.attempt:
            last[key] = result
    cases = [(Case.of(result), result.outcome) for result in last.values()]
    found = []
    for issue in known.issues:
        outcomes = [outcome for case, outcome in cases if issue.covers(case)]
        ran = [outcome for outcome in outcomes if outcome is not Outcome.SKIP]
        if issue.is_expired(day):
            found.append(Finding(issue, Standing.EXPIRED))
        elif not outcomes:
            found.append(Finding(issue, Standing.UNMATCHED))
        elif ran and issue.holds_on(day) and all(outcome is Outcome.PASS for outcome in ran):
            found.append(Finding(issue, Standing.FIXED))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _File:
    """The keys of the file."""

    issue: tuple[KnownIssue, ...] = field(default=())


def load_known(file: Path) -> KnownIssues:
    """The known issues of a TOML file. Raises `ConfigError` with everything that is wrong with it."""
    read = read_table(_File, load_toml(file), file)
    mistakes = Mistakes()
    for index, issue in enumerate(read.issue):
        _check(issue, file, f"issue[{index}]", mistakes)
    mistakes.check()
    return KnownIssues(read.issue)


def _check(issue: KnownIssue, file: Path, where: str, mistakes: Mistakes) -> None:
    if not issue.behaviour and not issue.test:
        mistakes.add(file, where, "must name a behaviour or a test (a pattern) that is known to fail")
    if urlsplit(issue.link).scheme not in ("http", "https"):
        mistakes.add(file, f"{where}.link", f"{issue.link!r} must be where the issue is kept: https://...")
    if issue.behaviour and not any(fnmatchcase(each.id, issue.behaviour) for each in Catalogue.load()):
        why = f"{issue.behaviour!r} is no behaviour of the catalogue, and no pattern of any"
        mistakes.add(file, f"{where}.behaviour", why)
    for key, names in (("targets", issue.targets), ("builds", issue.builds), ("outcomes", issue.outcomes)):
        if not names:
            mistakes.add(file, f"{where}.{key}", "is empty, so that nothing matches; leave it out for all")
    for outcome in issue.outcomes:
        if outcome not in _FAILURES:
            why = f"{outcome} can't be a known issue; {', '.join(_FAILURES)} can"
            mistakes.add(file, f"{where}.outcomes", why)
    if max(map(len, (issue.link, issue.note, issue.test, *issue.targets, *issue.builds))) > MAX_RECORDED:
        mistakes.add(file, where, f"has a text of more than {MAX_RECORDED} characters")
    with mistakes.gathered(file, f"{where}.since"):
        since = issue.since if isinstance(issue.since, date) else _version(issue.since)
        with mistakes.gathered(file, f"{where}.until"):
            until = issue.until if isinstance(issue.until, date) else _version(issue.until)
            if _is_reversed(since, until):
                raise UsageError(f"{issue.until} is before since, which is {issue.since}")


def _is_reversed(since: date | WindowsVersion | None, until: date | WindowsVersion | None) -> bool:
    match since, until:
        case date(), date():
            return until < since
        case WindowsVersion(), WindowsVersion():
            return until < since
        case _:
            return False
