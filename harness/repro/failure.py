"""The signature of a failure: what must be the same for two failures to be one.

Of a bugcheck these are its code, driver and the functions on its stack, and of its parameters those that are
no addresses, which differ from boot to boot. Of an assertion they are the statement, where it stands, and
what it compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from harness.guest.bugcheck import Bugcheck
from harness.results.model import MAX_NAME, MAX_RECORDED, clip
from harness.results.outcome import Outcome

__all__ = ["CrashFacts", "Failure", "comparable"]

#: Parameters of a bugcheck from here on are taken for addresses.
_ADDRESSES: Final = 0x1_0000
#: 32-bit parameters that are no addresses though they are large: NTSTATUS values.
_STATUS: Final = re.compile(r"c0[0-9a-f]{6}|80[0-9a-f]{6}|40[0-9a-f]{6}")
_FRAMES: Final = 4
#: Addresses, long numbers, sequence numbers, names of test roots (`harness.workload.registry`).
_VOLATILE: Final = re.compile(r"0x[0-9a-fA-F]{5,}|\b\d{6,}\b|#\d+|\b[0-9a-f]+-\d+-[0-9a-f]{6}\b")


@dataclass(frozen=True, slots=True)
class CrashFacts:
    """A bugcheck as far as it is the same every time. `parameters` has "*" for addresses."""

    code: int | None = None
    parameters: tuple[str, ...] = ()
    driver: str = ""
    #: Functions on the stack, innermost first, as "module!function"; empty without symbols.
    functions: tuple[str, ...] = ()
    reason: str = ""

    @classmethod
    def of(cls, bugcheck: Bugcheck) -> Self:
        named = [f"{frame.module}!{frame.function}" for frame in bugcheck.stack if frame.function]
        return cls(
            bugcheck.code,
            tuple(_no_address(parameter) for parameter in bugcheck.parameters),
            clip(bugcheck.driver.lower(), MAX_NAME),
            tuple(clip(name, MAX_NAME) for name in named[:_FRAMES]),
            # What stands in brackets is of this very machine: sockets, times.
            "" if bugcheck.code is not None else clip(bugcheck.reason.split(" (")[0], MAX_RECORDED),
        )

    def __str__(self) -> str:
        if self.code is None:
            return self.reason or "no bugcheck code"
        where = f" in {self.driver}" if self.driver else ""
        stack = f" at {' <- '.join(self.functions)}" if self.functions else ""
        return f"bugcheck {self.code:#x}{where}{stack}"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a test failed. `message` and `detail` are for people and take no part in comparisons."""

    outcome: Outcome
    #: Name of the exception's class: "AssertionError".
    exception: str = ""
    #: File and function of the statement that failed: "suites/demo/test_demo.py::test_it".
    place: str = ""
    #: The statement, as it is written there.
    statement: str = ""
    message: str = ""
    detail: str = ""
    phase: str = "call"
    crash: CrashFacts | None = None
    #: Status of a driver that was refused.
    status: int | None = None
    #: What an assertion compared, in comparable form: {"left": ..., "right": ...} and statuses of operations.
    seen: Mapping[str, str] = field(default_factory=dict)
    #: Index of the journal's call at which it failed, and of the operation of that program; None: not known.
    call: int | None = None
    operation: int | None = None

    def differs(self, other: Failure) -> str:
        """How `other` is another failure than this one; empty when it is the same."""
        if other.outcome is not self.outcome:
            return f"{other.outcome} instead of {self.outcome}: {other.message}"
        if self.crash is not None and other.crash is not None:
            return _crash_differs(self.outcome, self.crash, other.crash)
        for name, what in (("exception", "exception"), ("statement", "statement"), ("status", "status")):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine and theirs and mine != theirs:
                return f"another {what}: {theirs}, it was {mine}"
        for name in self.seen:
            if name in other.seen and self.seen[name] != other.seen[name]:
                return f"{name}: {other.seen[name]}, it was {self.seen[name]}"
        if not self.seen and not other.seen and comparable(self.message) != comparable(other.message):
            return f"{other.message}, it was {self.message}"
        return ""


def comparable(text: str) -> str:
    """`text` without what differs from run to run."""
    return _VOLATILE.sub("*", text)


def _crash_differs(outcome: Outcome, mine: CrashFacts, theirs: CrashFacts) -> str:
    if mine.code != theirs.code or mine.driver != theirs.driver:
        return f"{theirs}, it was {mine}"
    if outcome is Outcome.HANG:  # where a loop was interrupted is chance
        return "" if mine.reason == theirs.reason else f"{theirs.reason}, it was {mine.reason}"
    for number, (one, other) in enumerate(zip(mine.parameters, theirs.parameters, strict=False), 1):
        if one != other:
            return f"parameter {number} is {other}, it was {one}"
    if mine.functions and theirs.functions and mine.functions[0] != theirs.functions[0]:
        return f"in {theirs.functions[0]}, it was in {mine.functions[0]}"
    return ""


def _no_address(parameter: int) -> str:
    if parameter < _ADDRESSES or (parameter <= 0xFFFF_FFFF and _STATUS.fullmatch(f"{parameter:08x}")):
        return f"{parameter:#x}"
    return "*"
