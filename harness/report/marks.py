"""A cell's last runs as small bars. Each different course is one CSS class, so a cell costs a few bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from harness.results.outcome import Outcome

__all__ = ["CODES", "MAX_MARKS", "Marks"]

#: Runs shown in a cell, this one included.
MAX_MARKS: Final = 10
#: One letter for each outcome, as the page's data and classes have it.
CODES: Final = {
    Outcome.INFRA: "I",
    Outcome.CRASH: "C",
    Outcome.HANG: "H",
    Outcome.FAIL: "F",
    Outcome.KNOWN: "K",
    Outcome.PASS: "P",
    Outcome.SKIP: "S",
}
_NOT_RUN: Final = "-"
#: Pixels: what is bad stands out by height, not by colour alone.
_HEIGHTS: Final = {"I": 7, "C": 7, "H": 7, "F": 7, "K": 4, "P": 2, "S": 1, _NOT_RUN: 0}
_WIDTH: Final = 2


class Marks:
    """Collects the courses of a page and gives them names."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def name(self, course: Sequence[Outcome | None]) -> str:
        """The class of a course, the oldest run first; empty where there is nothing to show but this run."""
        letters = "".join(_NOT_RUN if each is None else CODES[each] for each in course[-MAX_MARKS:])
        letters = letters.lstrip(_NOT_RUN)
        if len(letters) < 2:
            return ""
        return f"h{self._numbers.setdefault(letters, len(self._numbers))}"

    @property
    def courses(self) -> list[str]:
        """The letters of every course, in the order of the numbers in their names."""
        return list(self._numbers)

    @property
    def styles(self) -> str:
        """The rules of all classes: a bar is a background of its own."""
        return "\n".join(f".h{number}{{{_rule(letters)}}}" for letters, number in self._numbers.items())


def _rule(letters: str) -> str:
    bars = [(at, letter) for at, letter in enumerate(letters) if letter != _NOT_RUN]
    first = MAX_MARKS - len(letters)
    images = ",".join(f"var(--bar-{letter})" for _, letter in bars)
    sizes = ",".join(f"{_WIDTH}px {_HEIGHTS[letter]}px" for _, letter in bars)
    places = ",".join(f"{(first + at) * (_WIDTH + 1) + 2}px var(--bar-y)" for at, _ in bars)
    return f"background-image:{images};background-size:{sizes};background-position:{places}"
