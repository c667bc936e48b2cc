"""Whether what was seen of a forced fault is what must be seen. Pure."""

from __future__ import annotations

from harness.drill.model import DrillResult, Expected, Fault, Verdict
from harness.errors import GuestCrashed, HarnessError
from harness.guest.bugcheck import Bugcheck
from harness.machine.disk.dump import contradiction
from harness.results.outcome import Outcome, outcome_of

__all__ = ["judge"]


def judge(
    fault: Fault,
    expected: Expected,
    error: HarnessError | None,
    *,
    noticed_seconds: float,
    kept_seconds: float = 0.0,
    evidence: tuple[str, ...] = (),
    dump: Bugcheck | None = None,
    dump_trouble: str = "",
) -> DrillResult:
    """The result of a drill that ended with `error` (None: nothing was noticed).

    `evidence` names the files that were kept, `dump` is what a memory dump in Windows' format says,
    `dump_trouble` why it could not be read.
    """
    problems = [
        *_detected(expected, error, noticed_seconds),
        *(_attributed(expected, error, dump) if error is not None else ()),
        *_dumped(expected, error, evidence, dump, dump_trouble),
        *_evidenced(expected, error, evidence, kept_seconds),
    ]
    return DrillResult(
        fault,
        Verdict.FAILED if problems else Verdict.PASSED,
        outcome=None if error is None else outcome_of(error),
        said="" if error is None else _one_line(error),
        noticed_seconds=round(noticed_seconds, 3),
        kept_seconds=round(kept_seconds, 3),
        evidence=evidence,
        problems=tuple(problems),
    )


def _one_line(error: HarnessError) -> str:
    return str(error).partition("\n")[0]


def _detected(expected: Expected, error: HarnessError | None, seconds: float) -> list[str]:
    if error is None:
        return [f"not detected: nothing was noticed within {seconds:.1f} s"]
    problems = []
    found = outcome_of(error)
    if found is not expected.outcome:
        problems.append(f"detected as {found}, and it is {expected.outcome}: {_one_line(error)}")
    if seconds > expected.noticed_within:
        problems.append(f"detected after {seconds:.1f} s; {expected.noticed_within:g} s are allowed")
    return problems


def _attributed(expected: Expected, error: HarnessError, dump: Bugcheck | None) -> list[str]:
    if expected.words and expected.words not in str(error):
        return [f"not attributed: {expected.words!r} is not in: {_one_line(error)}"]
    if not expected.codes or not isinstance(error, GuestCrashed):
        return []
    # A guest whose panic device carries no code may still have written it into its dump.
    told = error.bugcheck if error.bugcheck.code is not None or dump is None else dump
    if told.code is None:
        return [
            "not attributed: nothing tells the bugcheck code; the guest needs Hyper-V's panic device on KVM, "
            "a kernel debugger on its debug port, or virtio-win's fwcfg driver for dumps in Windows' format"
        ]
    if told.code not in expected.codes:
        wanted = " or ".join(f"{code:#x}" for code in expected.codes)
        return [f"attributed to bugcheck {told.code:#x}, and it was {wanted}"]
    if not told.parameters:
        return [f"not attributed: no parameters of bugcheck {told.code:#x} are told"]
    return [
        f"parameter {number} is told as {found:#x}, and it was {wanted:#x}"
        for number, (found, wanted) in enumerate(zip(told.parameters, expected.parameters, strict=True), 1)
        if wanted is not None and found != wanted
    ]


def _dumped(
    expected: Expected,
    error: HarnessError | None,
    evidence: tuple[str, ...],
    dump: Bugcheck | None,
    trouble: str,
) -> list[str]:
    if not expected.dump:
        return []
    if not any(name.startswith("memory.") for name in evidence):
        return ["not dumped: the evidence has no memory dump; index.json there says why"]
    if trouble:
        return [f"the dump can't be read: {trouble}"]
    crash = error.bugcheck if isinstance(error, GuestCrashed) else None
    if dump is None or crash is None or expected.outcome is not Outcome.CRASH:
        return []
    differs = contradiction(dump, crash)
    return [differs] if differs else []


def _evidenced(
    expected: Expected, error: HarnessError | None, evidence: tuple[str, ...], seconds: float
) -> list[str]:
    problems = [f"not evidenced: {piece} is missing" for piece in expected.pieces if piece not in evidence]
    if expected.kept_within and seconds > expected.kept_within:
        problems.append(f"evidence took {seconds:.1f} s; {expected.kept_within:g} s are allowed")
    # A guest in this process keeps no files; what it says of its end has the stack instead.
    if not expected.pieces and isinstance(error, GuestCrashed) and not error.bugcheck.stack:
        problems.append("not evidenced: the bugcheck has no stack")
    return problems
