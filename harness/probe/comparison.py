"""Expected and seen events, aligned line by line: made by `harness.probe.expect`, kept as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, Self

from harness.errors import UsageError

__all__ = ["Comparison", "Line", "Verdict"]

#: Longest JSON text that is read, in characters, and most lines kept of it.
_MAX_TEXT: Final = 1024 * 1024
_MAX_LINES: Final = 1000


class Verdict(StrEnum):
    """What became of one line of a comparison."""

    SAME = "same"
    MISSING = "missing"  # expected, not seen
    EXTRA = "extra"  # seen, not expected


@dataclass(frozen=True, slots=True)
class Line:
    """The notify class that was expected, the one that was seen, or both; `event` is the seen one as text."""

    verdict: Verdict
    expected: str = ""
    seen: str = ""
    event: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """`expected` and `seen` count all events of a side, also those beyond what `lines` holds."""

    expected: int
    seen: int
    lines: tuple[Line, ...]

    @property
    def headline(self) -> str:
        events = "1 event" if self.seen == 1 else f"{self.seen} events"
        return f"the trace has {events}, expected {self.expected}"

    @property
    def left_out(self) -> int:
        """Events that no line shows."""
        expected = sum(line.verdict is not Verdict.EXTRA for line in self.lines)
        seen = sum(line.verdict is not Verdict.MISSING for line in self.lines)
        return max(0, self.expected - expected) + max(0, self.seen - seen)

    def to_text(self) -> str:
        """JSON, what the comparison file of a failure holds."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises `UsageError` for what `to_text` didn't write."""
        if len(text) > _MAX_TEXT:
            raise UsageError(f"not a comparison of events: longer than {_MAX_TEXT} characters")
        try:
            raw: Mapping[str, Any] = json.loads(text)
            lines = tuple(
                Line(Verdict(line["verdict"]), *(str(line[name]) for name in ("expected", "seen", "event")))
                for line in raw["lines"][:_MAX_LINES]
            )
            return cls(int(raw["expected"]), int(raw["seen"]), lines)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise UsageError(f"not a comparison of events: {error!r}") from error
