"""The probe's ABI in Python, read from driver-src/abi/regprobe.h itself.

dissect.cstruct parses the header; from its fields (names, offsets, sizes) come the NumPy dtypes that decode
replies and events, and the writer of requests. Nothing here repeats a number of the header.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from harness.cheader import CHeader
from harness.errors import InfrastructureError, UsageError

__all__ = ["DEVICE", "HEADER", "Record", "constant", "dtype", "record"]

#: The probe's control device.
DEVICE: Final = r"\\.\RegProbe"

HEADER: Final = CHeader("regprobe.h")

constant = HEADER.constant


class _Member(NamedTuple):
    """A field of a structure in plain numbers: asking a dtype for them takes longer than packing."""

    offset: int
    size: int
    is_array: bool
    is_signed: bool


@dataclass(frozen=True, slots=True)
class Record:
    """One structure of the header: its dtype and how to write and read it."""

    name: str
    dtype: np.dtype[Any]
    members: dict[str, _Member]

    @property
    def size(self) -> int:
        """Bytes of the structure, trailing padding included."""
        return self.dtype.itemsize

    def offset(self, field: str) -> int:
        """Offset of a field in bytes."""
        return self._member(field).offset

    def pack(self, **values: int | bytes) -> bytes:
        """The structure with these fields set and everything else zero.

        Integers go into scalar fields, bytes into array fields (from their start). `abi_version` and `size`
        are filled in where the structure has them. Raises `UsageError` for what does not fit.
        """
        raw = bytearray(self.size)
        if self.dtype.names is not None and self.dtype.names[:2] == ("abi_version", "size"):
            values.setdefault("abi_version", constant("REGPROBE_ABI_VERSION"))
            values.setdefault("size", self.size)
        for field, value in values.items():
            offset, size, _, is_signed = self._member(field)
            if isinstance(value, int):
                bits = 8 * size
                # A status is signed in the header and unsigned everywhere else.
                if not -(1 << (bits - 1)) <= value < 1 << bits or (value < 0 and not is_signed):
                    raise UsageError(f"{self.name}.{field} can't hold {value:#x}: it has {bits} bits")
                raw[offset : offset + size] = (value & ((1 << bits) - 1)).to_bytes(size, "little")
            else:
                if len(value) > size:
                    raise UsageError(
                        f"{self.name}.{field} holds {size} bytes at most, {len(value)} were given"
                    )
                raw[offset : offset + len(value)] = value
        return bytes(raw)

    def unpack(self, raw: bytes) -> dict[str, Any]:
        """Scalars as int, arrays as bytes. Raises `InfrastructureError` for a short record."""
        if len(raw) < self.size:
            raise InfrastructureError(
                f"the probe answered {len(raw)} bytes of {self.name}, which has {self.size}; "
                "driver and harness may be of different builds: rebuild the driver (harness driver build)"
            )
        out: dict[str, Any] = {}
        for field, (offset, size, is_array, is_signed) in self.members.items():
            piece = raw[offset : offset + size]
            out[field] = piece if is_array else int.from_bytes(piece, "little", signed=is_signed)
        return out

    def _member(self, field: str) -> _Member:
        found = self.members.get(field)
        if found is None:
            raise UsageError(f"{self.name} has no field {field}")
        return found


@cache
def record(name: str) -> Record:
    """A structure of the header by name, e.g. ``REGPROBE_EVENT``."""
    kind = _dtype_of(HEADER.structure(name))
    return Record(name, kind, _members(kind))


def _members(kind: np.dtype[Any]) -> dict[str, _Member]:
    """The fields of a structure in the order of the header."""
    fields: Any = kind.fields
    found: dict[str, _Member] = {}
    for name in kind.names or ():
        field, offset = fields[name][:2]
        found[name] = _Member(int(offset), field.itemsize, bool(field.shape), field.kind == "i")
    return found


def dtype(name: str) -> np.dtype[Any]:
    """The NumPy dtype of a structure, nested structures included."""
    return record(name).dtype


def _dtype_of(kind: Any) -> np.dtype[Any]:
    """dtype of a cstruct type: structures by their fields' offsets, arrays with a shape, integers."""
    if hasattr(kind, "fields"):
        fields = kind.fields
        return np.dtype(
            {
                "names": list(fields),
                "formats": [_dtype_of(field.type) for field in fields.values()],
                "offsets": [field.offset for field in fields.values()],
                "itemsize": len(kind),
            }
        )
    entries = getattr(kind, "num_entries", None)
    if entries is not None:
        return np.dtype((_dtype_of(kind.type), (int(entries),)))
    letter = "i" if not kind.__name__.startswith("u") else "u"
    return np.dtype(f"<{letter}{len(kind)}")
