"""The first bad one of an ordered list: targets, or builds of a driver.

Binary search over a list that is good at first and bad from some place on. Both ends are tried before
anything is believed. Candidates that can't be judged are passed over. Answers that contradict the order are
told; asking every candidate finds all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.repro.verdict import Attempt, Verdict

__all__ = ["Answer", "Bisection", "Judgement", "bisect", "builds_in"]

_SUFFIX: Final = ".sys"


class Judgement(StrEnum):
    """What one candidate is."""

    GOOD = "good"
    BAD = "bad"  # it fails in the same way
    OTHER = "other"  # it fails in another way: neither good nor bad
    UNKNOWN = "unknown"  # INFRA, or the test is skipped there


@dataclass(frozen=True, slots=True)
class Answer:
    """A candidate and what was found; `message` is one line."""

    candidate: str
    judgement: Judgement
    message: str


@dataclass(frozen=True, slots=True)
class Bisection:
    """`first_bad` is None where no candidate is bad or it can't be told; `said` is the answer in words."""

    first_bad: str | None
    last_good: str | None
    said: str
    answers: tuple[Answer, ...]

    @property
    def conclusive(self) -> bool:
        return self.first_bad is not None


class _Search:
    """Asks each candidate once."""

    def __init__(self, candidates: Sequence[str], ask: Callable[[str], Attempt]) -> None:
        self.candidates = candidates
        self._ask = ask
        self.answers: dict[int, Answer] = {}

    def judge(self, index: int) -> Judgement:
        if index not in self.answers:
            name = self.candidates[index]
            attempt = self._ask(name)
            self.answers[index] = Answer(name, _JUDGED[attempt.verdict], attempt.message)
        return self.answers[index].judgement

    def nearest(self, low: int, high: int) -> int | None:
        """The candidate nearest to the middle between two that is good or bad; None when none is."""
        middle = (low + high) // 2
        for index in sorted(range(low + 1, high), key=lambda each: (abs(each - middle), each)):
            if self.judge(index) in (Judgement.GOOD, Judgement.BAD):
                return index
        return None

    def outermost(self, indexes: Iterable[int]) -> int | None:
        """The first of these that is good or bad."""
        return next((each for each in indexes if self.judge(each) in (Judgement.GOOD, Judgement.BAD)), None)

    def result(self, first_bad: int | None, last_good: int | None, said: str) -> Bisection:
        ordered = tuple(self.answers[index] for index in sorted(self.answers))
        name = None if first_bad is None else self.candidates[first_bad]
        good = None if last_good is None else self.candidates[last_good]
        return Bisection(name, good, said, ordered)


def bisect(candidates: Sequence[str], ask: Callable[[str], Attempt], *, every: bool = False) -> Bisection:
    """Find the first bad candidate, oldest first. `ask` runs the bundle on one; `every` asks all of them.

    Raises `UsageError` for a list without anything to search.
    """
    if len(candidates) < 2:
        raise UsageError(f"{len(candidates)} candidate is nothing to search; name two or more, oldest first")
    search = _Search(candidates, ask)
    if every:
        for index in range(len(candidates)):
            search.judge(index)
        if contradiction := _contradiction(search):
            return search.result(None, None, contradiction)
    low = search.outermost(range(len(candidates)))
    high = search.outermost(range(len(candidates) - 1, -1, -1))
    if low is None or high is None:
        return search.result(None, None, "none of them can be judged")
    if (ended := _ends(search, low, high)) is not None:
        return search.result(*ended)
    while high - low > 1:
        middle = search.nearest(low, high)
        if middle is None:
            said = f"{candidates[low]} is good, {candidates[high]} bad, and what is between can't be judged"
            return search.result(high, low, said)
        if search.judge(middle) is Judgement.BAD:
            high = middle
        else:
            low = middle
    return search.result(high, low, f"{candidates[high]} is the first bad one")


def _ends(search: _Search, low: int, high: int) -> tuple[int | None, int | None, str] | None:
    """The result where the outermost ones that can be judged decide."""
    names = search.candidates
    match search.judge(low), search.judge(high):
        case Judgement.BAD, Judgement.BAD:
            return None, None, f"{names[low]}, the oldest that can be judged, is bad already: add older ones"
        case Judgement.GOOD, Judgement.GOOD:
            return None, high, f"{names[low]} and {names[high]} are both good: nothing to find between them"
        case Judgement.BAD, _:
            return None, None, f"not in order: {names[low]} is bad, {names[high]} good; turn the list round"
        case _:
            return None


def _contradiction(search: _Search) -> str:
    """A good one after a bad one, where everything was asked."""
    bad = ""
    for index in sorted(search.answers):
        answer = search.answers[index]
        if answer.judgement is Judgement.BAD:
            bad = bad or answer.candidate
        elif answer.judgement is Judgement.GOOD and bad:
            return f"not in order: {answer.candidate} is good though {bad}, before it, is bad"
    return ""


def builds_in(folder: Path) -> list[Path]:
    """The drivers of a folder, oldest first: by the names of their folders or files, numbers as numbers.

    ``v1.2.0-3-gabc/my.sys`` (`git describe`) comes before ``v1.2.0-12-gdef/my.sys``. Raises `UsageError` for
    a folder without drivers.
    """
    found = sorted(folder.rglob(f"*{_SUFFIX}"), key=lambda path: _natural(path.relative_to(folder)))
    if not found:
        raise UsageError(f"there is no driver (*{_SUFFIX}) in {folder}")
    return found


def _natural(path: Path) -> list[list[tuple[int, int, str]]]:
    """Text as numbers and the rest, so that 3 sorts before 12; what git describe ends with doesn't count."""
    names = [re.sub(r"-g[0-9a-f]{4,40}$", "", name) for name in path.with_suffix("").parts]
    parts = [re.findall(r"\d+|\D+", name) for name in names]
    return [[(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name] for name in parts]


_JUDGED: Final = {
    Verdict.REPRODUCED: Judgement.BAD,
    Verdict.NOT_REPRODUCED: Judgement.GOOD,
    Verdict.DIFFERENT: Judgement.OTHER,
    Verdict.INFRA: Judgement.UNKNOWN,
    Verdict.SKIPPED: Judgement.UNKNOWN,
}
