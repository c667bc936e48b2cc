"""A serial port on which the same lines come again and again: a guest that goes round in a circle."""

from __future__ import annotations

import re
from collections import deque
from typing import Final

from harness.machine.watch.lines import LineCutter

__all__ = ["Repetition"]

#: Longest circle looked for, in lines.
_MAX_PERIOD: Final = 8
_STAMP: Final = re.compile(r"^\[ *\d+\.\d+\] ?")


class Repetition:
    """Tells when a port has shown nothing but the same one to eight lines for long enough.

    Both bounds must be passed: `times` rounds and `seconds` since the first. `restart` is called whenever the
    guest did what it was asked to, so that a driver which says the same of each of many calls is no circle.
    Times come from the caller's clock, in seconds.
    """

    def __init__(self, *, times: int = 1000, seconds: float = 10.0) -> None:
        self.times = times
        self.seconds = seconds
        self._cutter = LineCutter()
        self.restart()

    def restart(self) -> None:
        self._last: deque[str] = deque(maxlen=_MAX_PERIOD)
        #: For each period: lines that equalled the one a period before, without a break, and since when.
        self._runs = [0] * (_MAX_PERIOD + 1)
        self._since = [0.0] * (_MAX_PERIOD + 1)

    def feed(self, data: bytes, now: float) -> str | None:
        """What repeats, once it has done so for long enough."""
        circle = 0
        for line in self._cutter.feed(data):
            circle = self._line(_STAMP.sub("", line), now) or circle
        if not circle:
            return None
        rounds = self._runs[circle] // circle + 1
        text = " | ".join(list(self._last)[-circle:])
        return f"{text[:300]!r} {rounds} times in {now - self._since[circle]:.0f} s"

    def _line(self, line: str, now: float) -> int:
        """Take a line; the period that fulfils both bounds, 0 for none."""
        found = 0
        for period in range(1, _MAX_PERIOD + 1):
            if len(self._last) < period or self._last[-period] != line:
                self._runs[period] = 0
                self._since[period] = now
                continue
            self._runs[period] += 1
            long_enough = now - self._since[period] >= self.seconds
            if not found and long_enough and self._runs[period] >= self.times * period:
                found = period
        self._last.append(line)
        return found
