"""Text as drivers see it: UTF-16 units and the system's ANSI code page (1252)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.reference.memory import Memory

__all__ = [
    "ansi_decode",
    "ansi_encode",
    "downcase",
    "read_ansi_z",
    "read_wide_z",
    "units",
    "upcase",
    "upcase_unit",
    "wide_decode",
    "wide_encode",
]

_CHUNK = 64


def wide_encode(text: str) -> bytes:
    """UTF-16-LE bytes; unpaired surrogates pass through, as they do in Windows."""
    return text.encode("utf-16-le", "surrogatepass")


def wide_decode(raw: bytes) -> str:
    """Text of UTF-16-LE bytes; an odd last byte is dropped."""
    return raw[: len(raw) & ~1].decode("utf-16-le", "surrogatepass")


def units(text: str) -> int:
    """Length in UTF-16 units."""
    return len(wide_encode(text)) // 2


def ansi_encode(text: str) -> bytes:
    """Bytes in code page 1252; `?` for what it lacks (the default character)."""
    return text.encode("cp1252", "replace")


def ansi_decode(raw: bytes) -> str:
    """Text of code page 1252 bytes; the five undefined bytes map to the C1 control of the same number."""
    try:
        return raw.decode("cp1252")
    except UnicodeDecodeError:
        return "".join(_one_ansi(byte) for byte in raw)


def _one_ansi(byte: int) -> str:
    try:
        return bytes((byte,)).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


def upcase_unit(unit: int) -> int:
    """RtlUpcaseUnicodeChar: simple one-to-one mapping of a UTF-16 unit; surrogates map to themselves."""
    if unit < 0x80:
        return unit - 32 if 0x61 <= unit <= 0x7A else unit
    upper = chr(unit).upper() if not 0xD800 <= unit <= 0xDFFF else ""
    # U+0131 and U+017F are the two letters whose simple upper case is ASCII; Windows leaves them alone.
    if len(upper) == 1 and 0x80 <= ord(upper) <= 0xFFFF:
        return ord(upper)
    return unit


def upcase(text: str) -> str:
    """Upper case as the name comparisons of the kernel use it: unit by unit, length kept."""
    if text.isascii():
        return text.upper()
    return "".join(chr(upcase_unit(ord(c))) if ord(c) <= 0xFFFF else c for c in text)


def downcase(text: str) -> str:
    """Lower case, one-to-one."""
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := c.lower()) == 1 and ord(c) <= 0xFFFF else c for c in text)


def read_ansi_z(memory: Memory, address: int, limit: int = 1 << 20) -> bytes:
    """Bytes up to a terminating zero, at most `limit`. Raises `GuestFault` where memory ends first."""
    out = bytearray()
    while len(out) < limit:
        size = min(_CHUNK, limit - len(out), 0x1000 - ((address + len(out)) & 0xFFF))
        raw = memory.read(address + len(out), size)
        end = raw.find(0)
        if end >= 0:
            return bytes(out + raw[:end])
        out += raw
    return bytes(out)


def read_wide_z(memory: Memory, address: int, limit: int = 1 << 19) -> str:
    """UTF-16 text up to a terminating zero unit, at most `limit` units. Raises `GuestFault`."""
    out = bytearray()
    while len(out) < limit * 2:
        here = address + len(out)
        size = min(_CHUNK, limit * 2 - len(out), (0x1000 - (here & 0xFFF)) & ~1 or 2)
        raw = memory.read(here, size)
        for index in range(0, len(raw), 2):
            if raw[index] == 0 and raw[index + 1] == 0:
                return wide_decode(bytes(out + raw[:index]))
        out += raw
    return wide_decode(bytes(out))
