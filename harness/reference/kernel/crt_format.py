"""printf formatting with the Microsoft rules, over arguments that lie in guest memory.

Sources: "Format specification syntax: printf and wprintf functions", nf-wdm-dbgprint (the additional
%wZ and %Z, and that floating point is not supported by DbgPrint).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from harness.reference.kernel.text import ansi_decode, read_ansi_z, read_wide_z, wide_decode

if TYPE_CHECKING:
    from harness.reference.memory import Memory

__all__ = ["Arguments", "format_text"]

_SPEC: Final = re.compile(
    r"%(?P<flags>[-+ #0]*)(?P<width>\*|\d+)?(?:\.(?P<precision>\*|\d*))?"
    r"(?P<size>I64|I32|I|hh|h|ll|l|w|L|j|z|t)?(?P<type>.)",
    re.DOTALL,
)
_MAX_FIELD: Final = 1 << 16  # a wild width must not eat the host's memory


class Arguments(Protocol):
    """Variadic arguments, taken in order."""

    def ptr(self) -> int:
        """The next pointer-sized slot."""

    def u64(self) -> int:
        """The next 64-bit integer: one slot on x64, two on x86."""


@dataclass(frozen=True, slots=True)
class _Spec:
    flags: str
    width: int
    precision: int | None
    size: str
    type: str


def format_text(memory: Memory, template: str, args: Arguments, *, wide: bool) -> str:
    """Format `template`. `wide`: the wide functions, in which %s is UTF-16 and %S is ANSI.

    Raises `GuestFault` where an argument points nowhere, as the real formatter would fault.
    """
    out: list[str] = []
    at = 0
    while True:
        start = template.find("%", at)
        if start < 0:
            out.append(template[at:])
            return "".join(out)
        out.append(template[at:start])
        if template.startswith("%%", start):
            out.append("%")
            at = start + 2
            continue
        match = _SPEC.match(template, start)
        if match is None:  # a lone % at the end
            return "".join(out)
        out.append(_convert(memory, _spec(match, args), args, wide))
        at = match.end()


def _spec(match: re.Match[str], args: Arguments) -> _Spec:
    flags = match["flags"]
    width = 0
    if match["width"] == "*":
        width = _signed(args.ptr(), 32)
        if width < 0:
            flags += "-"
            width = -width
    elif match["width"]:
        width = int(match["width"])
    precision: int | None = None
    if match["precision"] == "*":
        precision = _signed(args.ptr(), 32)
        if precision < 0:
            precision = None
    elif match["precision"] is not None:
        precision = int(match["precision"] or "0")
    if precision is not None:
        precision = min(precision, _MAX_FIELD)
    return _Spec(flags, min(width, _MAX_FIELD), precision, match["size"] or "", match["type"])


def _signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _integer(memory: Memory, spec: _Spec, args: Arguments) -> tuple[int, int]:
    """The raw value and its width in bits."""
    if spec.size in ("I64", "ll", "j", "L"):
        return args.u64() & 0xFFFFFFFFFFFFFFFF, 64
    if spec.size in ("I", "z", "t"):
        bits = memory.pointer_size * 8
        return args.ptr() & ((1 << bits) - 1), bits
    bits = {"h": 16, "hh": 8}.get(spec.size, 32)
    return args.ptr() & ((1 << bits) - 1), bits


def _convert(memory: Memory, spec: _Spec, args: Arguments, wide: bool) -> str:
    kind = spec.type
    if kind in "di":
        value, bits = _integer(memory, spec, args)
        return _number(spec, _signed(value, bits), 10)
    if kind in "uoxX":
        value, _bits = _integer(memory, spec, args)
        return _number(spec, value, {"u": 10, "o": 8}.get(kind, 16), unsigned=True)
    if kind == "p":
        digits = memory.pointer_size * 2
        return _pad(spec, f"{args.ptr():0{digits}X}")
    if kind in "cC":
        return _pad(spec, _character(spec, args.ptr(), wide))
    if kind in "sS":
        return _pad(spec, _string(memory, spec, args.ptr(), wide))
    if kind == "Z":
        return _pad(spec, _counted(memory, spec, args.ptr()))
    if kind in "eEfFgGaA":
        return _pad(spec, _real(spec, args.u64()), zero=True)
    return kind  # an unknown type character is printed as it stands


def _number(spec: _Spec, value: int, base: int, *, unsigned: bool = False) -> str:
    magnitude = abs(value)
    digits = f"{magnitude:o}" if base == 8 else f"{magnitude:x}" if base == 16 else str(magnitude)
    if spec.type == "X":
        digits = digits.upper()
    if spec.precision is not None:
        digits = "" if spec.precision == 0 and value == 0 else digits.rjust(spec.precision, "0")
    sign = (
        ""
        if unsigned
        else "-"
        if value < 0
        else "+"
        if "+" in spec.flags
        else " "
        if " " in spec.flags
        else ""
    )
    if "#" in spec.flags and base == 16 and value:
        sign = "0x" if spec.type == "x" else "0X"
    elif "#" in spec.flags and base == 8 and not digits.startswith("0"):
        digits = "0" + digits
    if "0" in spec.flags and "-" not in spec.flags and spec.precision is None:
        digits = digits.rjust(spec.width - len(sign), "0")
    return _pad(spec, sign + digits)


def _pad(spec: _Spec, text: str, *, zero: bool = False) -> str:
    if "-" in spec.flags:
        return text.ljust(spec.width)
    if zero and "0" in spec.flags:
        sign = text[:1] if text[:1] in "+-" else ""
        return sign + text[len(sign) :].rjust(spec.width - len(sign), "0")
    return text.rjust(spec.width)


def _is_wide(spec: _Spec, wide: bool) -> bool:
    if spec.size in ("l", "w", "ll"):
        return True
    if spec.size in ("h", "hh"):
        return False
    return wide if spec.type.islower() else not wide


def _character(spec: _Spec, value: int, wide: bool) -> str:
    if _is_wide(spec, wide):
        return wide_decode((value & 0xFFFF).to_bytes(2, "little"))
    return ansi_decode(bytes((value & 0xFF,)))


def _string(memory: Memory, spec: _Spec, address: int, wide: bool) -> str:
    limit = {} if spec.precision is None else {"limit": spec.precision}
    if address == 0:
        return "(null)"[: spec.precision]
    if spec.precision == 0:
        return ""
    if _is_wide(spec, wide):
        return read_wide_z(memory, address, **limit)
    return ansi_decode(read_ansi_z(memory, address, **limit))


def _counted(memory: Memory, spec: _Spec, address: int) -> str:
    if address == 0:
        return "(null)"
    length = memory.u16(address)
    buffer = memory.ptr(address + memory.pointer_size)
    if buffer == 0:
        return "(null)"
    raw = memory.read(buffer, length) if length else b""
    text = wide_decode(raw) if spec.size in ("w", "l") else ansi_decode(raw)
    return text if spec.precision is None else text[: spec.precision]


def _real(spec: _Spec, raw: int) -> str:
    value: float = struct.unpack("<d", raw.to_bytes(8, "little"))[0]
    sign = "+" if "+" in spec.flags else " " if " " in spec.flags else ""
    if spec.type in "aA":
        text = value.hex()
        return text.upper() if spec.type == "A" else text
    precision = 6 if spec.precision is None else min(spec.precision, 350)
    alternate = "#" if "#" in spec.flags else ""
    text = f"{value:{sign}{alternate}.{precision}{spec.type}}"
    if spec.type in "eE":  # the Microsoft runtime of the kernel writes three exponent digits
        mantissa, mark, exponent = text.partition(spec.type)
        text = f"{mantissa}{mark}{exponent[0]}{exponent[1:].rjust(3, '0')}" if mark else text
    return text
