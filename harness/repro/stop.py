"""Stopping before an operation: everything the test did up to there, and what the guest looks like then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError, UsageError
from harness.guest.base import Guest
from harness.registry.access import KEY_READ, ObjectAttributes
from harness.registry.infoclasses import KeyInformationClass
from harness.registry.paths import RegistryPath
from harness.repro.scenario import RunProgram, Scenario, Slotted
from harness.workload.builder import ProgramBuilder
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation
from harness.workload.registry import Registry

if TYPE_CHECKING:
    from harness.probe.client import Probe
    from harness.repro.replay import Replay

__all__ = ["Stop", "from_there", "picture", "stop_at", "up_to"]

#: Most keys and events that a picture shows.
_MAX_KEYS: Final = 200
_MAX_EVENTS: Final = 200


@dataclass(frozen=True, slots=True)
class Stop:
    """Before operation `operation` of the program that call `call` ran."""

    call: int
    operation: int


def stop_at(scenario: Scenario, wanted: int | None = None) -> Stop:
    """Before the operation that failed, or before operation `wanted` of its program.

    Raises `UsageError` where the failing operation isn't known, or there is no such one.
    """
    programs = {action.call: action for action in scenario.actions if isinstance(action, RunProgram)}
    if not programs:
        raise UsageError("the test ran no program: there is no operation to stop before")
    call, operation = _failed(scenario)
    if call not in programs:
        call = max(programs)
    if wanted is not None:
        operation = wanted
    if operation is None:
        raise UsageError(
            f"which operation failed is not known; its program has {len(programs[call].operations)}: "
            "say --before-op N"
        )
    indexes = [each.index for each in programs[call].operations]
    if operation not in indexes:
        raise UsageError(f"--before-op: the program has the operations 0 to {indexes[-1]}, not {operation}")
    return Stop(call, operation)


def _failed(scenario: Scenario) -> tuple[int, int | None]:
    failure, claim = scenario.failure, scenario.claim
    if failure.call is not None:
        return failure.call, failure.operation
    places = [
        (leaf.call, leaf.operation)
        for leaf in (claim.leaves() if claim is not None else ())
        if leaf.operation >= 0
    ]
    return max(places, default=(-1, None))


def up_to(scenario: Scenario, stop: Stop) -> Scenario:
    """The scenario as far as the operation, without it; a mark says where it would come."""
    actions: list[Any] = []
    for action in scenario.actions:
        if action.call < stop.call:
            actions.append(action)
        elif isinstance(action, RunProgram) and action.call == stop.call:
            before = tuple(each for each in action.operations if each.index < stop.operation)
            mark = Slotted(stop.operation, Operation(opcode=Opcode.MARK, label="stop"))
            actions.append(replace(action, operations=(*before, mark)))
    return replace(scenario, actions=tuple(actions), claim=None)


def from_there(scenario: Scenario, stop: Stop) -> RunProgram:
    """The operation and what comes after it in its program, with what opens the handles they need."""
    program = next(
        action for action in scenario.actions if isinstance(action, RunProgram) and action.call == stop.call
    )
    needed = {each.index for each in program.operations if each.index >= stop.operation}
    slots = {slot for each in program.operations if each.index in needed for slot in each.operation.slots()}
    for each in reversed(program.operations):
        if each.index < stop.operation and each.operation.out in slots:
            needed.add(each.index)
            slots.update(each.operation.slots())
    return replace(program, operations=tuple(each for each in program.operations if each.index in needed))


# -- what is there then -----------------------------------------------------------------------------------


def picture(replay: Replay, stop: Stop, *, keep_filters: bool = False) -> list[str]:
    """Operations with their statuses, the events they caused, and the keys below the test root, as lines.

    The filters are gone afterwards, as they would have a say in reading the keys; with `keep_filters` they
    stay and the keys aren't read.
    """
    lines = ["operations:"]
    done = sorted(place for place in replay.steps if place != (stop.call, stop.operation))
    for place in done:
        step = replay.steps[place]
        lines.append(f"  {place[1]:>4} {step.operation}: {step.status_name}")
    lines.append(f"  {stop.operation:>4} (stopped before this one)")
    if replay.probe is not None:
        lines += _events(replay.probe, replay.steps[stop.call, stop.operation].begin)
    if keep_filters and replay.probe is not None:
        return lines
    if replay.probe is not None:
        replay.probe.reset()
    lines.append("keys:")
    lines += [f"  {line}" for line in _keys(replay.guest, replay.registry)]
    return lines


def _events(probe: Probe, until: int) -> Iterator[str]:
    """What was recorded before a moment; the handles that the end of the program closes come later."""
    yield "events:"
    try:
        events = [event for event in probe.trace if event.time <= until]
    except HarnessError as error:
        yield f"  {error}"
        return
    if len(events) > _MAX_EVENTS:
        yield f"  ... {len(events) - _MAX_EVENTS} earlier ones"
    for event in events[-_MAX_EVENTS:]:
        yield f"  {event}"


def _keys(guest: Guest, registry: Registry) -> Iterator[str]:
    """Keys and values below the test root, without filters in the way."""
    left = [registry.test_root]
    shown = 0
    while left:
        path = left.pop()
        shown += 1
        if shown > _MAX_KEYS:
            yield "... and more"
            return
        yield str(path)
        below, values = _read(guest, registry, path)
        yield from (f"    {value}" for value in values)
        left += [path / name for name in reversed(below)]


def _read(guest: Guest, registry: Registry, path: RegistryPath) -> tuple[list[str], list[str]]:
    """Names of the subkeys, and a line for each value."""
    link = ObjectAttributes.CASE_INSENSITIVE | ObjectAttributes.OPENLINK
    with ProgramBuilder(guest, registry) as p:
        count = p.query_key(p.open_key(path, access=KEY_READ, attributes=link), KeyInformationClass.FULL)
    if not count.output:
        return [], [f"can't be read: {count.status_name}"]
    subkeys = min(count.key_information.subkeys or 0, _MAX_KEYS)
    values = min(count.key_information.values or 0, _MAX_KEYS)
    with ProgramBuilder(guest, registry) as p:
        key = p.open_key(path, access=KEY_READ, attributes=link)
        names = p.enumerate_keys(key, subkeys)
        read = p.enumerate_values(key, values)
    shown = [f"{step.name or '(default)'} = {step.value!r}" for step in read if step.output]
    return names.names, shown
