"""What a drill is, and what came of it: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self

from harness.results.outcome import Outcome

__all__ = ["DrillReport", "DrillResult", "Expected", "Fault", "Verdict"]


class Fault(StrEnum):
    """How a guest is brought down."""

    BUGCHECK = "bugcheck"  # KeBugCheckEx with a code and parameters chosen for this drill
    EXCEPTION = "exception"  # an exception that leaves a registry callback
    PANIC = "panic"  # the panic of a kernel that has no bugchecks: Linux below the stand-in
    HANG = "hang"  # the whole guest answers no more
    RUNAWAY = "runaway"  # a driver's request that never returns, in a guest that is alive otherwise
    EXIT = "exit"  # QEMU ends by itself


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    IMPOSSIBLE = "not possible here"  # the guest has no such fault: says nothing, for or against


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be seen of a fault. Times in seconds.

    `codes` are bugcheck codes of which one must be told, empty where there is none to tell; in `parameters`
    None stands for any. `words`: a part of what must be said. `noticed_within` counts from the moment the
    fault is forced, `kept_within` from when it was noticed to when all evidence is kept. `dump`: a memory
    dump must be among it. `pieces` are the other files.
    """

    outcome: Outcome
    noticed_within: float
    codes: tuple[int, ...] = ()
    parameters: tuple[int | None, ...] = (None, None, None, None)
    words: str = ""
    kept_within: float = 0.0
    dump: bool = False
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DrillResult:
    """What came of one drill.

    `said` is what the harness reported of the guest's end. `problems` say what is wrong, in the order
    detected, attributed, dumped, evidenced; empty where it passed. `reason` says why it isn't possible.
    """

    fault: Fault
    verdict: Verdict
    reason: str = ""
    outcome: Outcome | None = None
    said: str = ""
    noticed_seconds: float = 0.0
    kept_seconds: float = 0.0
    evidence: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def impossible(cls, fault: Fault, reason: str) -> Self:
        return cls(fault, Verdict.IMPOSSIBLE, reason)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Self:
        """Raises `ValueError`, `KeyError` or `TypeError` for what is none."""
        known = dict(raw)
        outcome = known.pop("outcome")
        return cls(
            fault=Fault(known.pop("fault")),
            verdict=Verdict(known.pop("verdict")),
            outcome=None if outcome is None else Outcome(outcome),
            evidence=tuple(known.pop("evidence")),
            problems=tuple(known.pop("problems")),
            **known,
        )


@dataclass(frozen=True, slots=True)
class DrillReport:
    """All drills of one target.

    `image`, `emulator` and `accelerator` say what was drilled; empty for a guest that is no machine. `runner`
    is the SHA-256 of the runner inside, where it could be read.
    """

    target: str
    results: tuple[DrillResult, ...]
    image: str = ""
    emulator: str = ""
    accelerator: str = ""
    runner: str = ""

    @property
    def passed(self) -> bool:
        """Something was shown, and nothing failed."""
        verdicts = {result.verdict for result in self.results}
        return Verdict.PASSED in verdicts and Verdict.FAILED not in verdicts

    @property
    def complete(self) -> bool:
        """Every fault was forced or is known to be impossible."""
        return {result.fault for result in self.results} == set(Fault)
