"""Everything the probe has recorded so far: drained piece by piece, checked for completeness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from harness.errors import InfrastructureError, TraceIncompleteError
from harness.probe import abi
from harness.probe.decode import Batch, decode_drain, join_batches
from harness.probe.enums import EventKind
from harness.probe.event import System
from harness.probe.link import Link
from harness.probe.trace import Trace, TraceSource

__all__ = ["Collector"]

#: A drain starts with a buffer for the trace of one operation; the rest is asked for by its size.
_SMALL: Final = 24 * 1024
_LARGE: Final = 4 * 1024 * 1024
_NOTIFICATION: Final = int(EventKind.NOTIFICATION)


class Collector:
    """Drains the ring and keeps what came. One per probe."""

    def __init__(self, link: Link, system: Callable[[], System]) -> None:
        self._link = link
        self._system = system
        self._batches: list[Batch] = []
        self._joined: TraceSource | None = None
        self._next: int | None = None
        self._dropped = 0
        self._missing = 0
        self._seen: int | None = None
        self._classes: set[int] = set()

    def forget(self) -> None:
        """Start over, after the probe was reset: its ring is empty."""
        self._batches, self._joined = [], None
        self._next, self._dropped, self._missing = None, 0, 0
        self._seen = self._activity()

    def drain(self) -> Trace:
        """The events recorded since the last drain. Does not judge completeness."""
        fresh = self._pull()
        records, payload = join_batches(fresh)
        return Trace(TraceSource(records, payload, self._system()))

    def trace(self) -> Trace:
        """All events so far. Raises `TraceIncompleteError` when some are missing."""
        self._pull()
        self.check()
        if self._joined is None or len(self._batches) > 1:
            records, payload = join_batches(self._batches)
            self._joined = TraceSource(records, payload, self._system())
            if self._batches:
                last = self._batches[-1]
                self._batches = [Batch(records, payload, last.remaining, last.dropped, last.next_sequence)]
        source = self._joined
        return Trace(TraceSource(source.records, source.payload, self._system()))

    def take_classes(self) -> frozenset[int]:
        """The notify classes of what was drained since the last call, over resets too."""
        taken, self._classes = frozenset(self._classes), set()
        return taken

    def check(self) -> None:
        """Raises `TraceIncompleteError` naming how many events are missing and what to do."""
        if not self._dropped and not self._missing:
            return
        slots = self._link.info()["ring_slots"]
        what = []
        if self._dropped:
            what.append(f"the driver dropped {self._dropped} events")
        if self._missing:
            what.append(f"{self._missing} sequence numbers are missing")
        highest = abi.constant("REGPROBE_RING_SLOTS_MAX")
        raise TraceIncompleteError(
            f"the trace is incomplete: {' and '.join(what)}. The ring has {slots} slots: give the service a "
            f"larger RingSlots parameter (up to {highest}), narrow the filters (silent=True where only rules "
            "matter), or read probe.trace more often"
        )

    def _pull(self) -> list[Batch]:
        """Drain until what was in the ring at the beginning is out; later events wait for the next time."""
        if self._seen is not None and self._seen == self._activity():
            return []
        fresh: list[Batch] = []
        size, left = _SMALL, None
        while left is None or left > 0:
            batch = self._request(size)
            count = len(batch.records)
            left = (count + batch.remaining if left is None else left) - count
            self._account(batch)
            if count:
                fresh.append(batch)
            elif size == _LARGE:
                break  # a callback is still running: the drain stops at its event
            if batch.remaining:
                size = _room(batch)
        if fresh:
            self._batches += fresh
            self._joined = None
        self._seen = self._activity()
        return fresh

    def _activity(self) -> int | None:
        """What `Guest.activity` says; None where the guest runs by itself."""
        found: int | None = getattr(self._link.guest, "activity", None)
        return found

    def _request(self, size: int) -> Batch:
        request = abi.record("REGPROBE_DRAIN").pack()
        reply = self._link.send("IOCTL_REGPROBE_DRAIN", request, output=size, what="draining events")
        if len(reply) > size:
            raise InfrastructureError(f"the guest returned {len(reply)} bytes into a buffer of {size}")
        return decode_drain(reply)

    def _account(self, batch: Batch) -> None:
        self._dropped = max(self._dropped, batch.dropped)
        if not len(batch.records):
            return
        told = batch.records["kind"] == _NOTIFICATION
        self._classes.update(batch.records["notify_class"][told].tolist())
        sequences = batch.records["sequence"]
        first, last = int(sequences[0]), int(sequences[-1])
        steps: Any = np.diff(sequences.astype(np.int64))
        if (steps <= 0).any() or (self._next is not None and first < self._next):
            raise InfrastructureError(
                "the probe's sequence numbers do not ascend; another program drains it too"
            )
        if self._next is not None:
            self._missing += first - self._next
        self._missing += int((steps - 1).sum())
        self._next = last + 1


def _room(batch: Batch) -> int:
    """Bytes that the remaining events fit in when they are like the drained ones, with a quarter to spare."""
    count = len(batch.records)
    if not count:
        return _LARGE
    taken = batch.records.nbytes + len(batch.payload)
    return min(max(batch.remaining * taken * 5 // (count * 4), _SMALL), _LARGE)
