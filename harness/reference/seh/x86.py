"""Dispatching exceptions on x86: the chain of registrations at fs:[0].

Handlers run in the guest with the C prototype ``handler(record, registration, context, dispatcher)``. The
compiler's own handlers `_except_handler2` and `_except_handler3` are imports and live here, as does
`RtlUnwind`, which code that carries its own handler calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from harness.reference.faults import (
    EXCEPTION_NONCONTINUABLE,
    ExceptionRecord,
    GuestException,
    GuestFault,
    StatusCode,
)
from harness.reference.registers import BP, SP, Registers
from harness.reference.segments import CHAIN_END, EXCEPTION_LIST
from harness.reference.seh.control import Resume
from harness.reference.seh.records import load_context, store_record, write_frame

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["dispatch", "except_handler", "is_protected", "local_unwind", "rtl_unwind"]

_UNWINDING: Final = 0x2
_EXIT_UNWIND: Final = 0x4
_CONTINUE_EXECUTION: Final = 0
_CONTINUE_SEARCH: Final = 1
_NESTED: Final = 2
_COLLIDED: Final = 3
_DEEPEST: Final = 256
_DIRECTION: Final = 0x400
#: Try level of a frame outside every __try: -1 (_except_handler3), -2 (_except_handler4).
_OUTSIDE: Final = (0xFFFF_FFFF, 0xFFFF_FFFE)

# Layout behind a registration of _except_handler3: registration + these offsets; ebp is registration + 0x10.
_SAVED_SP: Final = -8
_POINTERS: Final = -4
_SCOPES: Final = 8
_TRY_LEVEL: Final = 12
_FRAME_POINTER: Final = 16


def _registrations(machine: Machine, sp: int) -> Iterator[tuple[int, int]]:
    """Registrations of the current call, innermost first: address and handler; a broken chain just ends."""
    memory = machine.memory
    stack = machine.current.stack
    at = memory.u32(memory.map.kpcr + EXCEPTION_LIST)
    last = 0
    for _depth in range(_DEEPEST):
        if at == CHAIN_END or at & 3 or at <= last or not stack.low <= at <= stack.high - 8:
            return
        yield at, memory.u32(at + 4)
        last = at
        at = memory.u32(at)


def dispatch(machine: Machine, registers: Registers, record: ExceptionRecord) -> Registers:
    """Offer an exception to the chain; returns the registers to go on with.

    Raises `GuestException` when no handler of the current call takes it.
    """
    memory = machine.memory
    try:
        frame = write_frame(memory, registers, record)
    except GuestFault:
        machine.double_fault(registers.sp)
    origin = registers.ip
    for at, handler in _registrations(machine, registers.sp):
        try:
            arguments = (frame.record, at, frame.context, frame.dispatcher)
            disposition = machine.cpu.run(handler, arguments, below=frame.low, keep_chain=True)
        except Resume as there:
            return there.registers
        except GuestException as nested:
            nested.context = nested.context or frame.context
            raise
        if disposition == _CONTINUE_EXECUTION:
            if record.flags & EXCEPTION_NONCONTINUABLE:
                record = ExceptionRecord(
                    StatusCode.NONCONTINUABLE_EXCEPTION, EXCEPTION_NONCONTINUABLE, record.address
                )
                raise GuestException(record, pc=origin, context=frame.context, record_address=frame.record)
            return load_context(memory, frame.context, registers)
        if disposition not in (_CONTINUE_SEARCH, _NESTED):
            record = ExceptionRecord(StatusCode.INVALID_DISPOSITION, EXCEPTION_NONCONTINUABLE, record.address)
            raise GuestException(record, pc=origin, context=frame.context, record_address=frame.record)
    raise GuestException(record, pc=origin, context=frame.context, record_address=frame.record)


def rtl_unwind(machine: Machine, target: int, record: int, below: int) -> None:
    """`RtlUnwind`: call and remove the registrations above `target` (0: all of them, an exit unwind).

    `record` is the address of an EXCEPTION_RECORD or 0. Handlers see EXCEPTION_UNWINDING.
    """
    memory = machine.memory
    head = memory.map.kpcr + EXCEPTION_LIST
    with memory.scratch() as scratch:
        if not record:
            record = scratch.alloc(0x50)
            store_record(memory, record, ExceptionRecord(StatusCode.UNWIND, 0, machine.cpu.current_pc()))
        flags = memory.u32(record + 4) | _UNWINDING | (0 if target else _EXIT_UNWIND)
        memory.put_u32(record + 4, flags)
        context = scratch.alloc(0x2CC)
        dispatcher = scratch.alloc(16)
        for at, handler in list(_registrations(machine, below)):
            if at == target:
                return
            if target and at > target:
                break
            arguments = (record, at, context, dispatcher)
            disposition = machine.cpu.run(handler, arguments, below=below, keep_chain=True)
            if disposition not in (_CONTINUE_SEARCH, _COLLIDED):
                bad = ExceptionRecord(StatusCode.INVALID_DISPOSITION, EXCEPTION_NONCONTINUABLE)
                raise GuestException(bad, pc=machine.cpu.current_pc())
            memory.put_u32(head, memory.u32(at))


def except_handler(machine: Machine, record: int, registration: int, context: int, below: int) -> int:
    """`_except_handler3`: choose among the scopes of one frame; returns a disposition or raises `Resume`."""
    memory = machine.memory
    if memory.u32(record + 4) & (_UNWINDING | _EXIT_UNWIND):
        local_unwind(machine, registration, CHAIN_END, below)
        return _CONTINUE_SEARCH
    pointer = registration + _FRAME_POINTER
    scopes = memory.u32(registration + _SCOPES)
    level = memory.u32(registration + _TRY_LEVEL)
    with memory.scratch() as scratch:
        pointers = scratch.alloc(8)
        memory.put_u32(pointers, record)
        memory.put_u32(pointers + 4, context)
        memory.put_u32(registration + _POINTERS, pointers)
        for _depth in range(_DEEPEST):
            if level in _OUTSIDE:
                break
            enclosing, choose, handler = (memory.u32(scopes + 12 * level + 4 * i) for i in range(3))
            if choose:
                verdict = machine.cpu.run_with_frame(choose, pointer, below=below)
                if verdict & 0x8000_0000:
                    return _CONTINUE_EXECUTION
                if verdict:
                    rtl_unwind(machine, registration, record, below)
                    local_unwind(machine, registration, level, below)
                    memory.put_u32(registration + _TRY_LEVEL, enclosing)
                    raise Resume(_block(machine, registration, handler))
            level = enclosing
    return _CONTINUE_SEARCH


def _block(machine: Machine, registration: int, handler: int) -> Registers:
    """Registers at the start of a __except block; the block restores its own stack pointer."""
    registers = machine.cpu.engine.registers.read()
    registers.general[BP] = registration + _FRAME_POINTER
    registers.general[SP] = machine.memory.u32(registration + _SAVED_SP)
    registers.ip = handler
    registers.flags &= ~_DIRECTION
    return registers


def local_unwind(machine: Machine, registration: int, stop: int, below: int) -> None:
    """`_local_unwind2`: run the __finally blocks of one frame down to try level `stop`."""
    memory = machine.memory
    scopes = memory.u32(registration + _SCOPES)
    for _depth in range(_DEEPEST):
        level = memory.u32(registration + _TRY_LEVEL)
        if level in _OUTSIDE or (stop != CHAIN_END and level <= stop):
            return
        enclosing, choose, handler = (memory.u32(scopes + 12 * level + 4 * i) for i in range(3))
        memory.put_u32(registration + _TRY_LEVEL, enclosing)
        if not choose:
            machine.cpu.run_with_frame(handler, registration + _FRAME_POINTER, below=below)


def is_protected(machine: Machine, registers: Registers) -> int | None:
    """0 when a registration of the current call guards `registers`, else None.

    A frame of the compiler's handler that is outside all its __try blocks does not count.
    """
    memory = machine.memory
    for at, handler in _registrations(machine, registers.sp):
        if machine.import_thunks.name_at(handler) in ("_except_handler3", "_except_handler2"):
            if memory.u32(at + _TRY_LEVEL) in _OUTSIDE:
                continue
            if not _has_except(machine, at):
                continue
        return 0
    return None


def _has_except(machine: Machine, registration: int) -> bool:
    """Whether one of the try levels around the current place has a filter (a __finally has none)."""
    memory = machine.memory
    scopes = memory.u32(registration + _SCOPES)
    level = memory.u32(registration + _TRY_LEVEL)
    for _depth in range(_DEEPEST):
        if level in _OUTSIDE:
            return False
        if memory.u32(scopes + 12 * level + 4):
            return True
        level = memory.u32(scopes + 12 * level)
    return False
