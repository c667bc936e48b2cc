"""Altitudes for the harness's own filters.

Integer altitudes are assigned by Microsoft and owners append fractions (B-REG-34). Tests use fractions of
integers in the activity monitor group (360000-389999), with a fraction that no product uses, and say so here.
"""

from __future__ import annotations

from typing import Final

from harness.errors import UsageError

__all__ = ["FRACTION", "HIGH", "LOW", "MIDDLE", "MONITOR", "altitudes"]

FRACTION: Final = "7301"
HIGH: Final = f"380020.{FRACTION}"
MIDDLE: Final = f"380010.{FRACTION}"
LOW: Final = f"380000.{FRACTION}"
#: Where `Probe.add_monitor` begins to look for a free altitude: above the three.
MONITOR: Final = f"380900.{FRACTION}"

_TOP: Final = 380_800
_STEP: Final = 10


def altitudes(count: int) -> tuple[str, ...]:
    """`count` test altitudes from high to low."""
    if not 0 <= count <= (_TOP - 380_000) // _STEP:
        raise UsageError(f"{count} altitudes; a stack has at most {(_TOP - 380_000) // _STEP}")
    return tuple(f"{_TOP - _STEP * index}.{FRACTION}" for index in range(count))
