"""Traces: ordered sets of events, cut and compared.

    trace = probe.trace.of(write)
    assert trace.seen_by(high) == [Pre.SetValueKey, Post.SetValueKey]

Cutting is vectorised over NumPy columns; `Event` objects come into being when one is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol, overload

import numpy as np

from harness.errors import UsageError
from harness.probe import abi
from harness.probe.decode import Records
from harness.probe.enums import EventKind
from harness.probe.event import Event, System, make_event, notify_class
from harness.registry.notify import NotifyClass, Operation
from harness.registry.paths import is_at_or_under

if TYPE_CHECKING:
    from harness.probe.filters import Filter

__all__ = ["Pair", "Timed", "Trace", "TraceSource"]

# NumPy compares with a plain int several times faster than with a member of an enumeration.
_NOTIFICATION: Final = int(EventKind.NOTIFICATION)
_ACTION: Final = int(EventKind.ACTION)


class Timed(Protocol):
    """What has a place in a trace: a step of a program, its result, a kernel call."""

    @property
    def begin(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def thread_id(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A pre notification of one filter and the post that answers it; either may be missing."""

    pre: Event | None
    post: Event | None


@dataclass(frozen=True, slots=True)
class TraceSource:
    """Everything a probe has recorded: decoded records, their payload, and the guest's layouts."""

    records: Records
    payload: bytes
    system: System


class Trace(Sequence[Event]):
    """Notifications in the order in which they were recorded (or, from `actions`, actions).

    A sequence of `Event`. Equal to a list of notify classes when its events have these classes in this
    order; equal to another trace when both hold the same events.
    """

    __hash__ = None  # type: ignore[assignment]  # compares equal to lists, like a list

    def __init__(self, source: TraceSource, rows: Any = None) -> None:
        self._source = source
        if rows is None:
            rows = np.flatnonzero(source.records["kind"] == _NOTIFICATION)
        self._rows = rows

    @classmethod
    def empty(cls, system: System) -> Trace:
        """A trace without events."""
        return cls(TraceSource(np.zeros(0, dtype=abi.dtype("REGPROBE_EVENT")), b"", system))

    # -- a sequence -----------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> Trace: ...
    def __getitem__(self, index: int | slice) -> Event | Trace:
        if isinstance(index, slice):
            return Trace(self._source, self._rows[index])
        return self._event(self._rows[index])

    def __iter__(self) -> Iterator[Event]:
        return (self._event(row) for row in self._rows)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Trace):
            return self.sequences == other.sequences and self.classes == other.classes
        if isinstance(other, list | tuple):
            if any(isinstance(item, Event) for item in other):
                return list(self) == list(other)
            return self.classes == list(other)
        return NotImplemented

    def __repr__(self) -> str:
        from harness.probe.expect import one_line

        return one_line(self)

    def __str__(self) -> str:
        from harness.probe.table import as_text

        return as_text(self)

    def __rich__(self) -> Any:
        from harness.probe.table import as_table

        return as_table(self)

    # -- columns --------------------------------------------------------------------------------------

    @cached_property
    def records(self) -> Records:
        """The records as a NumPy structured array (the dtype of REGPROBE_EVENT)."""
        records: Records = self._source.records[self._rows]
        return records

    @property
    def system(self) -> System:
        """The guest that the records are from."""
        return self._source.system

    @property
    def classes(self) -> list[NotifyClass | int]:
        """The notify class of every event."""
        return [notify_class(number) for number in self._of_rows("notify_class").tolist()]

    @property
    def sequences(self) -> list[int]:
        """The sequence number of every event."""
        return list(self._of_rows("sequence").tolist())

    def column(self, name: str) -> np.ndarray[Any, np.dtype[Any]]:
        """One value of every event as an array, without building events.

        `name` is a field of REGPROBE_EVENT (``thread_id``; statuses unsigned) or a member of the classes'
        structures (``DataSize``, unsigned 64-bit). Raises `UsageError` when an event lacks the member.
        """
        if name in (self.records.dtype.names or ()):
            column = self.records[name]
            return column.view(np.uint32) if column.dtype == np.int32 else column
        return self._member(name)

    def _of_rows(self, field: str) -> np.ndarray[Any, np.dtype[Any]]:
        """A field of these events, without copying whole records."""
        found: np.ndarray[Any, np.dtype[Any]] = self._source.records[field][self._rows]
        return found

    def _member(self, name: str) -> np.ndarray[Any, np.dtype[Any]]:
        out = np.zeros(len(self), dtype=np.uint64)
        payload = np.frombuffer(self._source.payload, dtype=np.uint8)
        numbers = self.records["notify_class"]
        for number in np.unique(numbers).tolist():
            which = np.flatnonzero(numbers == number)
            found = self.system.layout(number)
            if found is None or name not in found:
                raise UsageError(
                    f"{notify_class(number)!r} has no member {name}; cut the trace with by() first"
                )
            member = found[name]
            part = self.records[which]
            if (part["structure"]["length"] < member.offset + member.size).any():
                raise UsageError(f"the structure was not recorded up to {name}; add the filter with raw=True")
            start = part["payload_offset"].astype(np.int64) + part["structure"]["offset"] + member.offset
            wide = np.zeros((len(which), 8), dtype=np.uint8)
            wide[:, : member.size] = payload[start[:, None] + np.arange(member.size)]
            out[which] = wide.view("<u8")[:, 0]
        return out

    # -- cutting --------------------------------------------------------------------------------------

    def of(self, operation: Timed) -> Trace:
        """What was recorded while `operation` ran, on its thread."""
        time = self._of_rows("time")
        return self._keep(
            (time >= operation.begin)
            & (time <= operation.end)
            & (self._of_rows("thread_id") == operation.thread_id)
        )

    def during(self, begin: int, end: int) -> Trace:
        """What was recorded from `begin` to `end` (ticks), on any thread."""
        time = self._of_rows("time")
        return self._keep((time >= begin) & (time <= end))

    def between(self, operation: Timed) -> Trace:
        """What was recorded while `operation` ran, on any thread."""
        return self.during(operation.begin, operation.end)

    def seen_by(self, *filters: Filter | int) -> Trace:
        """What these filters (or ids of filters) were told."""
        ids = [each if isinstance(each, int) else each.id for each in filters]
        return self._keep(_among(self._of_rows("filter_id"), ids))

    def by(self, *classes: NotifyClass | Operation | int) -> Trace:
        """Events of these classes; an operation stands for its pre and post class."""
        numbers: list[int] = []
        for each in classes:
            if isinstance(each, Operation):
                numbers += [int(member) for member in (each.pre, each.post) if member is not None]
            else:
                numbers.append(int(each))
        return self._keep(_among(self._of_rows("notify_class"), numbers))

    @property
    def pre(self) -> Trace:
        """The pre notifications."""
        return self.by(*(member for member in NotifyClass if member.is_pre))

    @property
    def post(self) -> Trace:
        """The post notifications."""
        return self.by(*(member for member in NotifyClass if member.is_post))

    @property
    def cleanups(self) -> Trace:
        """The context cleanups."""
        return self.by(NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP)

    def process(self, process_id: int) -> Trace:
        """Events of one process."""
        return self._keep(self._of_rows("process_id") == process_id)

    def thread(self, thread_id: int) -> Trace:
        """Events of one thread."""
        return self._keep(self._of_rows("thread_id") == thread_id)

    def under(self, path: str) -> Trace:
        """Events whose key is `path` or below it."""
        return self.where(lambda event: is_at_or_under(event.path, path))

    def where(self, test: Callable[[Event], bool] | None = None, /, **values: object) -> Trace:
        """Events with these attribute values (``status=0, name="v"``) that pass `test`."""
        kept = self
        for name, value in values.items():
            if name in (self.records.dtype.names or ()) and isinstance(value, int):
                kept = kept._keep(kept.column(name) == int(value))
            else:
                kept = kept._filter(lambda event, name=name, value=value: getattr(event, name) == value)
        return kept if test is None else kept._filter(test)

    def _filter(self, test: Callable[..., bool]) -> Trace:
        return self._keep(np.fromiter((test(event) for event in self), dtype=bool, count=len(self)))

    def _keep(self, mask: Any) -> Trace:
        return Trace(self._source, self._rows[mask])

    # -- kinds ----------------------------------------------------------------------------------------

    @property
    def notifications(self) -> Trace:
        """The notifications (all of an ordinary trace)."""
        return self._keep(self._of_rows("kind") == _NOTIFICATION)

    @property
    def actions(self) -> Trace:
        """What rules did inside these notifications, as a trace of actions."""
        every = self._source.records
        inside = (every["kind"] == _ACTION) & np.isin(every["parent"], self._of_rows("sequence"))
        return Trace(self._source, np.flatnonzero(inside))

    @property
    def with_actions(self) -> Trace:
        """These notifications and the actions inside them, in the order they were recorded."""
        rows = np.union1d(self._rows, self.actions._rows)
        return Trace(self._source, rows)

    # -- pairs ----------------------------------------------------------------------------------------

    def paired(self) -> list[Pair]:
        """Pre and post of the same operation at the same filter, in the order of the pres.

        On one thread and filter a post answers the latest open pre of its class. A pre without a post has
        `post` None; a post without a pre comes where it stands.
        """
        pairs: list[Pair] = []
        waiting: dict[tuple[int, int, int], list[int]] = {}
        for event in self.notifications:
            cls = event.notify_class
            if not isinstance(cls, NotifyClass) or cls.counterpart is None:
                continue
            if cls.is_pre:
                waiting.setdefault((event.filter_id, event.thread_id, int(cls)), []).append(len(pairs))
                pairs.append(Pair(event, None))
                continue
            stack = waiting.get((event.filter_id, event.thread_id, int(cls.counterpart)))
            if stack:
                index = stack.pop()
                pairs[index] = Pair(pairs[index].pre, event)
            else:
                pairs.append(Pair(None, event))
        return pairs

    def _event(self, row: Any) -> Event:
        return make_event(self._source.records[row], self._source.payload, self._source.system)


def _among(values: np.ndarray[Any, np.dtype[Any]], wanted: list[int]) -> Any:
    """Which of the values are among a few wanted ones."""
    if len(wanted) == 1:
        return values == wanted[0]
    return np.isin(values, wanted)
