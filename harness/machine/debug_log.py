"""What the guest writes to its debug port: read as it grows, as lines for tests, in pieces for watchers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from harness.machine.lines import LineCutter

__all__ = ["MAX_LINES", "DebugLog"]

#: Lines kept for `take`; older ones are dropped, and their number is said.
MAX_LINES: Final = 10_000
_CHUNK: Final = 1 << 18


class DebugLog:
    """A log file that QEMU appends to; it need not exist yet. Safe for several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._offset = 0
        self._cutter = LineCutter()
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._lost = 0
        self._readers: list[Callable[[bytes], None]] = []

    def read_with(self, reader: Callable[[bytes], None]) -> None:
        """Hand every piece that is read from now on to `reader` as well."""
        with self._lock:
            self._readers.append(reader)

    def skip(self) -> None:
        """Forget what is there already: what a template printed before it was frozen."""
        with self._lock:
            try:
                self._offset = self.path.stat().st_size
            except FileNotFoundError:
                self._offset = 0

    def catch_up(self) -> int:
        """Read to the present end; returns how many bytes were new."""
        with self._lock:
            start = self._offset
            try:
                with self.path.open("rb") as file:
                    file.seek(start)
                    # As far as it goes now: a guest that writes without end must not keep us here.
                    for _ in range(64):
                        if not (data := file.read(_CHUNK)):
                            break
                        self._offset += len(data)
                        self._keep(data)
            except FileNotFoundError:
                return 0
            return self._offset - start

    def _keep(self, data: bytes) -> None:
        for line in self._cutter.feed(data):
            self._lost += len(self._lines) == MAX_LINES
            self._lines.append(line)
        for reader in self._readers:
            reader(data)

    def take(self) -> list[str]:
        """Whole lines since the last call, oldest first; says so in a first line when some were dropped."""
        self.catch_up()
        with self._lock:
            lines = list(self._lines)
            if self._lost:
                lines.insert(0, f"... {self._lost} lines more, dropped")
            self._lines.clear()
            self._lost = 0
        return lines
