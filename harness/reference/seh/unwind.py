"""Unwinding x64 frames from the unwind data that compilers put into .pdata and .xdata.

Pages "x64 exception handling" and "x64 prolog and epilog" of the compiler reference describe the format.
Every operation of version 1 is known, and the epilog codes of version 2 are passed over (epilogs are
recognised from their instructions, as version 1 unwinders do).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from harness.reference.faults import GuestFault
from harness.reference.memory import Memory
from harness.reference.modules import Driver, Function
from harness.reference.registers import SP, Registers

__all__ = ["Handler", "Step", "UnwindError", "decode_info", "pop_leaf", "step"]

_EHANDLER: Final = 1
_UHANDLER: Final = 2
_CHAININFO: Final = 4
_DEEPEST_CHAIN: Final = 32

_PUSH_NONVOL, _ALLOC_LARGE, _ALLOC_SMALL, _SET_FPREG, _SAVE_NONVOL, _SAVE_NONVOL_FAR = range(6)
_EPILOG, _SPARE, _SAVE_XMM128, _SAVE_XMM128_FAR, _PUSH_MACHFRAME = range(6, 11)
_MASK: Final = (1 << 64) - 1


class UnwindError(Exception):
    """The unwind data is damaged or uses something no compiler emits."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A frame's language handler: its address, its data, and whether it wants search and unwind calls."""

    address: int
    data: int
    search: bool
    unwind: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One frame: its establisher frame (the value handlers know it by) and its handler, if any."""

    establisher: int
    handler: Handler | None
    function: Function | None


@dataclass(frozen=True, slots=True)
class _Code:
    offset: int
    op: int
    info: int
    value: int  # operand in bytes, 0 where there is none


@dataclass(frozen=True, slots=True)
class UnwindInfo:
    """Decoded UNWIND_INFO."""

    flags: int
    prolog: int
    frame_register: int
    frame_offset: int
    codes: tuple[_Code, ...]
    tail: int  # address after the codes: handler or chained function


def decode_info(memory: Memory, address: int) -> UnwindInfo:
    """Read the UNWIND_INFO at `address`. Raises `UnwindError` for damaged data."""
    head, prolog, count, frame = memory.read(address, 4)
    version, flags = head & 7, head >> 3
    if version not in (1, 2):
        raise UnwindError(f"unwind data version {version} at {address:#x}")
    raw = struct.unpack(f"<{count}H", memory.read(address + 4, 2 * count))
    codes: list[_Code] = []
    i = 0
    while i < count:
        offset, op, info = raw[i] & 0xFF, raw[i] >> 8 & 15, raw[i] >> 12
        extra = _operands(op, info)
        if i + extra >= count + (extra == 0):
            raise UnwindError(f"unwind codes cut off at {address:#x}")
        words = raw[i + 1 : i + 1 + extra]
        codes.append(_Code(offset, op, info, _value(op, info, words)))
        i += 1 + extra
    tail = address + 4 + 2 * ((count + 1) & ~1)
    return UnwindInfo(flags, prolog, frame & 15, (frame >> 4) * 16, tuple(codes), tail)


def _operands(op: int, info: int) -> int:
    if op in (_PUSH_NONVOL, _ALLOC_SMALL, _SET_FPREG, _PUSH_MACHFRAME):
        return 0
    if op == _ALLOC_LARGE:
        return 2 if info else 1
    if op in (_SAVE_NONVOL, _SAVE_XMM128, _EPILOG):
        return 1
    if op in (_SAVE_NONVOL_FAR, _SAVE_XMM128_FAR, _SPARE):
        return 2
    raise UnwindError(f"unwind operation {op}")


def _value(op: int, info: int, words: tuple[int, ...]) -> int:
    if op == _ALLOC_SMALL:
        return 8 * info + 8
    if op == _ALLOC_LARGE:
        return 8 * words[0] if info == 0 else words[0] | words[1] << 16
    if op == _SAVE_NONVOL:
        return 8 * words[0]
    if op == _SAVE_XMM128:
        return 16 * words[0]
    if op in (_SAVE_NONVOL_FAR, _SAVE_XMM128_FAR):
        return words[0] | words[1] << 16
    return 0


def step(memory: Memory, driver: Driver, registers: Registers) -> Step:
    """Unwind `registers` in place from the frame they are in to its caller.

    Raises `UnwindError` for damaged data and `GuestFault` when the stack can't be read.
    """
    function = driver.function_at(registers.ip)
    if function is None:
        return pop_leaf(memory, registers)
    offset = registers.ip - driver.base - function.begin
    info = decode_info(memory, driver.base + function.unwind)
    general = registers.general
    in_prolog = offset < info.prolog
    establisher = general[SP]
    if info.frame_register and (not in_prolog or _frame_set(info, offset)):
        establisher = general[info.frame_register] - info.frame_offset & _MASK
    handler = None
    if not in_prolog:
        if _finish_epilog(memory, registers, driver, function, info):
            return Step(establisher, None, function)
        handler = _handler(memory, driver, info)
    machine_frame = False
    original, chain = info, 0
    while True:
        machine_frame |= _undo(memory, registers, info, offset if info is original else 1 << 32, establisher)
        if not info.flags & _CHAININFO:
            break
        chain += 1
        if chain > _DEEPEST_CHAIN:
            raise UnwindError(f"chained unwind data without end at {driver.base + function.unwind:#x}")
        info = decode_info(memory, driver.base + memory.u32(info.tail + 8))
        if handler is None and not in_prolog:
            handler = _handler(memory, driver, info)
    if not machine_frame:
        pop_leaf(memory, registers)
    return Step(establisher, handler, function)


def pop_leaf(memory: Memory, registers: Registers) -> Step:
    """Unwind a frame that keeps nothing on the stack but its return address."""
    sp = registers.sp
    registers.ip = memory.u64(sp)
    registers.general[SP] = (sp + 8) & _MASK
    return Step(sp, None, None)


def _frame_set(info: UnwindInfo, offset: int) -> bool:
    return any(code.op == _SET_FPREG and code.offset <= offset for code in info.codes)


def _handler(memory: Memory, driver: Driver, info: UnwindInfo) -> Handler | None:
    if info.flags & _CHAININFO or not info.flags & (_EHANDLER | _UHANDLER):
        return None
    return Handler(
        driver.base + memory.u32(info.tail),
        info.tail + 4,
        bool(info.flags & _EHANDLER),
        bool(info.flags & _UHANDLER),
    )


def _undo(memory: Memory, registers: Registers, info: UnwindInfo, offset: int, establisher: int) -> bool:
    """Apply the codes of one UNWIND_INFO; returns whether a machine frame ended it."""
    general = registers.general
    for code in info.codes:
        if code.offset > offset:
            continue  # that part of the prolog has not run yet
        if code.op == _PUSH_NONVOL:
            general[code.info] = memory.u64(general[SP])
            general[SP] = (general[SP] + 8) & _MASK
        elif code.op in (_ALLOC_LARGE, _ALLOC_SMALL):
            general[SP] = (general[SP] + code.value) & _MASK
        elif code.op == _SET_FPREG:
            general[SP] = general[info.frame_register] - info.frame_offset & _MASK
        elif code.op in (_SAVE_NONVOL, _SAVE_NONVOL_FAR):
            general[code.info] = memory.u64(establisher + code.value)
        elif code.op in (_SAVE_XMM128, _SAVE_XMM128_FAR):
            registers.xmm[code.info] = int.from_bytes(memory.read(establisher + code.value, 16), "little")
        elif code.op == _PUSH_MACHFRAME:
            sp = general[SP] + (8 if code.info else 0)
            registers.ip = memory.u64(sp)
            registers.flags = memory.u64(sp + 16) & 0xFFFF_FFFF
            general[SP] = memory.u64(sp + 24)
            return True
    return False


def _finish_epilog(
    memory: Memory, registers: Registers, driver: Driver, function: Function, info: UnwindInfo
) -> bool:
    """If execution is inside an epilog (`add/lea rsp`, pops, `ret` or a tail jump), carry it out."""
    try:
        code = memory.read(registers.ip, min(64, driver.base + function.end - registers.ip))
    except GuestFault:
        return False
    at, sp = 0, registers.sp
    if code[:3] == b"\x48\x83\xc4":  # add rsp,imm8
        sp, at = sp + code[3], 4
    elif code[:3] == b"\x48\x81\xc4":  # add rsp,imm32
        sp, at = sp + int.from_bytes(code[3:7], "little"), 7
    elif info.frame_register and len(code) > 3 and code[0] & 0xFE == 0x48 and code[1] == 0x8D:
        base = (code[2] & 7) | (code[0] & 1) << 3
        if code[2] & 0x38 != 0x20 or base != info.frame_register or base == SP:  # lea rsp,[fp+n]
            return False
        mode = code[2] >> 6
        if mode == 1:
            sp, at = registers.general[base] + int.from_bytes(code[3:4], "little", signed=True), 4
        elif mode == 2:
            sp, at = registers.general[base] + int.from_bytes(code[3:7], "little", signed=True), 7
        else:
            return False
    restored: list[tuple[int, int]] = []
    while at < len(code):
        if 0x58 <= code[at] <= 0x5F:
            restored.append((code[at] - 0x58, sp))
            at += 1
        elif code[at] == 0x41 and at + 1 < len(code) and 0x58 <= code[at + 1] <= 0x5F:
            restored.append((code[at + 1] - 0x58 + 8, sp))
            at += 2
        else:
            break
        sp += 8
    if not _leaves(code, at, registers.ip + at, driver, function, bare=at == 0 and bool(info.codes)):
        return False
    for number, place in restored:
        registers.general[number] = memory.u64(place)
    registers.ip = memory.u64(sp)
    registers.general[SP] = (sp + 8) & _MASK
    return True


def _leaves(code: bytes, at: int, address: int, driver: Driver, function: Function, *, bare: bool) -> bool:
    """Whether the instruction at `at` ends a function: ret, or a jump out of it.

    `bare`: nothing was taken off the stack before it, although the function put something there. Then a
    jump is one to a cold part of the function, whose frame is still there.
    """
    rest = code[at:]
    if rest[:1] in (b"\xc3", b"\xc2") or rest[:2] == b"\xf3\xc3":
        return True
    if bare:
        return False
    if rest[:2] == b"\xff\x25" or (rest[:2] == b"\x48\xff" and rest[2:3] and rest[2] & 0x38 == 0x20):
        return True
    if rest[:1] == b"\xe9" and len(rest) >= 5:
        target = address + 5 + int.from_bytes(rest[1:5], "little", signed=True) - driver.base
    elif rest[:1] == b"\xeb" and len(rest) >= 2:
        target = address + 2 + int.from_bytes(rest[1:2], "little", signed=True) - driver.base
    else:
        return False
    return not function.begin <= target < function.end
