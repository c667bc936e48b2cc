"""Altitudes: decimal numbers of any length held as text, ordered by value (B-REG-07, B-REG-08)."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from harness.errors import UsageError

__all__ = ["Altitude", "is_altitude"]

_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+", re.ASCII)


def is_altitude(text: str) -> bool:
    """Whether text is a decimal number; the behaviour of anything else is unspecified (B-REG-09)."""
    return _DECIMAL.fullmatch(text) is not None


@functools.total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Altitude:
    """An altitude. Keeps its text; compares and hashes by numeric value, to any number of digits."""

    text: str

    def __post_init__(self) -> None:
        if not is_altitude(self.text):
            raise UsageError(
                f"{self.text[:64]!r} is not an altitude; write a decimal number such as '380010.5'"
            )

    @property
    def key(self) -> tuple[int, str, str]:
        """Sorts like the number: length of the integer part, integer digits, fraction digits."""
        whole, _, fraction = self.text.partition(".")
        whole = whole.lstrip("0")
        return (len(whole), whole, fraction.rstrip("0"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Altitude) and self.key == other.key

    def __lt__(self, other: Altitude) -> bool:
        return self.key < other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        return self.text
