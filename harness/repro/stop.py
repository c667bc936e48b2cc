"""Where a scenario is stopped: before one operation of a program, or before another call of the test."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.errors import UsageError
from harness.repro.scenario import Action, Other, RunProgram, Scenario, Slotted
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation

__all__ = ["Stop", "before_call", "described", "program_of", "stop_at", "up_to"]


@dataclass(frozen=True, slots=True)
class Stop:
    """Before operation `operation` of the program of call `call`; None: before the call itself.

    The number behind a program's last operation stands for closing the handles that it left open.
    """

    call: int
    operation: int | None = None


def stop_at(scenario: Scenario, wanted: int | None = None) -> Stop:
    """Before what failed, or before operation `wanted` of the program that failed.

    The call of a program without an operation comes back where nobody knows which of them it was. Where the
    failing call was no program, `wanted` counts in the last program before it. Raises `UsageError` where
    nothing is known of where it failed, or there is no such operation.
    """
    call, operation = _failed(scenario)
    if wanted is None:
        if call is None:
            raise UsageError("where it failed is not known; say --before-op N")
        if all(action.call != call for action in scenario.actions):
            raise UsageError("it failed at a call that prepares the test, not at one of its own")
        return Stop(call, operation)
    programs = [action for action in scenario.actions if isinstance(action, RunProgram)]
    if not programs:
        raise UsageError("the test ran no program: there is no operation to stop before")
    program = next((each for each in reversed(programs) if call is None or each.call <= call), programs[0])
    indexes = [each.index for each in program.operations]
    if wanted not in indexes:
        raise UsageError(f"--before-op: the program has the operations 0 to {indexes[-1]}, not {wanted}")
    return Stop(program.call, wanted)


def _failed(scenario: Scenario) -> tuple[int | None, int | None]:
    failure, claim = scenario.failure, scenario.claim
    if failure.call is not None:
        return failure.call, failure.operation
    leaves = claim.leaves() if claim is not None else ()
    places = [(leaf.call, leaf.operation) for leaf in leaves if leaf.operation >= 0]
    return max(places, default=(None, None))


def program_of(scenario: Scenario, stop: Stop) -> RunProgram | None:
    """The program that a stop is in or before; None where its call is another one."""
    action = _action(scenario, stop)
    return action if isinstance(action, RunProgram) else None


def _action(scenario: Scenario, stop: Stop) -> Action:
    return next(action for action in scenario.actions if action.call == stop.call)


def before_call(scenario: Scenario, call: int) -> Scenario:
    """What the test did before a call."""
    return replace(scenario, actions=tuple(each for each in scenario.actions if each.call < call), claim=None)


def up_to(scenario: Scenario, stop: Stop) -> Scenario:
    """The scenario as far as a stop; a mark at the end of its program says where the operation would come."""
    before = before_call(scenario, stop.call)
    program = program_of(scenario, stop)
    if program is None or stop.operation is None:
        return before
    done = tuple(each for each in program.operations if each.index < stop.operation)
    mark = Slotted(stop.operation, Operation(opcode=Opcode.MARK, label="stop"))
    return replace(before, actions=(*before.actions, replace(program, operations=(*done, mark))))


def described(scenario: Scenario, stop: Stop) -> str:
    """What is stopped before: ``operation 4 (set_value)``, ``starting mydriver``."""
    action = _action(scenario, stop)
    match action:
        case RunProgram():
            if stop.operation is None:
                return "a program"
            found = next((each for each in action.operations if each.index == stop.operation), None)
            if found is None:
                return f"the closing of its handles, after operation {stop.operation - 1}"
            return f"operation {stop.operation} ({found.operation.opcode.name.lower()})"
        case Other():
            record = action.record
            about = record.service or record.device or record.path or " ".join(record.argv)
            code = f" {record.code:#x}" if record.code else ""
            return f"the call {record.kind}{code} of {about}"
        case _:
            return f"the call {type(action).__name__} of the probe"
