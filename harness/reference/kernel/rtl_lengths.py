"""How long converted text will be, and conversions without a counted string.

Sources: nf-ntifs-rtlunicodetomultibytesize, nf-ntifs-rtlmultibytetounicodesize,
nf-ntifs-rtlupcaseunicodetomultibyten, nf-ntifs-rtlvalidateunicodestring (Flags 0), ntifs.h RtlIntegerToChar,
nf-ip2string-rtlipv4addresstostringw.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.text import ansi_decode, ansi_encode, upcase, wide_decode, wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_DIGITS: Final = "0123456789ABCDEF"
_BASES: Final = (2, 8, 10, 16)


@export("RtlUnicodeToMultiByteSize", args="ptr, ptr, ulong")
def rtl_unicode_to_multi_byte_size(m: Machine, out: int, source: int, size: int) -> int:
    text = wide_decode(m.memory.read(source, size)) if size else ""
    m.memory.put_u32(out, len(ansi_encode(text)))
    return NTSTATUS.SUCCESS


@export("RtlMultiByteToUnicodeSize", args="ptr, ptr, ulong")
def rtl_multi_byte_to_unicode_size(m: Machine, out: int, source: int, size: int) -> int:
    text = ansi_decode(m.memory.read(source, size)) if size else ""
    m.memory.put_u32(out, len(wide_encode(text)))
    return NTSTATUS.SUCCESS


@export("RtlUpcaseUnicodeToMultiByteN", args="ptr, ulong, ptr, ptr, ulong")
def rtl_upcase_unicode_to_multi_byte_n(
    m: Machine, out: int, limit: int, done: int, source: int, size: int
) -> int:
    text = wide_decode(m.memory.read(source, size)) if size else ""
    raw = ansi_encode(upcase(text))[:limit]
    if raw:
        m.memory.write(out, raw)
    if done:
        m.memory.put_u32(done, len(raw))
    return NTSTATUS.SUCCESS


@export("RtlValidateUnicodeString", args="ulong, ptr", since=(5, 1))
def rtl_validate_unicode_string(m: Machine, flags: int, string: int) -> int:
    if flags:
        return NTSTATUS.INVALID_PARAMETER
    if not string:
        return NTSTATUS.SUCCESS
    length, maximum, buffer = m.memory.unicode_string(string)
    odd = length & 1 or maximum & 1 or length > maximum
    return NTSTATUS.INVALID_PARAMETER if odd or (maximum and not buffer) else NTSTATUS.SUCCESS


@export("RtlIntegerToChar", args="ulong, ulong, long, ptr")
def rtl_integer_to_char(m: Machine, value: int, base: int, length: int, out: int) -> int:
    """Terminated where there is room; base 0 is 10."""
    base = base or 10
    if base not in _BASES:
        return NTSTATUS.INVALID_PARAMETER
    text = ""
    while value or not text:
        value, digit = divmod(value, base)
        text = _DIGITS[digit] + text
    if len(text) > length:
        return NTSTATUS.BUFFER_OVERFLOW
    m.memory.write(out, (text + "\0")[:length].encode())
    return NTSTATUS.SUCCESS


@export("RtlIpv4AddressToStringW", args="ptr, ptr", since=(6, 0))
def rtl_ipv4_address_to_string_w(m: Machine, address: int, out: int) -> int:
    """The address of the terminating zero."""
    text = str(ipaddress.IPv4Address(m.memory.read(address, 4)))
    m.memory.write(out, wide_encode(text + "\0"))
    return out + 2 * len(text)


@export("RtlIpv4AddressToStringA", args="ptr, ptr", since=(6, 0))
def rtl_ipv4_address_to_string_a(m: Machine, address: int, out: int) -> int:
    text = str(ipaddress.IPv4Address(m.memory.read(address, 4)))
    m.memory.write(out, text.encode() + b"\0")
    return out + len(text)
