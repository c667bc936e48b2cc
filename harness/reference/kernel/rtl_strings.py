"""Counted strings: Rtl*UnicodeString and Rtl*AnsiString.

Sources: nf-wdm-rtlinitunicodestring, nf-wdm-rtlcopyunicodestring, nf-wdm-rtlappendunicodestringtostring,
nf-wdm-rtlcompareunicodestring, nf-ntddk-rtlprefixunicodestring, nf-wdm-rtlunicodestringtoansistring and
the pages of their siblings. The pageable ones are made for PASSIVE_LEVEL, as their pages say; see
`need_irql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import need_irql
from harness.reference.kernel.text import (
    ansi_decode,
    ansi_encode,
    downcase,
    read_ansi_z,
    read_wide_z,
    upcase,
    upcase_unit,
    wide_decode,
    wide_encode,
)
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["convert", "converted_n", "put_string", "string_bytes", "string_text"]

_TAG: Final = int.from_bytes(b"Strg", "little")
_MAX_BYTES: Final = 0xFFFE


def string_bytes(m: Machine, address: int) -> bytes:
    """The bytes a UNICODE_STRING or ANSI_STRING counts."""
    length = m.memory.u16(address)
    if length == 0:
        return b""
    return m.memory.read(m.memory.ptr(address + m.memory.pointer_size), length)


def string_text(m: Machine, address: int) -> str:
    """The text of a UNICODE_STRING."""
    return wide_decode(string_bytes(m, address))


def put_string(m: Machine, address: int, length: int, maximum: int, buffer: int) -> None:
    """Write the three members of a counted string."""
    m.memory.put_u16(address, length)
    m.memory.put_u16(address + 2, maximum)
    m.memory.put_ptr(address + m.memory.pointer_size, buffer)


def _buffer(m: Machine, address: int) -> int:
    return m.memory.ptr(address + m.memory.pointer_size)


@export("RtlInitUnicodeString", args="ptr, ptr")
def rtl_init_unicode_string(m: Machine, string: int, source: int) -> None:
    length = min(len(wide_encode(read_wide_z(m.memory, source))), _MAX_BYTES - 2) if source else 0
    put_string(m, string, length, length + 2 if source else 0, source)


@export("RtlInitUnicodeStringEx", args="ptr, ptr")
def rtl_init_unicode_string_ex(m: Machine, string: int, source: int) -> int:
    length = len(wide_encode(read_wide_z(m.memory, source))) if source else 0
    if length > _MAX_BYTES - 2:
        return NTSTATUS.NAME_TOO_LONG
    put_string(m, string, length, length + 2 if source else 0, source)
    return NTSTATUS.SUCCESS


@export("RtlInitAnsiString", args="ptr, ptr")
def rtl_init_ansi_string(m: Machine, string: int, source: int) -> None:
    length = min(len(read_ansi_z(m.memory, source)), 0xFFFE) if source else 0
    put_string(m, string, length, length + 1 if source else 0, source)


@export("RtlInitString", args="ptr, ptr")
def rtl_init_string(m: Machine, string: int, source: int) -> None:
    rtl_init_ansi_string(m, string, source)


@export("RtlCopyUnicodeString", args="ptr, ptr")
def rtl_copy_unicode_string(m: Machine, target: int, source: int) -> None:
    if source == 0:
        m.memory.put_u16(target, 0)
        return
    maximum = m.memory.u16(target + 2)
    raw = string_bytes(m, source)[:maximum]
    if raw:
        m.memory.write(_buffer(m, target), raw)
    m.memory.put_u16(target, len(raw))
    if len(raw) + 2 <= maximum:
        m.memory.put_u16(_buffer(m, target) + len(raw), 0)


@export("RtlCopyString", args="ptr, ptr")
def rtl_copy_string(m: Machine, target: int, source: int) -> None:
    raw = string_bytes(m, source)[: m.memory.u16(target + 2)] if source else b""
    if raw:
        m.memory.write(_buffer(m, target), raw)
    m.memory.put_u16(target, len(raw))


def _append(m: Machine, target: int, raw: bytes) -> int:
    length = m.memory.u16(target)
    maximum = m.memory.u16(target + 2)
    if length + len(raw) > maximum:
        return NTSTATUS.BUFFER_TOO_SMALL
    buffer = _buffer(m, target)
    if raw:
        m.memory.write(buffer + length, raw)
        m.memory.put_u16(target, length + len(raw))
        if length + len(raw) + 2 <= maximum:
            m.memory.put_u16(buffer + length + len(raw), 0)
    return NTSTATUS.SUCCESS


@export("RtlAppendUnicodeStringToString", args="ptr, ptr")
def rtl_append_unicode_string_to_string(m: Machine, target: int, source: int) -> int:
    return _append(m, target, string_bytes(m, source))


@export("RtlAppendUnicodeToString", args="ptr, ptr")
def rtl_append_unicode_to_string(m: Machine, target: int, source: int) -> int:
    return _append(m, target, wide_encode(read_wide_z(m.memory, source)) if source else b"")


def _units(raw: bytes, ignore_case: int) -> list[int]:
    values = [raw[i] | raw[i + 1] << 8 for i in range(0, len(raw) & ~1, 2)]
    return [upcase_unit(value) for value in values] if ignore_case & 0xFF else values


@export("RtlCompareUnicodeString", args="ptr, ptr, uchar")
def rtl_compare_unicode_string(m: Machine, first: int, second: int, ignore_case: int) -> int:
    need_irql(m, 0, "RtlCompareUnicodeString", "nf-wdm-rtlcompareunicodestring")
    a = _units(string_bytes(m, first), ignore_case)
    b = _units(string_bytes(m, second), ignore_case)
    for left, right in zip(a, b, strict=False):
        if left != right:
            return left - right
    return len(a) - len(b)


def equal_unicode(m: Machine, first: int, second: int, ignore_case: int) -> bool:
    a, b = string_bytes(m, first), string_bytes(m, second)
    if len(a) != len(b):
        return False
    return a == b or (bool(ignore_case & 0xFF) and upcase(wide_decode(a)) == upcase(wide_decode(b)))


@export("RtlEqualUnicodeString", args="ptr, ptr, uchar")
def rtl_equal_unicode_string(m: Machine, first: int, second: int, ignore_case: int) -> int:
    need_irql(m, 0, "RtlEqualUnicodeString", "nf-wdm-rtlequalunicodestring")
    return int(equal_unicode(m, first, second, ignore_case))


@export("RtlPrefixUnicodeString", args="ptr, ptr, uchar")
def rtl_prefix_unicode_string(m: Machine, first: int, second: int, ignore_case: int) -> int:
    need_irql(m, 0, "RtlPrefixUnicodeString", "nf-ntddk-rtlprefixunicodestring")
    a, b = string_bytes(m, first), string_bytes(m, second)
    return int(_units(a, ignore_case) == _units(b[: len(a)], ignore_case))


@export("RtlSuffixUnicodeString", args="ptr, ptr, uchar", since=(10, 0, 15063))
def rtl_suffix_unicode_string(m: Machine, first: int, second: int, ignore_case: int) -> int:
    a, b = string_bytes(m, first), string_bytes(m, second)
    return int(len(a) <= len(b) and _units(a, ignore_case) == _units(b[len(b) - len(a) :], ignore_case))


@export("RtlHashUnicodeString", args="ptr, uchar, ulong, ptr")
def rtl_hash_unicode_string(m: Machine, string: int, ignore_case: int, algorithm: int, out: int) -> int:
    """HASH_STRING_ALGORITHM_X65599 (1) is also the default (0); nothing else is defined."""
    if string == 0 or out == 0:
        return NTSTATUS.INVALID_PARAMETER
    if algorithm not in (0, 1):
        return NTSTATUS.INVALID_PARAMETER
    value = 0
    for unit in _units(string_bytes(m, string), ignore_case):
        value = (value * 65599 + unit) & 0xFFFFFFFF
    m.memory.put_u32(out, value)
    return NTSTATUS.SUCCESS


def _allocate(m: Machine, size: int) -> int:
    return m.pool.alloc(max(size, 1), _TAG, paged=True, zero=True)


def convert(m: Machine, target: int, raw: bytes, allocate: int, terminator: int) -> int:
    """Store converted text in `target`, in a buffer of its own when asked."""
    if len(raw) + terminator > 0xFFFF:
        return NTSTATUS.INVALID_PARAMETER_2
    if allocate & 0xFF:
        buffer = _allocate(m, len(raw) + terminator)
        put_string(m, target, len(raw), len(raw) + terminator, buffer)
    else:
        # The page asks for room for the text; the terminator is written where it fits.
        if len(raw) > m.memory.u16(target + 2):
            return NTSTATUS.BUFFER_OVERFLOW
        buffer = _buffer(m, target)
        m.memory.put_u16(target, len(raw))
    if raw:
        m.memory.write(buffer, raw)
    if len(raw) + terminator <= m.memory.u16(target + 2):
        m.memory.write(buffer + len(raw), bytes(terminator))
    return NTSTATUS.SUCCESS


@export("RtlUnicodeStringToAnsiString", args="ptr, ptr, uchar")
def rtl_unicode_string_to_ansi_string(m: Machine, target: int, source: int, allocate: int) -> int:
    need_irql(m, 0, "RtlUnicodeStringToAnsiString", "nf-wdm-rtlunicodestringtoansistring")
    return convert(m, target, ansi_encode(string_text(m, source)), allocate, 1)


@export("RtlUnicodeStringToUTF8String", args="ptr, ptr, uchar", since=(10, 0, 19041))
def rtl_unicode_string_to_utf8_string(m: Machine, target: int, source: int, allocate: int) -> int:
    return convert(m, target, string_text(m, source).encode("utf-8", "replace"), allocate, 1)


@export("RtlAnsiStringToUnicodeString", args="ptr, ptr, uchar")
def rtl_ansi_string_to_unicode_string(m: Machine, target: int, source: int, allocate: int) -> int:
    need_irql(m, 0, "RtlAnsiStringToUnicodeString", "nf-wdm-rtlansistringtounicodestring")
    return convert(m, target, wide_encode(ansi_decode(string_bytes(m, source))), allocate, 2)


def _unicode_size(m: Machine, string: int) -> int:
    need_irql(m, 0, "RtlxAnsiStringToUnicodeSize", "nf-ntddk-rtlxansistringtounicodesize")
    return m.memory.u16(string) * 2 + 2


@export("RtlxAnsiStringToUnicodeSize", args="ptr")
def rtlx_ansi_string_to_unicode_size(m: Machine, string: int) -> int:
    return _unicode_size(m, string)


@export("RtlxUnicodeStringToAnsiSize", args="ptr")
def rtlx_unicode_string_to_ansi_size(m: Machine, string: int) -> int:
    return len(ansi_encode(string_text(m, string))) + 1


def _mapped(m: Machine, target: int, source: int, allocate: int, text: str) -> int:
    raw = wide_encode(text)
    if allocate & 0xFF:
        put_string(m, target, len(raw), len(raw), _allocate(m, len(raw)))
    elif len(raw) > m.memory.u16(target + 2):
        return NTSTATUS.BUFFER_OVERFLOW
    else:
        m.memory.put_u16(target, len(raw))
    if raw:
        m.memory.write(_buffer(m, target), raw)
    return NTSTATUS.SUCCESS


@export("RtlUpcaseUnicodeString", args="ptr, ptr, uchar")
def rtl_upcase_unicode_string(m: Machine, target: int, source: int, allocate: int) -> int:
    need_irql(m, 0, "RtlUpcaseUnicodeString", "nf-ntifs-rtlupcaseunicodestring")
    return _mapped(m, target, source, allocate, upcase(string_text(m, source)))


@export("RtlDowncaseUnicodeString", args="ptr, ptr, uchar")
def rtl_downcase_unicode_string(m: Machine, target: int, source: int, allocate: int) -> int:
    need_irql(m, 0, "RtlDowncaseUnicodeString", "nf-ntifs-rtldowncaseunicodestring")
    return _mapped(m, target, source, allocate, downcase(string_text(m, source)))


@export("RtlUpcaseUnicodeChar", args="ushort")
def rtl_upcase_unicode_char(m: Machine, unit: int) -> int:
    return upcase_unit(unit & 0xFFFF)


@export("RtlDowncaseUnicodeChar", args="ushort")
def rtl_downcase_unicode_char(m: Machine, unit: int) -> int:
    unit &= 0xFFFF
    if 0xD800 <= unit <= 0xDFFF:
        return unit
    return ord(downcase(chr(unit)))


@export("RtlUpperChar", args="uchar")
def rtl_upper_char(m: Machine, char: int) -> int:
    char &= 0xFF
    return char - 32 if 0x61 <= char <= 0x7A else char


@export("RtlUpperString", args="ptr, ptr")
def rtl_upper_string(m: Machine, target: int, source: int) -> None:
    raw = string_bytes(m, source)[: m.memory.u16(target + 2)]
    m.memory.put_u16(target, len(raw))
    if raw:
        m.memory.write(_buffer(m, target), raw.upper())


@export("RtlCompareString", args="ptr, ptr, uchar")
def rtl_compare_string(m: Machine, first: int, second: int, ignore_case: int) -> int:
    a, b = string_bytes(m, first), string_bytes(m, second)
    if ignore_case & 0xFF:
        a, b = a.upper(), b.upper()
    for left, right in zip(a, b, strict=False):
        if left != right:
            return left - right
    return len(a) - len(b)


@export("RtlEqualString", args="ptr, ptr, uchar")
def rtl_equal_string(m: Machine, first: int, second: int, ignore_case: int) -> int:
    a, b = string_bytes(m, first), string_bytes(m, second)
    return int(a.upper() == b.upper() if ignore_case & 0xFF else a == b)


def _free(m: Machine, string: int) -> None:
    buffer = _buffer(m, string)
    if buffer:
        m.pool.free(buffer, None)
        put_string(m, string, 0, 0, 0)


@export("RtlFreeUnicodeString", args="ptr")
def rtl_free_unicode_string(m: Machine, string: int) -> None:
    need_irql(m, 0, "RtlFreeUnicodeString", "nf-wdm-rtlfreeunicodestring")
    _free(m, string)


@export("RtlFreeAnsiString", args="ptr")
def rtl_free_ansi_string(m: Machine, string: int) -> None:
    need_irql(m, 0, "RtlFreeAnsiString", "nf-wdm-rtlfreeansistring")
    _free(m, string)


@export("RtlFreeUTF8String", args="ptr", since=(10, 0, 19041))
def rtl_free_utf8_string(m: Machine, string: int) -> None:
    _free(m, string)


@export("RtlCreateUnicodeString", args="ptr, ptr")
def rtl_create_unicode_string(m: Machine, target: int, source: int) -> int:
    raw = wide_encode(read_wide_z(m.memory, source)) + b"\0\0"
    buffer = _allocate(m, len(raw))
    m.memory.write(buffer, raw)
    put_string(m, target, len(raw) - 2, len(raw), buffer)
    return 1


@export("RtlDuplicateUnicodeString", args="ulong, ptr, ptr", since=(5, 1))
def rtl_duplicate_unicode_string(m: Machine, flags: int, source: int, target: int) -> int:
    """Flags: 1 NULL_TERMINATE, 2 ALLOCATE_NULL_STRING (needs the first)."""
    if flags & ~3 or flags == 2:
        return NTSTATUS.INVALID_PARAMETER
    raw = string_bytes(m, source)
    if not raw and not flags & 2:
        put_string(m, target, 0, 0, 0)
        return NTSTATUS.SUCCESS
    size = len(raw) + (2 if flags & 1 else 0)
    buffer = _allocate(m, size)
    if raw:
        m.memory.write(buffer, raw)
    put_string(m, target, len(raw), size, buffer)
    return NTSTATUS.SUCCESS


@export("RtlMultiByteToUnicodeN", args="ptr, ulong, ptr, ptr, ulong")
def rtl_multi_byte_to_unicode_n(m: Machine, out: int, limit: int, done: int, source: int, size: int) -> int:
    raw = wide_encode(ansi_decode(m.memory.read(source, size)) if size else "")[: limit & ~1]
    if raw:
        m.memory.write(out, raw)
    if done:
        m.memory.put_u32(done, len(raw))
    return NTSTATUS.SUCCESS


@export("RtlUnicodeToMultiByteN", args="ptr, ulong, ptr, ptr, ulong")
def rtl_unicode_to_multi_byte_n(m: Machine, out: int, limit: int, done: int, source: int, size: int) -> int:
    raw = ansi_encode(wide_decode(m.memory.read(source, size)) if size else "")[:limit]
    if raw:
        m.memory.write(out, raw)
    if done:
        m.memory.put_u32(done, len(raw))
    return NTSTATUS.SUCCESS


@export("RtlUTF8ToUnicodeN", args="ptr, ulong, ptr, ptr, ulong", since=(6, 1))
def rtl_utf8_to_unicode_n(m: Machine, out: int, limit: int, done: int, source: int, size: int) -> int:
    raw = wide_encode(m.memory.read(source, size).decode("utf-8", "replace") if size else "")
    return converted_n(m, out, limit, done, raw)


@export("RtlUnicodeToUTF8N", args="ptr, ulong, ptr, ptr, ulong", since=(6, 1))
def rtl_unicode_to_utf8_n(m: Machine, out: int, limit: int, done: int, source: int, size: int) -> int:
    raw = (wide_decode(m.memory.read(source, size)) if size else "").encode("utf-8", "replace")
    return converted_n(m, out, limit, done, raw)


def converted_n(m: Machine, out: int, limit: int, done: int, raw: bytes) -> int:
    if done:
        m.memory.put_u32(done, len(raw) if not out else min(len(raw), limit))
    if not out:
        return NTSTATUS.SUCCESS
    if raw[:limit]:
        m.memory.write(out, raw[:limit])
    return NTSTATUS.BUFFER_TOO_SMALL if len(raw) > limit else NTSTATUS.SUCCESS
