"""A point in time that several steps share, so that a call's time-out bounds all of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

__all__ = ["Deadline"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """`end` is on `time.monotonic`'s clock; `seconds` is what was given, for messages."""

    end: float
    seconds: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        return cls(time.monotonic() + seconds, seconds)

    @property
    def left(self) -> float:
        """Seconds until then, never negative."""
        return max(0.0, self.end - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self.end

    def at_most(self, seconds: float) -> float:
        """Seconds a single step may wait: `seconds`, or less when the end is nearer."""
        return min(seconds, self.left)
