"""What the journal keeps of a test, and what a failure's signature compares."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.errors import GuestCrashed
from harness.guest.bugcheck import Bugcheck, Frame
from harness.repro import journal as limits
from harness.repro.bundle import CallRecord
from harness.repro.claim import Claim, Expectation
from harness.repro.dependencies import Dependencies
from harness.repro.failure import CrashFacts, Failure
from harness.repro.journal import (
    CallKind,
    Closed,
    Installed,
    Journal,
    Opened,
    Put,
    Ran,
    Removed,
    Started,
    Stopped,
)
from harness.repro.places import Places
from harness.repro.scenario import AddFilter, Other, RunProgram, Scenario, SetRule, Slotted
from harness.results.outcome import Outcome
from harness.workload import Opcode, Operation, Program

FAILURE = Failure(Outcome.FAIL, "AssertionError")


def kinds(journal: Journal) -> list[str]:
    return [type(call).__name__ for call in journal.calls]


def test_a_test_begins_with_what_others_left_in_the_guest() -> None:
    journal = Journal()
    journal.begin("first")
    for call in (Installed("probe", b"MZ"), Started("probe"), Opened("dev", 0), Installed("gone", b"MZ")):
        journal.add(call)
    journal.add(Put("x", b"data"))
    journal.add(Removed("gone"))
    journal.begin("second")
    assert kinds(journal) == ["Installed", "Started", "Opened"]
    assert journal.earlier == ["first"]
    journal.add(Closed(0))
    journal.add(Stopped("PROBE"))
    journal.begin("third")
    assert kinds(journal) == ["Installed"]
    assert journal.earlier == ["first", "second"]


def test_a_test_that_does_too_much_is_counted_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CALLS", 3)
    monkeypatch.setattr(limits, "MAX_BYTES", 100)
    journal = Journal()
    journal.begin("long")
    for _ in range(5):
        journal.add(Started("s"))
    assert (len(journal.calls), journal.dropped) == (3, 2)
    journal.begin("large")
    journal.add(Put("x", bytes(101)))
    assert (len(journal.calls), journal.dropped) == (0, 1)
    journal.begin("small")
    assert journal.dropped == 0


def test_a_crash_is_placed_at_the_first_call_without_an_answer() -> None:
    programs = [Program.of([Operation(opcode=Opcode.MARK)] * 3) for _ in range(3)]
    journal = Journal()
    journal.begin("it")
    answered: Any = object()
    journal.add(Ran(programs[0], answered))
    journal.add(Ran(programs[1]))
    journal.add(Ran(programs[2]))  # asked of the dead guest while evidence was collected
    error = GuestCrashed(Bugcheck(0x50, (1, 2, 3, 4)))
    error.operation = 2
    assert Places(journal).failed_at(error) == (1, 2)
    assert Places(journal).failed_at(None) == (None, None)


# -- signatures -------------------------------------------------------------------------------------------


def crashed(
    code: int | None = 0x50, first: int = 2, driver: str = "My.sys", function: str = "Callback"
) -> Failure:
    frames = (Frame(1, "my", 1, function, 4), Frame(2, "nt", 2, "CmpCall", 8))
    bugcheck = Bugcheck(code, (0xFFFFF80001020304, first, 0xC0000005, 0), driver, "", frames)
    return Failure(Outcome.CRASH, "GuestCrashed", crash=CrashFacts.of(bugcheck))


def test_addresses_take_no_part_and_statuses_do() -> None:
    found = crashed().crash
    assert found is not None
    assert found.parameters == ("*", "0x2", "0xc0000005", "0x0")
    assert str(found) == "bugcheck 0x50 in my.sys at my!Callback <- nt!CmpCall"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (crashed(), ""),
        (crashed(driver="MY.SYS"), ""),
        (crashed(code=0xD1), "0xd1"),
        (crashed(driver="nt"), "in nt"),
        (crashed(first=3), "parameter 2 is 0x3, it was 0x2"),
        (crashed(function="Other"), "in my!Other, it was in my!Callback"),
        (replace(crashed(), outcome=Outcome.HANG), "HANG instead of CRASH"),
        (FAILURE, "FAIL instead of CRASH"),
    ],
)
def test_two_crashes_are_one_when_code_driver_and_function_are(other: Failure, said: str) -> None:
    assert said in crashed().differs(other)
    assert bool(crashed().differs(other)) is bool(said)


def test_two_assertions_are_one_when_they_compared_the_same() -> None:
    one = replace(FAILURE, statement="assert a == b", seen={"left": "1", "write.status": "STATUS_SUCCESS"})
    assert one.differs(replace(one, message="other words")) == ""
    assert "left: 2, it was 1" in one.differs(replace(one, seen={"left": "2"}))
    assert "another statement" in one.differs(replace(one, statement="assert c"))
    assert "another exception" in one.differs(replace(one, exception="KeyError"))
    told = replace(FAILURE, message=r"set_value(... 43d-2-ec97a8\app 0xfffff80001234567) returned X")
    assert (
        told.differs(replace(told, message=r"set_value(... 28-1-3ea58e\app 0xfffff80007654321) returned X"))
        == ""
    )
    assert told.differs(replace(told, message="set_value(...) returned Y"))


# -- dependencies -----------------------------------------------------------------------------------------


def scenario(claim: Claim | None = None) -> Scenario:
    """A filter with a rule; key 0, key 1 below it, a value in key 1, a value in key 0."""
    operations = (
        Operation(opcode=Opcode.CREATE_KEY, out=0, name="a"),
        Operation(opcode=Opcode.CREATE_KEY, out=1, root=0, name="b"),
        Operation(opcode=Opcode.SET_VALUE, handle=1, value_name="v"),
        Operation(opcode=Opcode.SET_VALUE, handle=0, value_name="w"),
        Operation(opcode=Opcode.CLOSE, handle=5),  # a slot that nothing fills: NULL on purpose
    )
    program = RunProgram(9, tuple(Slotted(n, each) for n, each in enumerate(operations)), 6)
    install = Other(1, CallRecord(CallKind.INSTALL, service="Mine"))
    start = Other(2, CallRecord(CallKind.START, service="mine"))
    added = AddFilter(3, {"flags": 0})
    rule = SetRule(4, 3, {})
    return Scenario((install, start, added, rule, program), "", FAILURE, claim)


def test_what_is_left_out_takes_along_what_needs_it() -> None:
    every = frozenset(scenario().elements())
    dependencies = Dependencies(scenario())
    assert dependencies.pinned == frozenset()
    for gone, lost in (
        ((9, 0), {(9, 0), (9, 1), (9, 2), (9, 3)}),
        ((9, 1), {(9, 1), (9, 2)}),
        ((9, 4), {(9, 4)}),
        ((3, -1), {(3, -1), (4, -1)}),
        ((1, -1), {(1, -1), (2, -1)}),
    ):
        assert every - dependencies.closed(every - {gone}) == lost


def test_what_the_claim_speaks_of_stays_with_all_it_needs() -> None:
    claim = Claim(expectations=(Expectation(9, 2, (0,)),))
    assert Dependencies(scenario(claim)).pinned == {(9, 0), (9, 1), (9, 2)}


def test_a_scenario_can_be_cut_down() -> None:
    cut = scenario().only(frozenset({(9, 0), (9, 3), (3, -1)}))
    assert [type(action).__name__ for action in cut.actions] == ["AddFilter", "RunProgram"]
    assert (cut.operations, cut.count(AddFilter), cut.count(SetRule)) == (2, 1, 0)
    assert scenario().only(frozenset()).actions == ()
    assert [type(each).__name__ for each in scenario().without_driver("MINE").actions] == [
        "AddFilter",
        "SetRule",
        "RunProgram",
    ]
