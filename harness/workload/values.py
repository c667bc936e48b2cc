"""Python values as registry values and back.

str is REG_SZ with its NUL, int REG_DWORD (REG_QWORD above 32 bits), bytes REG_BINARY, a list or tuple of str
REG_MULTI_SZ; `TypedValue` says both type and bytes for everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import UsageError
from harness.registry.valuetypes import ValueType

__all__ = ["RegistryValue", "TypedValue", "decode_text", "encode_text", "encode_value", "python_value"]


@dataclass(frozen=True, slots=True)
class TypedValue:
    """A value as it is stored: type number and bytes. `data` None is a NULL pointer."""

    type: int
    data: bytes | None


RegistryValue = str | int | bytes | Sequence[str] | TypedValue | None


def encode_text(text: str) -> bytes:
    """UTF-16-LE without a terminator; unpaired surrogates stay as they are."""
    return text.encode("utf-16-le", "surrogatepass")


def decode_text(raw: bytes) -> str:
    """Inverse of `encode_text`; a last odd byte is dropped."""
    return raw[: len(raw) & ~1].decode("utf-16-le", "surrogatepass")


def encode_value(value: RegistryValue, type: int | None = None) -> TypedValue:
    """Type and bytes to write for `value`; `type` overrides the type that the Python type implies.

    With a string type (REG_EXPAND_SZ, REG_LINK, ...) a str is encoded for it: REG_LINK has no NUL
    (B-CRE-22). None is a NULL pointer of REG_NONE. Raises `UsageError` for what can't be stored.
    """
    match value:
        case TypedValue():
            return value if type is None else TypedValue(type, value.data)
        case None:
            return TypedValue(ValueType.NONE if type is None else type, None)
        case bool():
            raise UsageError("a registry value can't be a bool; write 0 or 1")
        case str():
            kind = ValueType.SZ if type is None else type
            return TypedValue(kind, encode_text(value if kind == ValueType.LINK else value + "\0"))
        case int():
            return _encode_integer(value, type)
        case bytes() | bytearray() | memoryview():
            return TypedValue(ValueType.BINARY if type is None else type, bytes(value))
        case Sequence():
            text = "".join(f"{item}\0" for item in value if isinstance(item, str)) + "\0"
            if all(isinstance(item, str) for item in value):
                return TypedValue(ValueType.MULTI_SZ if type is None else type, encode_text(text))
    raise UsageError(
        f"{value!r} is no registry value; use str, int, bytes, a list of str or TypedValue(type, data)"
    )


def _encode_integer(value: int, type: int | None) -> TypedValue:
    wide = type == ValueType.QWORD or (type is None and value > 0xFFFF_FFFF)
    size = 8 if wide else 4
    if not 0 <= value < 1 << 8 * size:
        raise UsageError(f"{value} doesn't fit an unsigned {8 * size}-bit registry value")
    kind = (ValueType.QWORD if wide else ValueType.DWORD) if type is None else type
    return TypedValue(kind, value.to_bytes(size, "big" if kind == ValueType.DWORD_BIG_ENDIAN else "little"))


def python_value(type: int, data: bytes) -> str | int | bytes | tuple[str, ...]:
    """The Python value of stored bytes; the bytes where the type has no other form or the size is odd."""
    if type in (ValueType.SZ, ValueType.EXPAND_SZ, ValueType.LINK) and len(data) % 2 == 0:
        return decode_text(data).removesuffix("\0")
    if type == ValueType.MULTI_SZ and len(data) % 2 == 0:
        text = decode_text(data)
        return tuple(text.removesuffix("\0").removesuffix("\0").split("\0")) if text.strip("\0") else ()
    if type in (ValueType.DWORD, ValueType.DWORD_BIG_ENDIAN) and len(data) == 4:
        return int.from_bytes(data, "big" if type == ValueType.DWORD_BIG_ENDIAN else "little")
    if type == ValueType.QWORD and len(data) == 8:
        return int.from_bytes(data, "little")
    return data
