"""The debug output of drivers, and the model's own remarks about what a driver did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = ["DebugLog"]

_MAX_LINES: Final = 20_000


@dataclass(slots=True)
class DebugLog:
    """Lines as drivers wrote them. A text without a line feed continues the line before it."""

    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    dropped: int = 0
    _partial: str = ""

    def write(self, text: str) -> None:
        """Text from DbgPrint and its kind."""
        pieces = (self._partial + text).replace("\r\n", "\n").split("\n")
        self._partial = pieces.pop()
        if len(self._partial) > 4096:
            pieces.append(self._partial)
            self._partial = ""
        room = _MAX_LINES - len(self.lines)
        self.dropped += max(0, len(pieces) - room)
        self.lines += pieces[:room]

    def note(self, text: str) -> None:
        """A remark of the model; shown between the driver's lines."""
        self.notes.append(text)
        self.write(f"[reference guest] {text}\n")

    def take(self) -> list[str]:
        """The lines since the last call, with a last one that has no line feed yet."""
        lines, self.lines = self.lines, []
        if self._partial:
            lines.append(self._partial)
            self._partial = ""
        if self.dropped:
            lines.append(f"[reference guest] {self.dropped} more lines were dropped")
            self.dropped = 0
        return lines
