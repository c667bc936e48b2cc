"""Numbers, times and GUIDs as text and fields.

Sources: nf-wdm-rtlintegertounicodestring, nf-wdm-rtlunicodestringtointeger, nf-wdm-rtltimetotimefields,
nf-wdm-rtltimefieldstotime, nf-wdm-rtlguidfromstring, nf-wdm-rtlstringfromguid, nf-ntddk-rtlrandomex.
"""

from __future__ import annotations

import datetime
import struct
import uuid
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import need_irql
from harness.reference.kernel.rtl_strings import put_string, string_text
from harness.reference.kernel.text import ansi_encode, read_ansi_z, wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["digits_of", "parse_integer"]

_EPOCH: Final = datetime.datetime(1601, 1, 1)
_BASES: Final = (0, 2, 8, 10, 16)
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_GUID_TAG: Final = int.from_bytes(b"GUID", "little")


def _in_base(value: int, base: int) -> str:
    if value == 0:
        return "0"
    digits = []
    while value:
        value, digit = divmod(value, base)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def _to_unicode(m: Machine, value: int, base: int, string: int) -> int:
    if base not in _BASES:
        return NTSTATUS.INVALID_PARAMETER
    raw = wide_encode(_in_base(value, base or 10))
    if len(raw) > m.memory.u16(string + 2):
        return NTSTATUS.BUFFER_OVERFLOW
    buffer = m.memory.ptr(string + m.memory.pointer_size)
    m.memory.write(buffer, raw)
    m.memory.put_u16(string, len(raw))
    if len(raw) + 2 <= m.memory.u16(string + 2):
        m.memory.put_u16(buffer + len(raw), 0)
    return NTSTATUS.SUCCESS


@export("RtlIntegerToUnicodeString", args="ulong, ulong, ptr")
def rtl_integer_to_unicode_string(m: Machine, value: int, base: int, string: int) -> int:
    need_irql(m, 0, "RtlIntegerToUnicodeString", "nf-wdm-rtlintegertounicodestring")
    return _to_unicode(m, value, base, string)


@export("RtlInt64ToUnicodeString", args="ulonglong, ulong, ptr")
def rtl_int64_to_unicode_string(m: Machine, value: int, base: int, string: int) -> int:
    need_irql(m, 0, "RtlInt64ToUnicodeString", "nf-wdm-rtlint64tounicodestring")
    return _to_unicode(m, value, base, string)


def parse_integer(text: str, base: int) -> int | None:
    """What RtlUnicodeStringToInteger reads: blanks, sign, a 0x/0o/0b prefix for base 0. None: a bad base."""
    if base not in _BASES:
        return None
    text = text.lstrip("".join(map(chr, range(1, 33))))
    negative = text.startswith("-")
    if text[:1] in ("+", "-"):
        text = text[1:]
    if base == 0:
        base = {"0x": 16, "0o": 8, "0b": 2}.get(text[:2].lower(), 10)
        if base != 10:
            text = text[2:]
    value = 0
    for char in text.upper():
        digit = _DIGITS.find(char)
        if not 0 <= digit < base:
            break
        value = value * base + digit
    return (-value if negative else value) & 0xFFFFFFFF


@export("RtlUnicodeStringToInteger", args="ptr, ulong, ptr")
def rtl_unicode_string_to_integer(m: Machine, string: int, base: int, out: int) -> int:
    need_irql(m, 0, "RtlUnicodeStringToInteger", "nf-wdm-rtlunicodestringtointeger")
    value = parse_integer(string_text(m, string), base)
    if value is None:
        return NTSTATUS.INVALID_PARAMETER
    m.memory.put_u32(out, value)
    return NTSTATUS.SUCCESS


@export("RtlCharToInteger", args="ptr, ulong, ptr")
def rtl_char_to_integer(m: Machine, text: int, base: int, out: int) -> int:
    value = parse_integer(read_ansi_z(m.memory, text).decode("latin-1"), base)
    if value is None:
        return NTSTATUS.INVALID_PARAMETER
    m.memory.put_u32(out, value)
    return NTSTATUS.SUCCESS


@export("RtlTimeToTimeFields", args="ptr, ptr")
def rtl_time_to_time_fields(m: Machine, time: int, fields: int) -> None:
    """TIME_FIELDS: year, month, day, hour, minute, second, milliseconds, weekday (0 is Sunday)."""
    ticks = m.memory.u64(time)
    days, rest = divmod(ticks, 864_000_000_000)
    date = _EPOCH + datetime.timedelta(days=min(days, 3_067_670))
    milliseconds = rest // 10_000
    second, milliseconds = divmod(milliseconds, 1000)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    m.memory.write(
        fields,
        struct.pack(
            "<8h",
            date.year,
            date.month,
            date.day,
            hour,
            minute,
            second,
            milliseconds,
            (date.weekday() + 1) % 7,
        ),
    )


@export("RtlTimeFieldsToTime", args="ptr, ptr")
def rtl_time_fields_to_time(m: Machine, fields: int, time: int) -> int:
    year, month, day, hour, minute, second, milliseconds, _ = struct.unpack("<8h", m.memory.read(fields, 16))
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second)
    except ValueError:
        return 0
    if year < 1601 or not 0 <= milliseconds < 1000:
        return 0
    delta = moment - _EPOCH
    m.memory.put_u64(time, (delta.days * 86400 + delta.seconds) * 10_000_000 + milliseconds * 10_000)
    return 1


@export("RtlTimeToSecondsSince1970", args="ptr, ptr")
def rtl_time_to_seconds_since_1970(m: Machine, time: int, seconds: int) -> int:
    value = m.memory.u64(time) // 10_000_000 - 11_644_473_600
    if not 0 <= value <= 0xFFFFFFFF:
        return 0
    m.memory.put_u32(seconds, value)
    return 1


@export("RtlGUIDFromString", args="ptr, ptr")
def rtl_guid_from_string(m: Machine, string: int, guid: int) -> int:
    need_irql(m, 0, "RtlGUIDFromString", "nf-wdm-rtlguidfromstring")
    text = string_text(m, string)
    parts = text[1:-1].split("-")
    if len(text) != 38 or text[0] != "{" or text[-1] != "}" or [len(p) for p in parts] != [8, 4, 4, 4, 12]:
        return NTSTATUS.INVALID_PARAMETER
    try:
        m.memory.write(guid, uuid.UUID(text).bytes_le)
    except ValueError:
        return NTSTATUS.INVALID_PARAMETER
    return NTSTATUS.SUCCESS


@export("RtlStringFromGUID", args="ptr, ptr")
def rtl_string_from_guid(m: Machine, guid: int, string: int) -> int:
    need_irql(m, 0, "RtlStringFromGUID", "nf-wdm-rtlstringfromguid")
    raw = wide_encode("{" + str(uuid.UUID(bytes_le=m.memory.read(guid, 16))).upper() + "}")
    buffer = m.pool.alloc(len(raw) + 2, _GUID_TAG, paged=True, zero=True)
    m.memory.write(buffer, raw)
    put_string(m, string, len(raw), len(raw) + 2, buffer)
    return NTSTATUS.SUCCESS


@export("RtlRandom", args="ptr")
def rtl_random(m: Machine, seed: int) -> int:
    value = (m.memory.u32(seed) * 0x7FFFFFED + 0x7FFFFFC3) % 0x7FFFFFFF
    m.memory.put_u32(seed, value)
    return value


@export("RtlRandomEx", args="ptr")
def rtl_random_ex(m: Machine, seed: int) -> int:
    return rtl_random(m, seed)


def _ansi_number(m: Machine, address: int) -> int:
    text = read_ansi_z(m.memory, address).decode("latin-1").strip()
    digits = text.lstrip("+-")
    stop = next((i for i, char in enumerate(digits) if not char.isdigit()), len(digits))
    value = int(digits[:stop] or "0")
    return -value if text.startswith("-") else value


@export("atoi", args="ptr", cc="cdecl")
def crt_atoi(m: Machine, text: int) -> int:
    return _ansi_number(m, text)


@export("atol", args="ptr", cc="cdecl")
def crt_atol(m: Machine, text: int) -> int:
    return _ansi_number(m, text)


def digits_of(value: int, base: int, bits: int) -> str:
    """A number as _itoa writes it: with a sign to base 10 only, else as unsigned, in lower case.

    Empty for a base that is none.
    """
    if not 2 <= base <= len(_DIGITS):
        return ""
    if value < 0 and base == 10:
        return "-" + _in_base(-value, base)
    return _in_base(value & (1 << bits) - 1, base).lower()


@export("_itoa", args="long, ptr, ulong", cc="cdecl")
def crt_itoa(m: Machine, value: int, out: int, base: int) -> int:
    m.memory.write(out, ansi_encode(digits_of(value, base, 32)) + b"\0")
    return out


@export("_itow", args="long, ptr, ulong", cc="cdecl")
def crt_itow(m: Machine, value: int, out: int, base: int) -> int:
    m.memory.write(out, wide_encode(digits_of(value, base, 32) + "\0"))
    return out
