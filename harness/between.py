"""A driver of somebody's own between two probe filters, and what it did to the operations passing through it.

The filter above sees what a requester asked for and what it got; the filter below sees what the driver let
through and what the system answered. What differs is the driver's doing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from harness.errors import DriverRefusedError
from harness.registry.notify import NotifyClass
from harness.registry.status import nt_success, status_name

if TYPE_CHECKING:
    from harness.guest.base import Guest
    from harness.probe import Event, Filter, Probe

__all__ = ["ABOVE", "BELOW", "Between", "Change", "ChangeKind", "Passage", "changes", "passages"]

#: Far outside the range of assigned altitudes, so that the driver is between them whatever its own is
#: (ifs/load-order-groups-and-altitudes). Before Vista the order of registration decides, which is the same.
ABOVE: Final = "999999.7301"
BELOW: Final = "1.7301"


class ChangeKind(StrEnum):
    BLOCKED = "blocked"  # never went below, and failed
    COMPLETED = "completed"  # never went below, and succeeded: the driver did it itself
    STATUS = "status"  # another status above than below
    INPUT = "input"  # went below with another name or other data
    OUTPUT = "output"  # came back above with other data
    OWN_CALL = "own call"  # a registry call the driver made itself


@dataclass(frozen=True, slots=True)
class Passage:
    """One operation on its way down and up. What a filter didn't see is None."""

    above_pre: Event | None = None
    below_pre: Event | None = None
    below_post: Event | None = None
    above_post: Event | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing the driver did. `operation` is the documented name of the pre class, `key` the key's path."""

    kind: ChangeKind
    operation: str
    key: str
    detail: str

    def __str__(self) -> str:
        return f"{self.operation} {self.key}: {self.kind}, {self.detail}"


@dataclass(frozen=True, slots=True)
class Between:
    """A loaded driver with one probe filter on either side. `status` is its DriverEntry's."""

    guest: Guest
    probe: Probe
    service: str
    status: int
    above: Filter
    below: Filter

    @classmethod
    def load(cls, guest: Guest, probe: Probe, path: Path, *, service: str = "") -> Self:
        """Load the driver in `path`. Raises what `Guest.start_driver` raises.

        A DriverEntry that fails raises `DriverRefusedError` with its status.
        """
        service = service or path.stem
        image = path.read_bytes()
        above = probe.add(ABOVE)
        guest.install_driver(service, image)
        try:
            status = guest.start_driver(service)
            if not nt_success(status):
                raise DriverRefusedError(
                    f"DriverEntry of {path.name} returned {status_name(status)}", status=status
                )
        except DriverRefusedError:
            guest.remove_driver(service)
            above.remove()
            raise
        return cls(guest, probe, service, status, above, probe.add(BELOW))

    def changes(self) -> tuple[Change, ...]:
        """What the driver did to everything that passed since the probe was last reset."""
        return changes(self.probe.trace, self.above, self.below)

    def unload(self) -> int:
        """Stop and remove the driver; returns the status of the unload."""
        self.below.remove()
        status = self.guest.stop_driver(self.service)
        self.guest.remove_driver(self.service)
        self.above.remove()
        return status


def passages(events: Iterable[Event], above: Filter, below: Filter) -> Iterator[Passage]:
    """Pair what both filters saw, in the order in which operations ended.

    A post closes the innermost open pre of its class on the same thread. What arrives below with nothing
    of its class waiting above is an operation of the driver's own: the filter above isn't asked about those.
    """
    waiting: dict[int, list[dict[str, Event]]] = {}
    for event in events:
        number = event.notify_class
        if event.filter_id not in (above.id, below.id) or event.action is not None:
            continue
        if not isinstance(number, NotifyClass):
            continue  # newer than this harness: nothing is known of its shape
        stack = waiting.setdefault(event.thread_id, [])
        side = "above" if event.filter_id == above.id else "below"
        if number.is_pre:
            top = stack[-1] if stack else {}
            if side == "below" and _awaits_below(top, number):
                top["below_pre"] = event
            else:
                stack.append({f"{side}_pre": event})
        elif number.is_post:
            yield from _close(stack, side, event, number.counterpart)
    for stack in waiting.values():
        yield from (Passage(**entry) for entry in stack)


def _awaits_below(entry: dict[str, Event], notify_class: NotifyClass) -> bool:
    above = entry.get("above_pre")
    return above is not None and "below_pre" not in entry and above.notify_class is notify_class


def _close(
    stack: list[dict[str, Event]], side: str, event: Event, wanted: NotifyClass | None
) -> Iterator[Passage]:
    for position in range(len(stack) - 1, -1, -1):
        entry = stack[position]
        pre = entry.get(f"{side}_pre")
        if pre is None or pre.notify_class is not wanted:
            continue
        entry[f"{side}_post"] = event
        if side == "above" or "above_pre" not in entry:
            # Whatever lies further in was never answered; it is over now.
            ended = stack[position:]
            del stack[position:]
            yield from (Passage(**inner) for inner in reversed(ended))
        return


def changes(events: Iterable[Event], above: Filter, below: Filter) -> tuple[Change, ...]:
    """What the driver between the two filters did, in the order in which operations ended."""
    return tuple(change for passage in passages(events, above, below) for change in _judge(passage))


def _judge(passage: Passage) -> Iterator[Change]:
    from harness.probe.event import class_name

    first = passage.above_pre or passage.below_pre
    assert first is not None
    operation = class_name(first.notify_class)
    key = first.path or "(no name)"
    if first.name and not first.path.endswith(first.name):
        key += f" [{first.name}]"
    if passage.above_pre is None:
        yield Change(ChangeKind.OWN_CALL, operation, key, _outcome(passage.below_post))
        return
    answer = passage.above_post
    if passage.below_pre is None:
        if answer is not None:
            kind = ChangeKind.COMPLETED if nt_success(answer.status) else ChangeKind.BLOCKED
            yield Change(kind, operation, key, status_name(answer.status))
        return
    yield from _input(passage.above_pre, passage.below_pre, operation, key)
    if answer is None or passage.below_post is None:
        return
    if answer.status != passage.below_post.status:
        text = f"{status_name(passage.below_post.status)} became {status_name(answer.status)}"
        yield Change(ChangeKind.STATUS, operation, key, text)
    if answer.data != passage.below_post.data:
        text = f"{_bytes(passage.below_post.data)} became {_bytes(answer.data)}"
        yield Change(ChangeKind.OUTPUT, operation, key, text)


def _input(above: Event, below: Event, operation: str, key: str) -> Iterator[Change]:
    if above.name != below.name:
        yield Change(ChangeKind.INPUT, operation, key, f"name {above.name!r} became {below.name!r}")
    if above.data != below.data:
        yield Change(
            ChangeKind.INPUT, operation, key, f"data {_bytes(above.data)} became {_bytes(below.data)}"
        )


def _outcome(post: Event | None) -> str:
    return "no post notification" if post is None else status_name(post.status)


def _bytes(data: bytes) -> str:
    return f"{data[:16].hex()}..." if len(data) > 16 else data.hex() or "nothing"
