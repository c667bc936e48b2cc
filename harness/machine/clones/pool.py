"""A pool of clones that wait, suspended, to be taken: revert is taking the next one.

A thread of its own keeps the pool full, as far as memory allows. What goes wrong there is told to whoever
takes the next clone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Final

from harness.cleanup import Closing
from harness.errors import HarnessError, InfrastructureError, UsageError
from harness.machine.clones.clone import Clone
from harness.machine.clones.template import Template
from harness.machine.hypervisor.machine import MachineState

__all__ = ["ClonePool"]

log = logging.getLogger(__name__)

#: How long the refilling thread waits for memory at a time; it tries again for as long as the pool is open.
_MEMORY_SECONDS: Final = 3600.0


class ClonePool(Closing):
    """Clones of one template; a context manager that ends those that wait. Safe for several threads.

    Clones that were taken belong to whoever took them, who closes them or gives them back. The pool must be
    closed before its template.
    """

    def __init__(self, template: Template, *, size: int = 2) -> None:
        """Keep `size` clones ready. Raises `UsageError` when that is less than one."""
        if size < 1:
            raise UsageError(f"a pool of {size} clones has none to give; its size is at least 1")
        self.template = template
        self.size = size
        self._what = f"a clone of {template.image.name}"
        self._changed = threading.Condition()
        self._ready: deque[Clone] = deque()
        self._places: dict[str, ExitStack] = {}
        self._failure: Exception | None = None
        self._closed = False
        self._endings = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clone-end")
        self._filler = threading.Thread(target=self._fill, name="clone-pool", daemon=True)
        self._filler.start()

    @property
    def ready(self) -> int:
        """How many clones wait."""
        with self._changed:
            return len(self._ready)

    def wait_until_full(self, *, timeout: float = 120.0) -> None:
        """Return when `size` clones wait. Raises as `take` does."""
        with self._changed:
            self._wait_for(self.size, timeout)

    def take(self, *, timeout: float = 120.0) -> Clone:
        """The next clone, suspended; at once when one is ready and there are processors free for it.

        They are set aside until it is closed or given back. Raises `InfrastructureError` when there is no
        clone within `timeout` seconds, or making one has failed; the next call tries again.
        """
        deadline = time.monotonic() + timeout
        processors = self.template.image.hardware.processors
        with ExitStack() as place:
            place.enter_context(self.template.admission.running(processors, self._what, timeout=timeout))
            while True:
                with self._changed:
                    self._wait_for(1, deadline - time.monotonic())
                    clone = self._ready.popleft()
                    self._changed.notify_all()
                if clone.machine.state is MachineState.PAUSED:
                    break
                log.warning("%s ended while it waited, see %s", clone.name, clone.machine.qemu_log)
                clone.close()
            self._places[clone.name] = place.pop_all()
            clone.on_close(lambda: self._free(clone))
        return clone

    def give_back(self, clone: Clone) -> None:
        """Have a taken clone closed in the background, so that nobody waits for its end.

        It is suspended at once, and its processors are free for the next one.
        """
        with suppress(HarnessError):  # it may have ended by itself
            clone.machine.suspend()
        self._free(clone)
        with self._changed:
            if not self._closed:
                self._endings.submit(_close, clone)
                return
        _close(clone)

    def close(self) -> None:
        """End the clones that wait or were given back. May be called again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._filler.join()
        while self._ready:
            self._endings.submit(_close, self._ready.popleft())
        self._endings.shutdown()

    def _free(self, clone: Clone) -> None:
        """Give the processors of a taken clone back; once."""
        place = self._places.pop(clone.name, None)
        if place is not None:
            place.close()

    # -- behind ----------------------------------------------------------------------------------------------

    def _wait_for(self, count: int, timeout: float) -> None:
        """Wait until `count` clones are ready; the lock is held. A failure is told once, then tried anew."""
        self._changed.wait_for(
            lambda: len(self._ready) >= count or self._failure is not None or self._closed, timeout
        )
        if len(self._ready) >= count:
            return
        if self._closed:
            raise InfrastructureError(f"the pool for {self._what} is closed")
        if self._failure is not None:
            failure, self._failure = self._failure, None
            self._changed.notify_all()
            raise InfrastructureError(f"making {self._what} failed: {failure}") from failure
        raise InfrastructureError(
            f"{self._what} was not ready within {timeout:.0f} s: {len(self._ready)} of {self.size} are, "
            "memory for more may be short; close machines, or use a smaller pool"
        )

    def _fill(self) -> None:
        """The thread: make a clone whenever one is missing, and wait after a failure until it was told."""
        while self._wanted():
            try:
                clone = self._make()
            except Exception as error:
                with self._changed:
                    if not self._closed:
                        self._failure = error
                        self._changed.notify_all()
                continue
            with self._changed:
                self._ready.append(clone)  # `close` ends it if it is too late
                self._changed.notify_all()

    def _wanted(self) -> bool:
        """Wait until a clone is missing; False when the pool is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (len(self._ready) < self.size and self._failure is None)
            )
            return not self._closed

    def _make(self) -> Clone:
        template = self.template
        reservation = template.admission.memory(
            template.appetite.expected, self._what, timeout=_MEMORY_SECONDS, cancelled=lambda: self._closed
        )
        try:
            clone = Clone.start(template, admitted=True)
        except BaseException:
            reservation.release()
            raise
        reservation.pid = clone.machine.pid
        clone.on_close(reservation.release)
        return clone


def _close(clone: Clone) -> None:
    try:
        clone.close()
    except HarnessError as error:  # nobody waits for this; the session's end and its guard see to it
        log.warning("%s could not be ended: %s", clone.name, error)
