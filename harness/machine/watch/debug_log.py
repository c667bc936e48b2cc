"""What the guest writes to its debug port: read as it grows, as lines for tests, in pieces for watchers.

QEMU appends to the file for as long as the machine runs. What was read long ago is given back to the file
system, so that a guest that writes without end doesn't fill it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from harness.machine.watch.lines import LineCutter

__all__ = ["KEPT_BYTES", "MAX_LINES", "DebugLog"]

#: Lines kept for `take`; older ones are dropped, and their number is said.
MAX_LINES: Final = 10_000
_CHUNK: Final = 1 << 18
#: Bytes that stay on disk at the file's end: more than evidence takes of it.
KEPT_BYTES: Final = 32 << 20
#: fallocate(2): take the blocks away, leave the file's size as it is.
_PUNCH_HOLE: Final = 0x01 | 0x02


class DebugLog:
    """A log file that QEMU appends to; it need not exist yet. Safe for several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._offset = 0
        self._freed = 0
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
            self._free_read()
            return self._offset - start

    def _free_read(self) -> None:
        """Give back what lies further behind than `KEPT_BYTES`; a file system that can't keeps it all."""
        end = self._offset - KEPT_BYTES
        if end - self._freed < KEPT_BYTES:
            return
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError:  # another user's, where libvirt's daemon runs QEMU
            return
        try:
            _fallocate()(descriptor, _PUNCH_HOLE, self._freed, end - self._freed)
        finally:
            os.close(descriptor)
        self._freed = end

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


@functools.cache
def _fallocate() -> Callable[[int, int, int, int], int]:
    call = ctypes.CDLL(None, use_errno=True).fallocate
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    call.restype = ctypes.c_int
    return call
