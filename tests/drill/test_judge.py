"""What counts as a passed drill: a guest that dies unnoticed, late, as another or without traces fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.drill.judge import judge
from harness.drill.model import DrillResult, Expected, Fault, Verdict
from harness.errors import GuestCrashed, GuestHung, InfrastructureError
from harness.guest.bugcheck import Bugcheck, Frame
from harness.results.outcome import Outcome

PARAMETERS = (1, 2, 3, 4)
CRASH = Bugcheck(0xDEADDEAD, PARAMETERS, stack=(Frame(1),))
EVIDENCE = ("index.json", "screen.png", "memory.win-dmp.gz")
EXPECTED = Expected(
    Outcome.CRASH,
    10.0,
    codes=(0xDEADDEAD,),
    parameters=PARAMETERS,
    kept_within=60.0,
    dump=True,
    pieces=("index.json", "screen.png"),
)
UNKNOWN = Bugcheck.unknown("the guest panicked")


CRASHED = GuestCrashed(CRASH)


def judged(error: Any = CRASHED, expected: Expected = EXPECTED, **seen: Any) -> DrillResult:
    given = {"noticed_seconds": 1.0, "kept_seconds": 5.0, "evidence": EVIDENCE, **seen}
    return judge(Fault.BUGCHECK, expected, error, **given)


def test_all_as_it_must_be() -> None:
    result = judged(dump=Bugcheck(0xDEADDEAD, PARAMETERS))
    assert (result.verdict, result.problems) == (Verdict.PASSED, ())
    assert result.outcome is Outcome.CRASH
    assert result.said.startswith("bugcheck 0xdeaddead")
    assert "\n" not in result.said


def test_a_context_may_be_anywhere() -> None:
    expected = replace(EXPECTED, parameters=(1, None, None, None))
    assert judged(GuestCrashed(Bugcheck(0xDEADDEAD, (1, 0xAB, 0xCD, 0))), expected).verdict is Verdict.PASSED


def test_a_code_that_only_the_dump_tells_counts() -> None:
    assert judged(GuestCrashed(UNKNOWN), dump=Bugcheck(0xDEADDEAD, PARAMETERS)).verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("error", "seen", "says"),
    [
        (None, {}, "not detected: nothing was noticed within 1.0 s"),
        (GuestHung(CRASH), {}, "detected as HANG, and it is CRASH"),
        (InfrastructureError("QEMU ended by itself"), {}, "detected as INFRA"),
        (GuestCrashed(CRASH), {"noticed_seconds": 10.5}, "detected after 10.5 s; 10 s are allowed"),
        (GuestCrashed(UNKNOWN), {}, "not attributed: nothing tells the bugcheck code"),
        (GuestCrashed(Bugcheck(0xDEADDEAD, ())), {}, "no parameters of bugcheck 0xdeaddead"),
        (GuestCrashed(Bugcheck(0x7E, PARAMETERS)), {}, "bugcheck 0x7e, and it was 0xdeaddead"),
        (GuestCrashed(Bugcheck(0xDEADDEAD, (1, 2, 9, 4))), {}, "parameter 3 is told as 0x9, and it was 0x3"),
        (GuestCrashed(CRASH), {"evidence": EVIDENCE[:2]}, "not dumped"),
        (GuestCrashed(CRASH), {"evidence": EVIDENCE[1:]}, "not evidenced: index.json is missing"),
        (GuestCrashed(CRASH), {"kept_seconds": 61.0}, "evidence took 61.0 s; 60 s are allowed"),
        (GuestCrashed(CRASH), {"dump_trouble": "it is cut"}, "the dump can't be read: it is cut"),
        (GuestCrashed(CRASH), {"dump": Bugcheck(0x7E, PARAMETERS)}, "the dump says bugcheck 0x7e"),
        (
            GuestCrashed(CRASH),
            {"dump": Bugcheck(0xDEADDEAD, (1, 2, 3, 5))},
            "(0x1, 0x2, 0x3, 0x5), and bugcheck 0xdeaddead",
        ),
    ],
)
def test_what_fails(error: Any, seen: dict[str, Any], says: str) -> None:
    result = judged(error, **seen)
    assert result.verdict is Verdict.FAILED
    assert any(says in problem for problem in result.problems), result.problems


def test_words_that_must_be_said() -> None:
    hang = Expected(Outcome.HANG, 10.0, words="no answer to a PING", pieces=("index.json",))
    said = GuestHung(Bugcheck.unknown("the guest hangs: no answer to a PING within 30 s"))
    assert judged(said, hang).verdict is Verdict.PASSED
    (problem,) = judged(GuestHung(Bugcheck.unknown("it goes round in a circle")), hang).problems
    assert problem.startswith("not attributed: 'no answer to a PING'")


def test_a_guest_without_files_must_show_a_stack() -> None:
    expected = Expected(Outcome.CRASH, 10.0, codes=(0xDEADDEAD,))
    assert judged(expected=expected).verdict is Verdict.PASSED
    (problem,) = judged(GuestCrashed(replace(CRASH, stack=())), expected).problems
    assert problem == "not evidenced: the bugcheck has no stack"


def test_a_dump_of_a_hang_has_no_code_to_compare() -> None:
    expected = Expected(Outcome.HANG, 10.0, dump=True, pieces=("index.json",))
    live = Bugcheck(0x161, (0, 0, 0, 0))
    assert judged(GuestHung(UNKNOWN), expected, dump=live).verdict is Verdict.PASSED
