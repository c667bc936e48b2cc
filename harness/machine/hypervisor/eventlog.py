"""The events of one machine in order, to be waited for and listened to."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.hypervisor.events import EventKind, MachineEvent, Subscriber

__all__ = ["EventLog"]

#: A guest that resets in a circle makes events for ever; older ones are dropped.
_KEPT: Final = 10_000
_NAMED: Final = 5

_log = logging.getLogger(__name__)


class EventLog:
    """Filled by libvirt's event thread, read by any. `seen` counts all events; it marks a point in time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._events: deque[MachineEvent] = deque(maxlen=_KEPT)
        self._seen = 0
        self._changed = threading.Condition()
        self._subscribers: list[Subscriber] = []

    @property
    def seen(self) -> int:
        with self._changed:
            return self._seen

    @property
    def events(self) -> tuple[MachineEvent, ...]:
        """The last events, oldest first."""
        with self._changed:
            return tuple(self._events)

    def add(self, event: MachineEvent) -> None:
        with self._changed:
            self._events.append(event)
            self._seen += 1
            subscribers = tuple(self._subscribers)
            self._changed.notify_all()
        for subscriber in subscribers:
            try:
                subscriber(event)
            except Exception:  # libvirt's thread serves every machine; one bad listener must not end it
                _log.exception("machine %s: a listener failed on %s", self.name, event)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every event from now on; returns what ends that."""
        with self._changed:
            self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            with self._changed:
                if subscriber in self._subscribers:
                    self._subscribers.remove(subscriber)

        return unsubscribe

    def wait_for(self, *kinds: EventKind, timeout: float, since: int = 0) -> MachineEvent:
        """The first event of one of `kinds` after the first `since`; waits `timeout` seconds at most.

        Raises `InfrastructureError` at the deadline, and at once when the machine is gone before.
        """
        deadline = time.monotonic() + timeout
        wanted = frozenset(kinds)
        with self._changed:
            while True:
                skipped = self._seen - len(self._events)
                for event in list(self._events)[max(0, since - skipped) :]:
                    if event.kind in wanted:
                        return event
                    if event.kind is EventKind.EXIT:
                        raise InfrastructureError(
                            f"{self._sought(wanted)}, but it ended: {event}. {self._last()}"
                        )
                left = deadline - time.monotonic()
                if left <= 0:
                    raise InfrastructureError(
                        f"{self._sought(wanted)} for {timeout:g} s in vain. {self._last()}"
                    )
                self._changed.wait(left)

    def _sought(self, wanted: frozenset[EventKind]) -> str:
        return f"machine {self.name}: waited for {' or '.join(sorted(wanted))}"

    def _last(self) -> str:
        last = [str(event) for event in self._events][-_NAMED:]
        return f"Its last events: {', '.join(last) or 'none'}"
