"""The first thing that went wrong with a machine, kept: everything asked of it afterwards fails with that."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness.errors import GuestCrashed, HarnessError

__all__ = ["Latch"]


class Latch:
    """Set once, by whichever watcher is first; safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set = threading.Event()
        self._error: HarnessError | None = None
        self._told: list[Callable[[HarnessError], None]] = []

    def trip(self, error: HarnessError) -> bool:
        """Keep `error` and tell it to everybody, unless one was kept before; says whether it was new."""
        with self._lock:
            if self._error is not None:
                return False
            self._error = error
            told, self._told = self._told, []
        self._set.set()
        for each in told:
            each(error)
        return True

    def tell(self, callback: Callable[[HarnessError], None]) -> None:
        """Call `callback` with the error when there is one: at once when it is there already."""
        with self._lock:
            if self._error is None:
                self._told.append(callback)
                return
        callback(self._error)

    @property
    def error(self) -> HarnessError | None:
        """What was kept, as an exception of its own: several threads may raise it."""
        with self._lock:
            error = self._error
        if isinstance(error, GuestCrashed):
            return type(error)(error.bugcheck)
        return None if error is None else type(error)(*error.args)

    def wait(self, seconds: float) -> HarnessError | None:
        """The error, waiting up to `seconds` for one."""
        self._set.wait(seconds)
        return self.error

    def check(self) -> None:
        """Raise what was kept."""
        error = self.error
        if error is not None:
            raise error
