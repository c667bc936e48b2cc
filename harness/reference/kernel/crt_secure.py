"""The C runtime's routines that know how large their target is (``_s``), which ntoskrnl exports.

Source: the C runtime reference, "Security Features in the CRT". There is no invalid parameter handler in the
kernel: a bad call returns its error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.rtl_numbers import digits_of
from harness.reference.kernel.text import read_ansi_z, read_wide_z, wide_encode

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_SINCE: Final = (6, 0)
_EINVAL: Final = 22
_ERANGE: Final = 34
_STRUNCATE: Final = 80
_NARROW: Final = 1
_WIDE: Final = 2


def _text(m: Machine, address: int, unit: int) -> bytes:
    return read_ansi_z(m.memory, address) if unit == _NARROW else wide_encode(read_wide_z(m.memory, address))


def _copy(m: Machine, target: int, size: int, raw: bytes, unit: int, *, truncate: bool = False) -> int:
    """Put `raw` and a terminator into a target of `size` characters."""
    if not target or not size:
        return _EINVAL
    if len(raw) + unit <= size * unit:
        m.memory.write(target, raw + bytes(unit))
        return 0
    if truncate:
        m.memory.write(target, raw[: (size - 1) * unit] + bytes(unit))
        return _STRUNCATE
    m.memory.write(target, bytes(unit))
    return _ERANGE


def _copy_text(m: Machine, target: int, size: int, source: int, unit: int) -> int:
    if not source:
        if target and size:
            m.memory.write(target, bytes(unit))
        return _EINVAL
    return _copy(m, target, size, _text(m, source, unit), unit)


def _copy_counted(
    m: Machine, target: int, size: int, source: int, count: int, unit: int, before: bytes
) -> int:
    """At most `count` characters of `source` behind `before`; with _TRUNCATE what there is room for."""
    if not source:
        return _EINVAL if count else _copy(m, target, size, before, unit)
    truncate = count == (1 << 8 * m.memory.pointer_size) - 1
    raw = _text(m, source, unit)
    return _copy(
        m, target, size, before + (raw if truncate else raw[: count * unit]), unit, truncate=truncate
    )


@export("wcscpy_s", args="ptr, size, ptr", cc="cdecl", since=_SINCE)
def crt_wcscpy_s(m: Machine, target: int, size: int, source: int) -> int:
    return _copy_text(m, target, size, source, _WIDE)


@export("strcpy_s", args="ptr, size, ptr", cc="cdecl", since=_SINCE)
def crt_strcpy_s(m: Machine, target: int, size: int, source: int) -> int:
    return _copy_text(m, target, size, source, _NARROW)


@export("wcscat_s", args="ptr, size, ptr", cc="cdecl", since=_SINCE)
def crt_wcscat_s(m: Machine, target: int, size: int, source: int) -> int:
    if not target or not source:
        return _EINVAL
    return _copy(m, target, size, _text(m, target, _WIDE) + _text(m, source, _WIDE), _WIDE)


@export("strcat_s", args="ptr, size, ptr", cc="cdecl", since=_SINCE)
def crt_strcat_s(m: Machine, target: int, size: int, source: int) -> int:
    if not target or not source:
        return _EINVAL
    return _copy(m, target, size, _text(m, target, _NARROW) + _text(m, source, _NARROW), _NARROW)


@export("wcsncpy_s", args="ptr, size, ptr, size", cc="cdecl", since=_SINCE)
def crt_wcsncpy_s(m: Machine, target: int, size: int, source: int, count: int) -> int:
    return _copy_counted(m, target, size, source, count, _WIDE, b"")


@export("strncpy_s", args="ptr, size, ptr, size", cc="cdecl", since=_SINCE)
def crt_strncpy_s(m: Machine, target: int, size: int, source: int, count: int) -> int:
    return _copy_counted(m, target, size, source, count, _NARROW, b"")


@export("wcsncat_s", args="ptr, size, ptr, size", cc="cdecl", since=_SINCE)
def crt_wcsncat_s(m: Machine, target: int, size: int, source: int, count: int) -> int:
    before = _text(m, target, _WIDE) if target else b""
    return _copy_counted(m, target, size, source, count, _WIDE, before)


@export("strncat_s", args="ptr, size, ptr, size", cc="cdecl", since=_SINCE)
def crt_strncat_s(m: Machine, target: int, size: int, source: int, count: int) -> int:
    before = _text(m, target, _NARROW) if target else b""
    return _copy_counted(m, target, size, source, count, _NARROW, before)


@export("strtok_s", args="ptr, ptr, ptr", cc="cdecl", since=_SINCE)
def crt_strtok_s(m: Machine, text: int, delimiters: int, context: int) -> int:
    """The next piece of the text, cut off in place; where to go on is kept in `*context`."""
    memory = m.memory
    start = text or memory.ptr(context)
    raw, stops = read_ansi_z(memory, start), read_ansi_z(memory, delimiters)
    begin = len(raw) - len(raw.lstrip(stops))
    if begin == len(raw):
        memory.put_ptr(context, start + len(raw))
        return 0
    end = next((at for at in range(begin, len(raw)) if raw[at] in stops), len(raw))
    if end < len(raw):
        memory.put_u8(start + end, 0)
    memory.put_ptr(context, start + min(end + 1, len(raw)))
    return start + begin


@export("memcpy_s", args="ptr, size, ptr, size", cc="cdecl", since=_SINCE)
def crt_memcpy_s(m: Machine, target: int, room: int, source: int, size: int) -> int:
    if not size:
        return 0
    if size > room or not source:
        m.memory.fill(target, room)
        return _ERANGE if source else _EINVAL
    m.memory.write(target, m.memory.read(source, size))
    return 0


@export("memmove_s", args="ptr, size, ptr, size", cc="cdecl", since=_SINCE)
def crt_memmove_s(m: Machine, target: int, room: int, source: int, size: int) -> int:
    """Unlike memcpy_s it leaves the target as it is when it fails."""
    if not size:
        return 0
    if not target or not source:
        return _EINVAL
    if size > room:
        return _ERANGE
    m.memory.write(target, m.memory.read(source, size))
    return 0


def _number(m: Machine, text: str, out: int, size: int, unit: int) -> int:
    if not text:
        return _EINVAL
    raw = text.encode() if unit == _NARROW else wide_encode(text)
    return _copy(m, out, size, raw, unit)


@export("_itoa_s", args="long, ptr, size, ulong", cc="cdecl", since=_SINCE)
@export("_ltoa_s", args="long, ptr, size, ulong", cc="cdecl", since=_SINCE)
def crt_itoa_s(m: Machine, value: int, out: int, size: int, base: int) -> int:
    return _number(m, digits_of(value, base, 32), out, size, _NARROW)


@export("_itow_s", args="long, ptr, size, ulong", cc="cdecl", since=_SINCE)
@export("_ltow_s", args="long, ptr, size, ulong", cc="cdecl", since=_SINCE)
def crt_itow_s(m: Machine, value: int, out: int, size: int, base: int) -> int:
    return _number(m, digits_of(value, base, 32), out, size, _WIDE)


@export("_ultoa_s", args="ulong, ptr, size, ulong", cc="cdecl", since=_SINCE)
def crt_ultoa_s(m: Machine, value: int, out: int, size: int, base: int) -> int:
    return _number(m, digits_of(value, base, 32), out, size, _NARROW)


@export("_ultow_s", args="ulong, ptr, size, ulong", cc="cdecl", since=_SINCE)
def crt_ultow_s(m: Machine, value: int, out: int, size: int, base: int) -> int:
    return _number(m, digits_of(value, base, 32), out, size, _WIDE)


@export("_i64toa_s", args="longlong, ptr, size, ulong", cc="cdecl", since=_SINCE)
def crt_i64toa_s(m: Machine, value: int, out: int, size: int, base: int) -> int:
    return _number(m, digits_of(value, base, 64), out, size, _NARROW)


@export("_i64tow_s", args="longlong, ptr, size, ulong", cc="cdecl", since=_SINCE)
def crt_i64tow_s(m: Machine, value: int, out: int, size: int, base: int) -> int:
    return _number(m, digits_of(value, base, 64), out, size, _WIDE)


@export("_ui64toa_s", args="ulonglong, ptr, size, ulong", cc="cdecl", since=_SINCE)
def crt_ui64toa_s(m: Machine, value: int, out: int, size: int, base: int) -> int:
    return _number(m, digits_of(value, base, 64), out, size, _NARROW)


@export("_ui64tow_s", args="ulonglong, ptr, size, ulong", cc="cdecl", since=_SINCE)
def crt_ui64tow_s(m: Machine, value: int, out: int, size: int, base: int) -> int:
    return _number(m, digits_of(value, base, 64), out, size, _WIDE)
