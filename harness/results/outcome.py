"""The outcomes a test can have, and how an exception becomes one."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from harness.errors import GuestCrashed, GuestHung, InfrastructureError, UnsupportedError

__all__ = ["Outcome", "outcome_of", "worst"]


class Outcome(StrEnum):
    """What came of one test on one target. The order of the members is their gravity, the gravest first."""

    INFRA = "INFRA"  # the harness or its host failed: says nothing about the driver
    CRASH = "CRASH"  # the guest bugchecked
    HANG = "HANG"  # the guest stopped making progress
    FAIL = "FAIL"
    KNOWN = "KNOWN"  # failed as a recorded known issue says
    PASS = "PASS"
    SKIP = "SKIP"  # the target lacks what the test needs; the message says what

    @property
    def is_bad(self) -> bool:
        return self in _BAD

    @property
    def mark(self) -> str:
        """One character for it, in the terminal's matrix and on the page."""
        return _MARKS[self]

    @property
    def gravity(self) -> int:
        """0 for the gravest."""
        return _GRAVITY[self]


_BAD = frozenset({Outcome.INFRA, Outcome.CRASH, Outcome.HANG, Outcome.FAIL})
_MARKS = {
    Outcome.INFRA: "I",
    Outcome.CRASH: "C",
    Outcome.HANG: "H",
    Outcome.FAIL: "F",
    Outcome.KNOWN: "k",
    Outcome.PASS: "✓",
    Outcome.SKIP: "·",
}
_GRAVITY = {outcome: position for position, outcome in enumerate(Outcome)}


def outcome_of(error: BaseException | None) -> Outcome:
    """The outcome of a test that ended with `error` (None: it returned)."""
    match error:
        case None:
            return Outcome.PASS
        case GuestHung():
            return Outcome.HANG
        case GuestCrashed():
            return Outcome.CRASH
        case InfrastructureError():
            return Outcome.INFRA
        case UnsupportedError():
            return Outcome.SKIP
        case _:
            return Outcome.FAIL


def worst(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The gravest of several outcomes, None of none. A pass outweighs skips: something was shown."""
    return min(outcomes, key=lambda outcome: outcome.gravity, default=None)
