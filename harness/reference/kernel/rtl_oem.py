"""Strings in the OEM character set (code page 437), and counted ANSI strings appended to one another.

Sources: nf-ntifs-rtlunicodestringtooemstring, nf-ntifs-rtloemstringtounicodestring, nf-ntifs-
rtlfreeoemstring, nf-ntddk-rtlappendstringtostring, nf-wdm-rtlutf8stringtounicodestring.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.rtl_strings import (
    convert,
    converted_n,
    put_string,
    rtl_free_unicode_string,
    string_bytes,
    string_text,
)
from harness.reference.kernel.text import read_ansi_z, upcase, wide_decode, wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_OEM: Final = "cp437"
_UTF8: Final = (10, 0, 19041)
_MOST: Final = 0xFFFE


def _oem(text: str) -> bytes:
    return text.encode(_OEM, "replace")


@export("RtlUnicodeStringToOemString", args="ptr, ptr, uchar")
def rtl_unicode_string_to_oem_string(m: Machine, target: int, source: int, allocate: int) -> int:
    return convert(m, target, _oem(string_text(m, source)), allocate, 1)


@export("RtlUpcaseUnicodeStringToOemString", args="ptr, ptr, uchar")
def rtl_upcase_unicode_string_to_oem_string(m: Machine, target: int, source: int, allocate: int) -> int:
    return convert(m, target, _oem(upcase(string_text(m, source))), allocate, 1)


@export("RtlOemStringToUnicodeString", args="ptr, ptr, uchar")
def rtl_oem_string_to_unicode_string(m: Machine, target: int, source: int, allocate: int) -> int:
    return convert(m, target, wide_encode(string_bytes(m, source).decode(_OEM)), allocate, 2)


@export("RtlFreeOemString", args="ptr")
def rtl_free_oem_string(m: Machine, string: int) -> None:
    rtl_free_unicode_string(m, string)


@export("RtlxUnicodeStringToOemSize", args="ptr")
def rtlx_unicode_string_to_oem_size(m: Machine, string: int) -> int:
    return m.memory.u16(string) // 2 + 1


@export("RtlxOemStringToUnicodeSize", args="ptr")
def rtlx_oem_string_to_unicode_size(m: Machine, string: int) -> int:
    return m.memory.u16(string) * 2 + 2


@export("RtlUnicodeToOemN", args="ptr, ulong, ptr, ptr, ulong")
def rtl_unicode_to_oem_n(m: Machine, out: int, limit: int, done: int, source: int, size: int) -> int:
    return converted_n(m, out, limit, done, _oem(wide_decode(m.memory.read(source, size)) if size else ""))


@export("RtlOemToUnicodeN", args="ptr, ulong, ptr, ptr, ulong")
def rtl_oem_to_unicode_n(m: Machine, out: int, limit: int, done: int, source: int, size: int) -> int:
    text = m.memory.read(source, size).decode(_OEM) if size else ""
    return converted_n(m, out, limit, done, wide_encode(text))


# -- counted strings of bytes ------------------------------------------------------------------------------


@export("RtlAppendStringToString", args="ptr, ptr")
def rtl_append_string_to_string(m: Machine, target: int, source: int) -> int:
    raw, length = string_bytes(m, source), m.memory.u16(target)
    if length + len(raw) > m.memory.u16(target + 2):
        return NTSTATUS.BUFFER_TOO_SMALL
    if raw:
        m.memory.write(m.memory.ptr(target + m.memory.pointer_size) + length, raw)
        m.memory.put_u16(target, length + len(raw))
    return NTSTATUS.SUCCESS


@export("RtlInitAnsiStringEx", args="ptr, ptr")
@export("RtlInitUTF8StringEx", args="ptr, ptr", since=_UTF8)
def rtl_init_ansi_string_ex(m: Machine, string: int, source: int) -> int:
    length = len(read_ansi_z(m.memory, source)) if source else 0
    if length > _MOST:
        return NTSTATUS.NAME_TOO_LONG
    put_string(m, string, length, length + 1 if source else 0, source)
    return NTSTATUS.SUCCESS


@export("RtlInitUTF8String", args="ptr, ptr", since=_UTF8)
def rtl_init_utf8_string(m: Machine, string: int, source: int) -> None:
    rtl_init_ansi_string_ex(m, string, source)


@export("RtlUTF8StringToUnicodeString", args="ptr, ptr, uchar", since=_UTF8)
def rtl_utf8_string_to_unicode_string(m: Machine, target: int, source: int, allocate: int) -> int:
    return convert(m, target, wide_encode(string_bytes(m, source).decode("utf-8", "replace")), allocate, 2)
