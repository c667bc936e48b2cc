"""What came of running a bundle again, once and many times."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from harness.repro.failure import Failure

__all__ = ["Attempt", "Rate", "Verdict"]

#: 97.5th percentile of the normal distribution: a confidence of 95%.
_Z: Final = 1.959963984540054


class Verdict(StrEnum):
    """How a run of a bundle ended."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    DIFFERENT = "different failure"
    INFRA = "infra"  # the harness or its host failed: says nothing
    SKIPPED = "skipped"  # the target lacks what the test needs


@dataclass(frozen=True, slots=True)
class Attempt:
    """One run of a bundle: the verdict, one line on it, and the failure where there was one."""

    verdict: Verdict
    message: str
    failure: Failure | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """How often of how many runs, with the interval that holds the true rate with a confidence of 95%.

    The interval is Wilson's (Journal of the American Statistical Association 22, 1927, page 209), which is
    right for few runs and for rates near 0 and 1 too.
    """

    hits: int
    runs: int
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, runs: int) -> Self:
        """`runs` of 0 give the whole interval: nothing is known."""
        if runs == 0:
            return cls(0, 0, 0.0, 1.0)
        share, square = hits / runs, _Z * _Z
        centre = (share + square / (2 * runs)) / (1 + square / runs)
        half = _Z / (1 + square / runs) * math.sqrt(share * (1 - share) / runs + square / (4 * runs * runs))
        # At the ends the interval ends there too, which rounding would miss.
        low = 0.0 if hits == 0 else max(0.0, centre - half)
        high = 1.0 if hits == runs else min(1.0, centre + half)
        return cls(hits, runs, low, high)

    @classmethod
    def of_attempts(cls, attempts: Iterable[Attempt]) -> Self:
        """Of the runs that say anything: INFRA counts for neither."""
        silent = (Verdict.INFRA, Verdict.SKIPPED)
        verdicts = [attempt.verdict for attempt in attempts if attempt.verdict not in silent]
        return cls.of(verdicts.count(Verdict.REPRODUCED), len(verdicts))

    def __str__(self) -> str:
        if not self.runs:
            return "no run said anything"
        return (
            f"{self.hits} of {self.runs} ({self.hits / self.runs:.0%}; "
            f"95% confidence: {self.low:.1%} to {self.high:.1%})"
        )
