"""Bytes of a serial port as lines, each bounded: a guest may write what it likes, as fast as it likes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["MAX_LINE", "LineCutter"]

#: Longest line, in bytes; what is longer comes in pieces of this length.
MAX_LINE: Final = 4096


class LineCutter:
    """Cuts a stream into lines, however it was split into reads. Work is linear in the bytes fed."""

    def __init__(self) -> None:
        self._pending = bytearray()

    @property
    def unfinished(self) -> str:
        """The last line, as far as it has come: a prompt never ends its line."""
        return self._pending.decode("latin-1")

    def starts_with(self, prompts: tuple[bytes, ...]) -> bool:
        """Whether the unfinished line starts with one of `prompts`; cheap, whatever its length."""
        return self._pending.startswith(prompts)

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that `data` ends, without their line ends; bytes become characters one to one."""
        start = 0
        while start < len(data):
            room = MAX_LINE - len(self._pending)
            end = data.find(b"\n", start, start + room)
            if end < 0:
                piece = data[start : start + room]
                self._pending += piece
                start += len(piece)
                if len(self._pending) < MAX_LINE:
                    return
            else:
                self._pending += data[start:end]
                start = end + 1
            line = self._pending.decode("latin-1").rstrip("\r")
            self._pending.clear()
            yield line
