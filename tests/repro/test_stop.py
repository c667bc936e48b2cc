"""Stopping before what failed: where that is, and a machine that stops inside its program."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.errors import UsageError
from harness.repro.bundle import CallRecord
from harness.repro.claim import Binding, BindingKind, Claim
from harness.repro.failure import Failure
from harness.repro.journal import CallKind
from harness.repro.scenario import Other, RunProgram, Scenario, Slotted
from harness.repro.stop import Stop, described, stop_at, up_to
from harness.results.outcome import Outcome
from harness.workload import Opcode, Operation
from tests.repro.commands import ROOT
from tests.stand_in import stand_in_image


def scenario(call: int | None, operation: int | None = None, claim: Claim | None = None) -> Scenario:
    """Two programs of three operations, a driver that is started between them and stopped after them."""
    marks = tuple(Slotted(number, Operation(opcode=Opcode.MARK)) for number in range(3))
    start = Other(2, CallRecord(CallKind.START, service="mine"))
    stop = Other(4, CallRecord(CallKind.STOP, service="mine"))
    actions = (RunProgram(1, marks, 0), start, RunProgram(3, marks, 0), stop)
    return Scenario(actions, "", Failure(Outcome.CRASH, call=call, operation=operation), claim)


STEP = Claim("assert step", {"step": Binding(BindingKind.STEP, 1, 2)})


@pytest.mark.parametrize(
    ("failed", "wanted", "found"),
    [
        (scenario(3, 1), None, Stop(3, 1)),
        (scenario(3, 1), 0, Stop(3, 0)),
        (scenario(1, 1), 2, Stop(1, 2)),
        (scenario(3), None, Stop(3, None)),  # a program that crashed a machine
        (scenario(4), None, Stop(4, None)),  # stopping the driver
        (scenario(2), 1, Stop(1, 1)),  # counted in the program before the call that failed
        (scenario(4), 1, Stop(3, 1)),
        (scenario(None, claim=STEP), None, Stop(1, 2)),
        (scenario(None), 1, Stop(3, 1)),
    ],
)
def test_the_place_is_what_is_known_of_the_failure(failed: Scenario, wanted: int | None, found: Stop) -> None:
    assert stop_at(failed, wanted) == found


@pytest.mark.parametrize(
    ("failed", "wanted", "said"),
    [
        (scenario(None), None, "say --before-op N"),
        (scenario(3), 3, "operations 0 to 2, not 3"),
        (scenario(0), None, "prepares the test"),
        (Scenario((), "", Failure(Outcome.FAIL)), 0, "ran no program"),
    ],
)
def test_what_is_not_known_is_asked_for(failed: Scenario, wanted: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        stop_at(failed, wanted)


def test_a_scenario_goes_as_far_as_its_stop() -> None:
    cut = up_to(scenario(3, 1), Stop(3, 1))
    assert [action.call for action in cut.actions] == [1, 2, 3]
    assert isinstance(last := cut.actions[-1], RunProgram)
    assert [(each.index, each.operation.label) for each in last.operations] == [(0, None), (1, "stop")]
    assert [action.call for action in up_to(scenario(4), Stop(4)).actions] == [1, 2, 3]


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (Stop(3, 1), "operation 1 (mark)"),
        (Stop(3, 3), "the closing of its handles, after operation 2"),
        (Stop(4), "the call stop of mine"),
    ],
)
def test_it_says_what_it_stops_before(stop: Stop, said: str) -> None:
    assert described(scenario(3), stop) == said


def test_a_machine_is_paused_inside_its_program_and_goes_on_with_it() -> None:
    stand_in_image()
    done = subprocess.run(
        [sys.executable, "-m", "tests.repro.holding"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    # Nobody said which operation hangs: it was let go one after the other until one didn't come back.
    assert facts["culprit"] == [2, "GuestHung"]
    # Paused inside the program: what came before is done, its key is open, and gdb gets an answer.
    assert [line.rpartition(": ")[2] for line in facts["done"]] == [
        "STATUS_SUCCESS",
        "STATUS_OBJECT_NAME_NOT_FOUND",
    ]
    assert facts["paused"] is True
    assert facts["gdb"][0].startswith("$T05")
    # gdb let the machine go on: the operation is still not done, as another runner in the guest sees it.
    assert facts["outside before"] == "STATUS_OBJECT_NAME_NOT_FOUND"
    # Then the program goes on too, with the key that was open all the time.
    said = facts["told"]
    assert said[:2] == ["the machine goes on, and what was held with it", "the program has ended"]
    assert [line.rpartition(": ")[2] for line in said[2:]] == ["STATUS_SUCCESS", "STATUS_SUCCESS"]
