"""The watchers of a running machine: they race with every call, and the first that sees something wins.

What they look at: QEMU's and libvirt's events (a panic with its bugcheck code, a reset, an exit), the text
on the debug port (a bugcheck, a debugger's prompt, lines that go round in a circle), and whether the runner
still answers a PING. Whatever is seen first is latched: the waiting call ends at once, later ones fail alike.
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, Protocol, Self

from harness.channel.abi import frame_layout
from harness.channel.errors import ChannelClosedError, ChannelTimeoutError
from harness.errors import GuestCrashed, GuestHung, HarnessError
from harness.guest.bugcheck import Bugcheck
from harness.machine.hypervisor.events import EventKind, MachineEvent, Subscriber
from harness.machine.hypervisor.waits import waited_since
from harness.machine.watch.crash_text import CrashText
from harness.machine.watch.debug_log import DebugLog
from harness.machine.watch.latch import Latch
from harness.machine.watch.repetition import Repetition
from harness.machine.watch.verdict import verdict_on

__all__ = ["Pulse", "Watch", "WatchLimits", "Watched"]

#: Seconds between two looks at the debug log; events are handled at once.
_LOOK: Final = 0.05
#: After this long without new text, what is known of a bugcheck is all there will be.
_SETTLE: Final = 0.5
#: How long a channel that closed may have been the first to notice that QEMU or the guest is gone.
_GRACE: Final = 15.0
#: Seconds one PING is waited for; silence is many of them.
_PATIENCE: Final = 1.0
#: What a PING itself sends: a frame's header and eight bytes.
_PING_BYTES: Final = struct.calcsize(frame_layout()[0]) + 8
_SILENT: Final = "the guest hangs: no answer to a PING within {:g} s, and its processors run"


class Watched(Protocol):
    """What a machine must offer to be watched."""

    @property
    def name(self) -> str: ...

    @property
    def running(self) -> bool:
        """Whether the virtual processors run: neither paused nor gone."""

    def waits(self) -> Mapping[int, float]:
        """Seconds that each thread of the machine was ready to run while the host was busy, by thread."""

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber` with every event from now on; the result ends that."""


class Pulse(Protocol):
    """A channel whose runner can be asked beside a running request: `harness.channel.serial`."""

    @property
    def moved(self) -> int:
        """Bytes that went either way so far."""

    def ping(self, *, timeout: float) -> None: ...


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """When a guest counts as hung. Times are in seconds.

    `silence`: without an answer to PING while its processors run; the time in which a busy host let them wait
    doesn't count. `circle_times` and `circle_seconds`: the
    same lines on the debug port, both bounds passed, while a call waits.
    """

    silence: float = 30.0
    circle_times: int = 1000
    circle_seconds: float = 10.0


class Watch:
    """Watches one machine from `start` to `stop`; a context manager.

    `stop` comes before whatever the harness does to the machine itself: from then on nothing is latched.
    `booting`: the guest may reset itself, as systems do on their way up.
    """

    def __init__(
        self,
        machine: Watched,
        log: DebugLog,
        *,
        limits: WatchLimits | None = None,
        booting: bool = False,
    ) -> None:
        self.latch = Latch()
        self.log = log
        self._machine = machine
        self.limits = limits or WatchLimits()
        self._booting = booting
        self._events: SimpleQueue[MachineEvent | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._unsubscribe: Callable[[], None] = lambda: None
        self._text = CrashText()
        self._bugcheck: Bugcheck | None = None
        self._circle = Repetition(times=self.limits.circle_times, seconds=self.limits.circle_seconds)
        self._calls = 0
        self._lock = threading.Lock()
        self._last_text = 0.0
        log.read_with(self._read)

    def start(self, pulse: Pulse | None = None) -> Self:
        """Begin; `pulse` is asked for a PING now and then. May be given later, with `listen_to`."""
        self._unsubscribe = self._machine.subscribe(self._events.put)
        self._run(self._watch, "watch")
        if pulse is not None:
            self.listen_to(pulse)
        return self

    def listen_to(self, pulse: Pulse) -> None:
        """From now on, silence of `pulse` counts."""
        self._run(lambda: self._feel(pulse), "pulse")

    def stop(self) -> None:
        """End watching. May be called again."""
        self._stopping.set()
        self._unsubscribe()
        self._events.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around everything that is asked of the guest: what was latched is raised, before and afterwards.

        A channel that closes under a call is a symptom; what the watchers find is raised instead.
        """
        self.latch.check()
        with self._lock:
            self._calls += 1
            self._circle.restart()
        try:
            yield
        except ChannelClosedError:
            self._raise_latched(self.latch.wait(_GRACE))
            raise
        except HarnessError:
            self._raise_latched(self.latch.error)
            raise
        finally:
            with self._lock:
                self._calls -= 1
                self._circle.restart()
        self.latch.check()

    @staticmethod
    def _raise_latched(error: HarnessError | None) -> None:
        if error is not None:
            raise error from None

    def _run(self, target: Callable[[], None], what: str) -> None:
        thread = threading.Thread(target=target, name=f"{what} {self._machine.name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _trip(self, error: HarnessError) -> None:
        if not self._stopping.is_set():
            self.latch.trip(error)

    # -- events and text -----------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.is_set() and self.latch.error is None:
            try:
                event = self._events.get(timeout=_LOOK)
            except Empty:
                event = None
            self.log.catch_up()
            found = self._known()
            if event is not None:
                self._judge(event)
            if found is not None:
                self._trip(GuestCrashed(found))

    def _judge(self, event: MachineEvent) -> None:
        if self._booting and event.kind is EventKind.RESET:
            return
        # After these the guest says no more: what stands in the log by now is all there is.
        final = event.kind in (EventKind.PANIC, EventKind.RESET, EventKind.EXIT)
        error = verdict_on(event, self._known(settled=final), name=self._machine.name)
        if error is not None:
            self._trip(error)

    def _known(self, *, settled: bool = False) -> Bugcheck | None:
        """The bugcheck the debug port told of, once its text is complete, or as it is when `settled`."""
        with self._lock:
            quiet = self._text.pending and time.monotonic() - self._last_text >= _SETTLE
            if self._bugcheck is None and (settled or quiet):
                self._bugcheck = self._text.settle()
            return self._bugcheck

    def _read(self, data: bytes) -> None:
        """A piece of the debug log, in whichever thread reads it."""
        with self._lock:
            now = self._last_text = time.monotonic()
            self._bugcheck = self._bugcheck or self._text.feed(data)
            # Without a call nobody waits for anything, and a guest may say what it likes.
            circle = self._circle.feed(data, now) if self._calls else None
        if circle is not None:
            why = f"the guest goes round in a circle: its debug port says {circle}"
            self._trip(GuestHung(Bugcheck.unknown(why)))

    # -- silence -------------------------------------------------------------------------------------------

    def _feel(self, pulse: Pulse) -> None:
        limit = self.limits.silence
        alive, waits = time.monotonic(), self._machine.waits()
        pause = 0.0
        while not self._stopping.wait(pause) and self.latch.error is None:
            moved, pause = pulse.moved, 0.0
            try:
                # Short, so that `stop` needn't wait for a guest that is silent.
                pulse.ping(timeout=min(_PATIENCE, limit))
            except ChannelTimeoutError:
                if pulse.moved - moved > _PING_BYTES or not self._machine.running:
                    # Busy with something large, late, or paused.
                    alive, waits = time.monotonic(), self._machine.waits()
                elif time.monotonic() - alive - waited_since(waits, self._machine.waits()) >= limit:
                    self._trip(GuestHung(Bugcheck.unknown(_SILENT.format(limit))))
            except HarnessError:
                return  # the channel ended; whoever uses it is told so
            else:
                alive, waits, pause = time.monotonic(), self._machine.waits(), limit / 4
