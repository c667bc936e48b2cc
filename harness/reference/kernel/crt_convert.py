"""Conversions between numbers, wide and narrow text, as the C runtime in the kernel has them.

Source: the C runtime reference of each routine. Values that do not fit are cut to the ends of their range.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.text import (
    ansi_decode,
    ansi_encode,
    read_ansi_z,
    read_wide_z,
    wide_encode,
)

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_NUMBER: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9A-Za-z]*)")
_ERROR: Final = -1


def _parse(text: str, base: int) -> tuple[int, int]:
    """The number a text begins with, and how many characters of it were read (0: there is none)."""
    found = _NUMBER.match(text)
    assert found is not None  # everything in it is optional
    digits, start = found[2].lower(), found.start(2)
    if base in (0, 16) and digits.startswith("0x") and digits[2:3] in set("0123456789abcdef"):
        digits, start, base = digits[2:], start + 2, 16
    elif base == 0:
        base = 8 if digits.startswith("0") else 10
    count = 0
    while count < len(digits) and int(digits[count], 36) < base:
        count += 1
    if not count:
        return 0, 0
    value = int(digits[:count], base)
    return -value if found[1] == "-" else value, start + count


@export("_wtoi", args="ptr", cc="cdecl")
@export("_wtol", args="ptr", cc="cdecl")
def crt_wtoi(m: Machine, text: int) -> int:
    value, _read = _parse(read_wide_z(m.memory, text), 10)
    return max(-0x80000000, min(0x7FFFFFFF, value)) & 0xFFFFFFFF


@export("wcstoul", args="ptr, ptr, long", cc="cdecl")
def crt_wcstoul(m: Machine, text: int, end: int, base: int) -> int:
    value, read = _parse(read_wide_z(m.memory, text), base)
    if end:
        m.memory.put_ptr(end, text + 2 * read)
    return 0xFFFFFFFF if value > 0xFFFFFFFF else value & 0xFFFFFFFF


@export("strspn", args="ptr, ptr", cc="cdecl")
def crt_strspn(m: Machine, text: int, accepted: int) -> int:
    raw, wanted = read_ansi_z(m.memory, text), read_ansi_z(m.memory, accepted)
    return len(raw) - len(raw.lstrip(wanted)) if wanted else 0


@export("mbstowcs", args="ptr, ptr, size", cc="cdecl")
def crt_mbstowcs(m: Machine, target: int, source: int, count: int) -> int:
    """Characters written without the terminator; with a NULL target, how many there would be."""
    raw = wide_encode(ansi_decode(read_ansi_z(m.memory, source)))
    if not target:
        return len(raw) // 2
    m.memory.write(target, (raw + b"\0\0")[: 2 * count])
    return min(len(raw) // 2, count)


@export("wcstombs", args="ptr, ptr, size", cc="cdecl")
def crt_wcstombs(m: Machine, target: int, source: int, count: int) -> int:
    """Bytes written without the terminator, or -1 for a character outside the code page."""
    text = read_wide_z(m.memory, source)
    raw = ansi_encode(text)
    if ansi_decode(raw) != text:
        return _ERROR & (1 << 8 * m.memory.pointer_size) - 1
    if not target:
        return len(raw)
    m.memory.write(target, (raw + b"\0")[:count])
    return min(len(raw), count)
