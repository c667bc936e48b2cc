"""How long test files will take: from former runs where there are any, else a guess that says so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from harness.targets import VM

__all__ = ["START_SECONDS", "Durations", "Estimate", "Estimator"]

#: Seconds that a test file took, by (file, target, build of a driver): what the history knows.
Durations = Mapping[tuple[str, str, str], float]

#: Seconds until the first test of a process runs: Python, pytest, collection.
START_SECONDS: Final = 1.5
#: Seconds of a test that nothing is known of. The reference guest's is measured (13 ms); a machine's is what
#: the stand-in takes under emulation, its share of clones included.
_GUESSED_REFERENCE: Final = 0.015
_GUESSED_MACHINE: Final = 0.3
#: A test that is skipped before anything boots.
_SKIPPED: Final = 0.002


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds, and whether no former run of the very same supports them."""

    seconds: float
    guessed: bool


class Estimator:
    """Expects of a file what it took before: on the same target with the same build, with any build, on any
    target of its kind; and without a former run so much for each test.
    """

    def __init__(self, durations: Durations) -> None:
        self._exact = durations
        by_target: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        by_kind: defaultdict[tuple[str, bool], list[float]] = defaultdict(list)
        for (file, target, _build), seconds in durations.items():
            by_target[file, target].append(seconds)
            by_kind[file, _is_machine(target)].append(seconds)
        self._by_target = {key: fmean(values) for key, values in by_target.items()}
        self._by_kind = {key: fmean(values) for key, values in by_kind.items()}

    def of(self, file: str, target: str, build: str, tests: int, skipped: int = 0) -> Estimate:
        """What `tests` tests of `file` will take on `target`, beside `skipped` ones."""
        if not tests:
            return Estimate(skipped * _SKIPPED, guessed=False)
        exact = self._exact.get((file, target, build))
        if exact is not None:
            return Estimate(exact, guessed=False)
        near = self._by_target.get((file, target), self._by_kind.get((file, _is_machine(target))))
        if near is not None:
            return Estimate(near, guessed=True)
        each = _GUESSED_MACHINE if _is_machine(target) else _GUESSED_REFERENCE
        return Estimate(tests * each + skipped * _SKIPPED, guessed=True)


def _is_machine(target: str) -> bool:
    return target.startswith(VM)
