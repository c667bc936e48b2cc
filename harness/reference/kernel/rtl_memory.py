"""RtlZeroMemory and its kind, and RtlAssert. Sources: nf-wdm-rtlcomparememory, nf-wdm-rtlfillmemory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.exports import export
from harness.reference.kernel.text import ansi_decode, read_ansi_z

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []


@export("RtlZeroMemory", args="ptr, size")
def rtl_zero_memory(m: Machine, target: int, size: int) -> None:
    m.memory.fill(target, size)


@export("RtlFillMemory", args="ptr, size, uchar")
def rtl_fill_memory(m: Machine, target: int, size: int, value: int) -> None:
    m.memory.fill(target, size, value & 0xFF)


@export("RtlCopyMemory", args="ptr, ptr, size")
def rtl_copy_memory(m: Machine, target: int, source: int, size: int) -> None:
    if size:
        m.memory.write(target, m.memory.read(source, size))


@export("RtlMoveMemory", args="ptr, ptr, size")
def rtl_move_memory(m: Machine, target: int, source: int, size: int) -> None:
    rtl_copy_memory(m, target, source, size)


@export("RtlSecureZeroMemory", args="ptr, size")
def rtl_secure_zero_memory(m: Machine, target: int, size: int) -> None:
    rtl_zero_memory(m, target, size)


@export("RtlCompareMemory", args="ptr, ptr, size")
def rtl_compare_memory(m: Machine, first: int, second: int, size: int) -> int:
    """The number of equal bytes up to the first difference."""
    if not size:
        return 0
    a, b = m.memory.read(first, size), m.memory.read(second, size)
    if a == b:
        return size
    return next(i for i in range(size) if a[i] != b[i])


@export("RtlCompareMemoryUlong", args="ptr, size, ulong")
def rtl_compare_memory_ulong(m: Machine, source: int, size: int, pattern: int) -> int:
    wanted = pattern.to_bytes(4, "little")
    raw = m.memory.read(source, size & ~3) if size >= 4 else b""
    for at in range(0, len(raw), 4):
        if raw[at : at + 4] != wanted:
            return at
    return len(raw)


@export("RtlAssert", args="ptr, ptr, ulong, ptr")
def rtl_assert(m: Machine, expression: int, file: int, line: int, message: int) -> None:
    """A failed ASSERT of a checked driver: written to the debug output, then a breakpoint without a debugger.

    Bugcheck 0x1E with STATUS_BREAKPOINT is what an ASSERT nobody answers ends in (page "ASSERT macro").
    """
    texts = [ansi_decode(read_ansi_z(m.memory, each)) if each else "" for each in (expression, file, message)]
    m.kernel.debug.write(
        f"*** Assertion failed: {texts[2]}{texts[0]}\n***   Source File: {texts[1]}, line {line}\n"
    )
    m.bugcheck(
        0x1E, 0x80000003, m.cpu.current_pc(), 0, 0, reason=f"assertion failed: {texts[0]} ({texts[1]}:{line})"
    )


@export("DbgBreakPoint", args="")
def dbg_break_point(m: Machine) -> None:
    """Without a kernel debugger a breakpoint is an unhandled exception (nf-wdm-dbgbreakpoint)."""
    m.raise_status(0x80000003)


@export("DbgBreakPointWithStatus", args="ulong")
def dbg_break_point_with_status(m: Machine, status: int) -> None:
    m.raise_status(0x80000003)
