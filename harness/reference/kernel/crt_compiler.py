"""Routines that compilers call behind the programmer's back: 64-bit arithmetic of x86, stack probes, C++.

Those that obey no calling convention are machine code (harness.reference.stubs_compiler); they are declared
here so that drivers find them. Sources: the compiler's documentation ("Compiler intrinsics", ``/Gs``, "try-
finally"), the exports of ntoskrnl by these names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

from harness.errors import InfrastructureError
from harness.reference.exports import export
from harness.reference.seh.control import UnwindTo

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_X86: Final = ("x86",)
_X64: Final = ("x64",)
_M64: Final = (1 << 64) - 1
#: Bytes from the stack pointer of a division's trap to the arguments its stub was called with.
_OUTER_ARGUMENTS: Final = 24


# -- x86 64-bit arithmetic (both operands on the stack, result in edx:eax) ---------------------------------


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _divide(m: Machine, a: int, b: int) -> tuple[int, int]:
    """Quotient towards zero and remainder; a zero divisor is the processor's exception."""
    if b == 0:
        m.raise_status(0xC0000094)
    quotient = abs(a) // abs(b)
    if (a < 0) != (b < 0):
        quotient = -quotient
    return quotient, a - quotient * b


@export("_allmul", args="ulonglong, ulonglong", returns="ulonglong", arches=_X86)
def x86_allmul(m: Machine, a: int, b: int) -> int:
    return a * b & _M64


@export("_alldiv", args="ulonglong, ulonglong", returns="ulonglong", arches=_X86)
def x86_alldiv(m: Machine, a: int, b: int) -> int:
    return _divide(m, _signed(a), _signed(b))[0] & _M64


@export("_allrem", args="ulonglong, ulonglong", returns="ulonglong", arches=_X86)
def x86_allrem(m: Machine, a: int, b: int) -> int:
    return _divide(m, _signed(a), _signed(b))[1] & _M64


@export("_aulldiv", args="ulonglong, ulonglong", returns="ulonglong", arches=_X86)
def x86_aulldiv(m: Machine, a: int, b: int) -> int:
    return _divide(m, a, b)[0] & _M64


@export("_aullrem", args="ulonglong, ulonglong", returns="ulonglong", arches=_X86)
def x86_aullrem(m: Machine, a: int, b: int) -> int:
    return _divide(m, a, b)[1] & _M64


@export("RtlLargeIntegerDivide", args="ulonglong, ulonglong, ptr", returns="ulonglong", arches=_X86)
def rtl_large_integer_divide(m: Machine, a: int, b: int, remainder: int) -> int:
    quotient, rest = _divide(m, a, b)
    if remainder:
        m.memory.put_u64(remainder, rest & _M64)
    return quotient & _M64


@export("RtlExtendedLargeIntegerDivide", args="ulonglong, ulong, ptr", returns="ulonglong", arches=_X86)
def rtl_extended_large_integer_divide(m: Machine, a: int, b: int, remainder: int) -> int:
    quotient, rest = _divide(m, a, b)
    if remainder:
        m.memory.put_u32(remainder, rest)
    return quotient & _M64


@export("RtlExtendedIntegerMultiply", args="ulonglong, long", returns="ulonglong", arches=_X86)
def rtl_extended_integer_multiply(m: Machine, a: int, b: int) -> int:
    return _signed(a) * b & _M64


@export("RtlEnlargedUnsignedMultiply", args="ulong, ulong", returns="ulonglong", arches=_X86)
def rtl_enlarged_unsigned_multiply(m: Machine, a: int, b: int) -> int:
    return a * b & _M64


@export("RtlUlonglongByteSwap", args="ulonglong", returns="ulonglong", cc="fastcall", arches=_X86)
def rtl_ulonglong_byte_swap(m: Machine, value: int) -> int:
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def _with_remainder(m: Machine, quotient: int, remainder: int) -> int:
    """Leave the remainder where the stub that trapped looks for it."""
    m.memory.put_u64(m.cpu.levels[-1].trap_sp + _OUTER_ARGUMENTS, remainder & _M64)
    return quotient & _M64


@export("_alldvrm", args="ulonglong, ulonglong", returns="ulonglong", arches=_X86)
def x86_alldvrm(m: Machine, a: int, b: int) -> int:
    return _with_remainder(m, *_divide(m, _signed(a), _signed(b)))


@export("_aulldvrm", args="ulonglong, ulonglong", returns="ulonglong", arches=_X86)
def x86_aulldvrm(m: Machine, a: int, b: int) -> int:
    return _with_remainder(m, *_divide(m, a, b))


# -- what the compiler makes of frames and classes ---------------------------------------------------------


@export("__chkstk", arches=_X64)
@export("_chkstk", arches=_X86)
@export("_alloca_probe", arches=_X86)
@export("_alloca_probe_8", arches=_X86)
@export("_alloca_probe_16", arches=_X86)
@export("_allshl", arches=_X86)
@export("_allshr", arches=_X86)
@export("_aullshr", arches=_X86)
def in_machine_code(m: Machine) -> NoReturn:
    raise InfrastructureError("a routine that is all machine code trapped")


@export("_local_unwind", args="ptr, ptr", arches=_X64)
def local_unwind(m: Machine, frame: int, target: int) -> None:
    """A jump out of a __try: the __finally blocks on the way run, then the code at `target`."""
    raise UnwindTo(frame, target, 0)


@export("_purecall", cc="cdecl")
def purecall(m: Machine) -> NoReturn:
    """A call of a virtual function that no class implements: nothing the caller could go on from."""
    m.bugcheck(
        0x1E,
        0xC0000002,
        m.caller(),
        0,
        0,
        reason="a pure virtual function was called (STATUS_NOT_IMPLEMENTED)",
    )
