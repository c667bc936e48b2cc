"""Failures that come by chance: how often, and how many trials tell that one is gone.

A scenario that fails once of three times looks right twice of three. So a smaller one counts as right only
when it was right so often in a row that the failure would hardly have stayed away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from harness.repro.failure import Failure

__all__ = ["ALWAYS", "Chance", "failing_of"]

#: A scenario that still fails is taken for right at most this often.
_MISSED: Final = 0.01
_MOST: Final = 30
#: Performances that something has to fail in to count as failing always.
_FIRST: Final = 3
#: Performances that tell how often something else fails.
_SAMPLE: Final = 12


@dataclass(frozen=True, slots=True)
class Chance:
    """It failed `hits` of `runs` times."""

    hits: int
    runs: int

    @property
    def trials(self) -> int:
        """How often a scenario must be right to count as right."""
        if self.hits == self.runs:
            return 1
        return min(_MOST, math.ceil(math.log(_MISSED) / math.log(1 - self.hits / self.runs)))

    def __str__(self) -> str:
        return f"fails {self.hits} of {self.runs} times, so each trial was repeated up to {self.trials} times"


ALWAYS: Final = Chance(1, 1)


def failing_of(
    perform: Callable[[int], Sequence[Failure | None]],
) -> tuple[list[Failure], Chance]:
    """Perform a scenario a few times, and more often where it does not fail each time; the failures.

    `perform` is given how often.
    """
    found = list(perform(_FIRST))
    if None in found:
        found += perform(_SAMPLE - len(found))
    failing = [failure for failure in found if failure is not None]
    return failing, Chance(len(failing), len(found))
