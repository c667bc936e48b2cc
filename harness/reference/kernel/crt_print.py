"""The C runtime's printf family, and DbgPrint with its relatives.

Sources: nf-wdm-dbgprint, nf-wdm-dbgprintex, nf-wdm-vdbgprintex, and the C runtime reference of
_snprintf, _snwprintf, _vsnwprintf, swprintf, sprintf_s and their family.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import VarArgs, export
from harness.reference.kernel.crt_format import Arguments, format_text
from harness.reference.kernel.text import ansi_decode, ansi_encode, read_ansi_z, read_wide_z, wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

#: DbgPrint sends at most this many bytes at a time (nf-wdm-dbgprint).
_DBG_LIMIT: Final = 512
_MINUS_ONE: Final = -1


def _narrow(m: Machine, fmt: int, args: Arguments) -> bytes:
    return ansi_encode(format_text(m.memory, ansi_decode(read_ansi_z(m.memory, fmt)), args, wide=False))


def _wide(m: Machine, fmt: int, args: Arguments) -> bytes:
    return wide_encode(format_text(m.memory, read_wide_z(m.memory, fmt), args, wide=True))


def _unbounded(m: Machine, out: int, raw: bytes, unit: int) -> int:
    m.memory.write(out, raw + bytes(unit))
    return len(raw) // unit


def _counted(m: Machine, out: int, count: int, raw: bytes, unit: int) -> int:
    """_snprintf rules: no terminator when it does not fit, -1 when text was cut."""
    room = count * unit
    if len(raw) > room:
        if room:
            m.memory.write(out, raw[:room])
        return _MINUS_ONE
    m.memory.write(out, raw + bytes(unit) if len(raw) < room else raw)
    return len(raw) // unit


def _secure(m: Machine, out: int, size: int, raw: bytes, unit: int) -> int:
    """sprintf_s rules: an empty string and -1 when the text does not fit."""
    if not out or not size:
        return _MINUS_ONE
    if len(raw) + unit > size * unit:
        m.memory.write(out, bytes(unit))
        return _MINUS_ONE
    return _unbounded(m, out, raw, unit)


def _truncating(m: Machine, out: int, size: int, count: int, raw: bytes, unit: int) -> int:
    """_vsnprintf_s rules: `count` may be _TRUNCATE (-1)."""
    limit = (1 << (8 * m.memory.pointer_size)) - 1
    if not out or not size:
        return _MINUS_ONE
    cut = raw if count in (limit, 0xFFFFFFFF) else raw[: count * unit]
    if len(cut) + unit > size * unit:
        if count not in (limit, 0xFFFFFFFF):
            m.memory.write(out, bytes(unit))
            return _MINUS_ONE
        cut = cut[: (size - 1) * unit]
    m.memory.write(out, cut + bytes(unit))
    return _MINUS_ONE if len(cut) < len(raw) else len(raw) // unit


@export("sprintf", args="ptr, ptr, va", cc="cdecl")
def crt_sprintf(m: Machine, out: int, fmt: int, va: Arguments) -> int:
    return _unbounded(m, out, _narrow(m, fmt, va), 1)


@export("swprintf", args="ptr, ptr, va", cc="cdecl")
@export("_swprintf", args="ptr, ptr, va", cc="cdecl")
def crt_swprintf(m: Machine, out: int, fmt: int, va: Arguments) -> int:
    """The kernel's swprintf has no size parameter."""
    return _unbounded(m, out, _wide(m, fmt, va), 2)


@export("vsprintf", args="ptr, ptr, ptr", cc="cdecl")
def crt_vsprintf(m: Machine, out: int, fmt: int, va_list: int) -> int:
    return _unbounded(m, out, _narrow(m, fmt, VarArgs(m, va_list)), 1)


@export("_snprintf", args="ptr, size, ptr, va", cc="cdecl")
def crt_snprintf(m: Machine, out: int, count: int, fmt: int, va: Arguments) -> int:
    return _counted(m, out, count, _narrow(m, fmt, va), 1)


@export("_snwprintf", args="ptr, size, ptr, va", cc="cdecl")
def crt_snwprintf(m: Machine, out: int, count: int, fmt: int, va: Arguments) -> int:
    return _counted(m, out, count, _wide(m, fmt, va), 2)


@export("_vsnprintf", args="ptr, size, ptr, ptr", cc="cdecl")
def crt_vsnprintf(m: Machine, out: int, count: int, fmt: int, va_list: int) -> int:
    return _counted(m, out, count, _narrow(m, fmt, VarArgs(m, va_list)), 1)


@export("_vsnwprintf", args="ptr, size, ptr, ptr", cc="cdecl")
def crt_vsnwprintf(m: Machine, out: int, count: int, fmt: int, va_list: int) -> int:
    return _counted(m, out, count, _wide(m, fmt, VarArgs(m, va_list)), 2)


@export("sprintf_s", args="ptr, size, ptr, va", cc="cdecl", since=(6, 0))
def crt_sprintf_s(m: Machine, out: int, size: int, fmt: int, va: Arguments) -> int:
    return _secure(m, out, size, _narrow(m, fmt, va), 1)


@export("swprintf_s", args="ptr, size, ptr, va", cc="cdecl", since=(6, 0))
def crt_swprintf_s(m: Machine, out: int, size: int, fmt: int, va: Arguments) -> int:
    return _secure(m, out, size, _wide(m, fmt, va), 2)


@export("vsprintf_s", args="ptr, size, ptr, ptr", cc="cdecl", since=(6, 0))
def crt_vsprintf_s(m: Machine, out: int, size: int, fmt: int, va_list: int) -> int:
    return _secure(m, out, size, _narrow(m, fmt, VarArgs(m, va_list)), 1)


@export("vswprintf_s", args="ptr, size, ptr, ptr", cc="cdecl", since=(6, 0))
def crt_vswprintf_s(m: Machine, out: int, size: int, fmt: int, va_list: int) -> int:
    return _secure(m, out, size, _wide(m, fmt, VarArgs(m, va_list)), 2)


@export("_snprintf_s", args="ptr, size, size, ptr, va", cc="cdecl", since=(6, 0))
def crt_snprintf_s(m: Machine, out: int, size: int, count: int, fmt: int, va: Arguments) -> int:
    return _truncating(m, out, size, count, _narrow(m, fmt, va), 1)


@export("_snwprintf_s", args="ptr, size, size, ptr, va", cc="cdecl", since=(6, 0))
def crt_snwprintf_s(m: Machine, out: int, size: int, count: int, fmt: int, va: Arguments) -> int:
    return _truncating(m, out, size, count, _wide(m, fmt, va), 2)


@export("_vsnprintf_s", args="ptr, size, size, ptr, ptr", cc="cdecl", since=(6, 0))
def crt_vsnprintf_s(m: Machine, out: int, size: int, count: int, fmt: int, va_list: int) -> int:
    return _truncating(m, out, size, count, _narrow(m, fmt, VarArgs(m, va_list)), 1)


@export("_vsnwprintf_s", args="ptr, size, size, ptr, ptr", cc="cdecl", since=(6, 0))
def crt_vsnwprintf_s(m: Machine, out: int, size: int, count: int, fmt: int, va_list: int) -> int:
    return _truncating(m, out, size, count, _wide(m, fmt, VarArgs(m, va_list)), 2)


def _debug(m: Machine, raw: bytes) -> int:
    """Every level is shown: the model has no Debug Print Filter values set against a driver under test."""
    m.kernel.debug.write(ansi_decode(raw[:_DBG_LIMIT]))
    return NTSTATUS.SUCCESS


@export("DbgPrint", args="ptr, va", cc="cdecl")
def dbg_print(m: Machine, fmt: int, va: Arguments) -> int:
    return _debug(m, _narrow(m, fmt, va))


@export("DbgPrintEx", args="ulong, ulong, ptr, va", cc="cdecl")
def dbg_print_ex(m: Machine, component: int, level: int, fmt: int, va: Arguments) -> int:
    return _debug(m, _narrow(m, fmt, va))


@export("DbgPrintReturnControlC", args="ptr, va", cc="cdecl")
def dbg_print_return_control_c(m: Machine, fmt: int, va: Arguments) -> int:
    return _debug(m, _narrow(m, fmt, va))


@export("vDbgPrintEx", args="ulong, ulong, ptr, ptr")
def v_dbg_print_ex(m: Machine, component: int, level: int, fmt: int, va_list: int) -> int:
    return _debug(m, _narrow(m, fmt, VarArgs(m, va_list)))


@export("vDbgPrintExWithPrefix", args="ptr, ulong, ulong, ptr, ptr")
def v_dbg_print_ex_with_prefix(
    m: Machine, prefix: int, component: int, level: int, fmt: int, va_list: int
) -> int:
    text = read_ansi_z(m.memory, prefix) + _narrow(m, fmt, VarArgs(m, va_list))
    return _debug(m, text)


@export("DbgQueryDebugFilterState", args="ulong, ulong")
def dbg_query_debug_filter_state(m: Machine, component: int, level: int) -> int:
    return 1


@export("DbgSetDebugFilterState", args="ulong, ulong, uchar")
def dbg_set_debug_filter_state(m: Machine, component: int, level: int, state: int) -> int:
    return NTSTATUS.SUCCESS
