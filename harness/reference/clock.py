"""The machine's time: real time since boot, plus what waits skipped."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["COUNTER_FREQUENCY", "Clock"]

#: The performance counter ticks every 100 ns, as on Windows 10 and later.
COUNTER_FREQUENCY: Final = 10_000_000
_EPOCH: Final = 116_444_736_000_000_000  # 1970 in 100 ns since 1601
_UNIT: Final = 100  # ns


class Clock:
    """Interrupt time and system time, both in 100 ns units."""

    def __init__(self) -> None:
        self._started = time.perf_counter_ns()
        self._booted = time.time_ns() // _UNIT + _EPOCH
        self._skipped = 0

    def interrupt_time(self) -> int:
        """Since boot."""
        return (time.perf_counter_ns() - self._started) // _UNIT + self._skipped

    def system_time(self) -> int:
        """Since 1601 (UTC)."""
        return self._booted + self.interrupt_time()

    def advance(self, amount: int) -> None:
        """Let `amount` pass at once: nothing has to happen before then."""
        self._skipped += max(0, amount)
