"""EXCEPTION_RECORD, EXCEPTION_POINTERS and CONTEXT in guest memory, as filters and handlers see them.

Offsets are those of the structures in ntddk.h / winnt.h for x64 and x86.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.reference.faults import ExceptionRecord
from harness.reference.memory import Memory
from harness.reference.registers import AX, BP, BX, CX, DI, DX, SI, SP, Registers

__all__ = ["Frame", "load_context", "read_record", "store_context", "store_record", "write_frame"]

_RECORD_SIZE: Final = {4: 0x50, 8: 0x98}
_CONTEXT_SIZE: Final = {4: 0x2CC, 8: 0x4D0}
_DISPATCHER_SIZE: Final = 0x50
_MAX_PARAMETERS: Final = 15

_CONTEXT64_FLAGS: Final = 0x0010_000B  # CONTROL | INTEGER | FLOATING_POINT
_CONTEXT32_FLAGS: Final = 0x0001_0007  # CONTROL | INTEGER | SEGMENTS
#: x86: offsets of the general registers by encoding number.
_GENERAL32: Final = {AX: 0xB0, CX: 0xAC, DX: 0xA8, BX: 0xA4, SP: 0xC4, BP: 0xB4, SI: 0xA0, DI: 0x9C}
_ARITHMETIC_FLAGS: Final = 0xCD5  # what a handler may change of EFLAGS, direction flag included


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the records of one exception lie; `low` is the first address below them that is free."""

    record: int
    context: int
    pointers: int
    dispatcher: int
    low: int


def write_frame(memory: Memory, registers: Registers, record: ExceptionRecord) -> Frame:
    """Store the records of an exception on the interrupted stack. Raises `GuestFault` when it is full."""
    size = memory.pointer_size
    context = (registers.sp - 0x40 - _CONTEXT_SIZE[size]) & ~15
    at = (context - _RECORD_SIZE[size]) & ~15
    pointers = at - 16
    dispatcher = (pointers - _DISPATCHER_SIZE) & ~15
    store_context(memory, context, registers)
    store_record(memory, at, record)
    memory.put_ptr(pointers, at)
    memory.put_ptr(pointers + size, context)
    memory.write(dispatcher, bytes(_DISPATCHER_SIZE))
    return Frame(at, context, pointers, dispatcher, dispatcher)


def store_record(memory: Memory, at: int, record: ExceptionRecord) -> None:
    """Write an EXCEPTION_RECORD at `at`."""
    size = memory.pointer_size
    memory.write(at, bytes(_RECORD_SIZE[size]))
    memory.put_u32(at, record.code)
    memory.put_u32(at + 4, record.flags)
    memory.put_ptr(at + 8 + size, record.address)
    count = min(len(record.parameters), _MAX_PARAMETERS)
    memory.put_u32(at + 8 + 2 * size, count)
    first = at + (0x20 if size == 8 else 0x14)
    for i in range(count):
        memory.put_ptr(first + size * i, record.parameters[i])


def read_record(memory: Memory, at: int) -> ExceptionRecord:
    """The EXCEPTION_RECORD at `at`."""
    size = memory.pointer_size
    first = at + (0x20 if size == 8 else 0x14)
    count = min(memory.u32(at + 8 + 2 * size), _MAX_PARAMETERS)
    return ExceptionRecord(
        memory.u32(at),
        memory.u32(at + 4),
        memory.ptr(at + 8 + size),
        tuple(memory.ptr(first + size * i) for i in range(count)),
    )


def store_context(memory: Memory, at: int, registers: Registers) -> None:
    """Write a CONTEXT at `at`."""
    memory.write(at, bytes(_CONTEXT_SIZE[memory.pointer_size]))
    if memory.pointer_size == 8:
        memory.put_u32(at + 0x30, _CONTEXT64_FLAGS)
        memory.put_u32(at + 0x34, 0x1F80)
        memory.put_u16(at + 0x38, 0x10)  # SegCs
        memory.put_u16(at + 0x42, 0x18)  # SegSs
        memory.put_u32(at + 0x44, registers.flags)
        for i, value in enumerate(registers.general):
            memory.put_u64(at + 0x78 + 8 * i, value)
        memory.put_u64(at + 0xF8, registers.ip)
        for number, value in registers.xmm.items():
            memory.write(at + 0x1A0 + 16 * number, value.to_bytes(16, "little"))
        return
    memory.put_u32(at, _CONTEXT32_FLAGS)
    for number, offset in _GENERAL32.items():
        memory.put_u32(at + offset, registers.general[number])
    memory.put_u32(at + 0x90, 0x30)
    memory.put_u32(at + 0x94, 0x23)
    memory.put_u32(at + 0x98, 0x23)
    memory.put_u32(at + 0xB8, registers.ip)
    memory.put_u32(at + 0xBC, 0x08)
    memory.put_u32(at + 0xC0, registers.flags)
    memory.put_u32(at + 0xC8, 0x10)


def load_context(memory: Memory, at: int, registers: Registers) -> Registers:
    """The registers of the CONTEXT at `at`; `registers` supplies what a context does not carry."""
    found = registers.copy()
    if memory.pointer_size == 8:
        for i in range(16):
            found.general[i] = memory.u64(at + 0x78 + 8 * i)
        found.ip = memory.u64(at + 0xF8)
        flags = memory.u32(at + 0x44)
        for number in registers.xmm:
            found.xmm[number] = int.from_bytes(memory.read(at + 0x1A0 + 16 * number, 16), "little")
    else:
        for number, offset in _GENERAL32.items():
            found.general[number] = memory.u32(at + offset)
        found.ip = memory.u32(at + 0xB8)
        flags = memory.u32(at + 0xC0)
    found.flags = (registers.flags & ~_ARITHMETIC_FLAGS) | (flags & _ARITHMETIC_FLAGS)
    return found
