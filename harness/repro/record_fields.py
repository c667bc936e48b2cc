"""Fields of the probe's records (driver-src/abi/regprobe.h) in the types they have."""

from __future__ import annotations

from harness.repro.scenario import Values

__all__ = ["data", "number", "text"]


def number(values: Values, name: str) -> int:
    value = values[name]
    assert isinstance(value, int)
    return value


def text(values: Values, name: str) -> str:
    """A text, of the length that stands beside it."""
    return _used(values, name).decode("utf-16-le", "surrogatepass")


def data(values: Values) -> bytes:
    """`data`, of the length that stands beside it."""
    return _used(values, "data")


def _used(values: Values, name: str) -> bytes:
    raw = values[name]
    assert isinstance(raw, bytes)
    return raw[: number(values, f"{name}_length")]
