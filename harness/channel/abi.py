"""The runner's protocol in Python, read from driver-src/abi/regrun.h itself."""

from __future__ import annotations

from functools import cache
from typing import Final

from harness.cheader import CHeader

__all__ = ["HEADER", "constant", "frame_layout", "header_constants"]

HEADER: Final = CHeader("regrun.h")

constant = HEADER.constant


def header_constants() -> dict[str, int]:
    """Every numeric #define of the header by name."""
    return HEADER.constants


@cache
def frame_layout() -> tuple[str, tuple[str, ...]]:
    """`struct` format and field names of REGRUN_FRAME, in order; little-endian without padding."""
    letters = {1: "B", 2: "H", 4: "I", 8: "Q"}
    fields = HEADER.structure("REGRUN_FRAME").fields
    return "<" + "".join(letters[len(field.type)] for field in fields.values()), tuple(fields)
