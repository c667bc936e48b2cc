"""The runner's protocol in Python, read from driver-src/abi/regrun.h itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from dissect.cstruct import cstruct

from harness.errors import InfrastructureError, UsageError

__all__ = ["constant", "find_header", "frame_layout", "header_constants"]

_PACKAGE = Path(__file__).resolve().parent


def find_header() -> Path:
    """The header: shipped inside an installed package, beside it in a checkout.

    Raises `InfrastructureError` when it is in neither place.
    """
    places = (_PACKAGE / "regrun.h", _PACKAGE.parents[1] / "driver-src" / "abi" / "regrun.h")
    for place in places:
        if place.is_file():
            return place
    listed = " nor ".join(str(place) for place in places)
    raise InfrastructureError(f"the runner's protocol header is neither {listed}; reinstall the package")


@cache
def _header() -> Any:
    parsed = cstruct(endian="<")
    parsed.load(find_header().read_text(encoding="utf-8"), align=True)
    return parsed


@cache
def constant(name: str) -> int:
    """Value of a #define of the header. Raises `UsageError` when there is none."""
    value = _header().consts.get(name)
    if not isinstance(value, int):
        raise UsageError(f"regrun.h defines no {name}")
    return value


def header_constants() -> dict[str, int]:
    """Every numeric #define of the header by name."""
    return {name: value for name, value in _header().consts.items() if isinstance(value, int)}


@cache
def frame_layout() -> tuple[str, tuple[str, ...]]:
    """`struct` format and field names of REGRUN_FRAME, in order; little-endian without padding."""
    letters = {1: "B", 2: "H", 4: "I", 8: "Q"}
    fields = _header().typedefs["REGRUN_FRAME"].fields
    return "<" + "".join(letters[len(field.type)] for field in fields.values()), tuple(fields)
