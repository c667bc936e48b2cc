"""Ends guest code that never returns.

Counting instructions costs far too much, so one thread looks at the clock now and then. It exists only
while a machine is open and has called the guest at least once.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.reference.cpu import Cpu

__all__ = ["Watchdog"]


class Watchdog:
    """Stops `cpu` when its outermost call has run for longer than `deadline` seconds.

    Counted is processor time of this process: how long the call takes says how busy the host is.
    """

    def __init__(self, cpu: Cpu, deadline: float) -> None:
        self._cpu = cpu
        self.deadline = deadline
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin watching; a second call changes nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="guest watch-dog", daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        pause = min(max(self.deadline / 8, 0.005), 0.25)
        known = spent = 0.0
        # The engine may be between two runs when it is stopped: then the next look stops it.
        while not self._ended.wait(pause):
            since = self._cpu.busy_since
            if since != known:
                known, spent = since, time.process_time() - pause  # it began since the last look
            late = time.monotonic() - since > self.deadline
            if since and late and time.process_time() - spent > self.deadline:
                self._cpu.expired = True
                self._cpu.engine.stop()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
