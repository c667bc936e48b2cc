"""What a guest holds where a scenario was stopped: operations, events, keys, as lines to print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from harness.errors import HarnessError
from harness.guest.base import Guest
from harness.registry.access import KEY_READ, ObjectAttributes
from harness.registry.infoclasses import KeyInformationClass
from harness.registry.paths import RegistryPath
from harness.registry.status import status_name
from harness.repro.stop import Stop
from harness.workload.builder import ProgramBuilder
from harness.workload.program import Operation
from harness.workload.registry import Registry
from harness.workload.step import Step

if TYPE_CHECKING:
    from harness.probe.client import Probe
    from harness.repro.replay import Replay

__all__ = ["operation_lines", "picture", "step_lines"]

#: Most keys and events that a picture shows.
_MAX_KEYS: Final = 200
_MAX_EVENTS: Final = 200


def operation_lines(done: Iterable[tuple[int, Operation, int]]) -> Iterator[str]:
    """A line for each operation: its number, what it was, its status."""
    for index, operation, status in done:
        yield f"  {index:>4} {operation}: {status_name(status)}"


def step_lines(steps: Mapping[tuple[int, int], Step]) -> Iterator[str]:
    """The same for steps by call and operation."""
    return operation_lines((place[1], steps[place].operation, steps[place].status) for place in sorted(steps))


def picture(replay: Replay, stop: Stop) -> list[str]:
    """Operations with their statuses, the events they caused, and the keys below the test root.

    The filters are gone afterwards: they would have a say in reading the keys.
    """
    mark = replay.steps.pop((stop.call, stop.operation)) if stop.operation is not None else None
    lines = ["operations:", *step_lines(replay.steps)]
    if stop.operation is not None:
        lines.append(f"  {stop.operation:>4} (stopped before this one)")
    if replay.probe is not None:
        lines += _events(replay.probe, None if mark is None else mark.begin)
        replay.probe.reset()
    lines.append("keys:")
    lines += [f"  {line}" for line in _keys(replay.guest, replay.registry)]
    return lines


def _events(probe: Probe, until: int | None) -> Iterator[str]:
    """What was recorded before a moment; the handles that the end of the program closes come later."""
    yield "events:"
    try:
        events = [event for event in probe.trace if until is None or event.time <= until]
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
