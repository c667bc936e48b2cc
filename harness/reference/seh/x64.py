"""Dispatching exceptions on x64: search the frames for a handler, unwind to it.

Language handlers run in the guest (`__GSHandlerCheck_SEH` is code of the driver), and end in the export
`__C_specific_handler`, which walks the scope table. A handler that is only a jump to that import is
called here directly.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from harness.reference.faults import (
    EXCEPTION_NONCONTINUABLE,
    ExceptionRecord,
    GuestException,
    GuestFault,
    StatusCode,
)
from harness.reference.registers import AX, SP, Registers
from harness.reference.seh.control import UnwindTo
from harness.reference.seh.records import Frame, load_context, store_context, store_record, write_frame
from harness.reference.seh.unwind import Handler, Step, UnwindError, pop_leaf, step

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.memory import Memory

__all__ = ["c_specific_handler", "dispatch", "is_protected", "unwind_frame", "unwind_to"]

_UNWINDING: Final = 0x2
_TARGET_UNWIND: Final = 0x20
_UNWIND: Final = 0x66
_CONTINUE_EXECUTION: Final = 0
_CONTINUE_SEARCH: Final = 1
_DEEPEST: Final = 256
_MASK: Final = (1 << 64) - 1
_DIRECTION: Final = 0x400
_SCOPES: Final = 4096


def unwind_frame(machine: Machine, registers: Registers) -> Step | None:
    """Unwind one frame in place; None at the base of the current call. Raises `UnwindError`, `GuestFault`."""
    if registers.ip == machine.cpu.code.call_return:
        return None
    driver = machine.modules.at(registers.ip)
    if driver is not None:
        return step(machine.memory, driver, registers)
    stub = machine.cpu.code.stub_saves(registers.ip)
    for number in stub:  # a machine-code stub: pushed registers, innermost first
        registers.general[number] = machine.memory.u64(registers.sp)
        registers.general[SP] = (registers.sp + 8) & _MASK
    return pop_leaf(machine.memory, registers)


def dispatch(machine: Machine, registers: Registers, record: ExceptionRecord) -> Registers:
    """Find the handler of an exception; returns the registers to go on with.

    Raises `GuestException` when no frame of the current call takes it.
    """
    memory = machine.memory
    try:
        frame = write_frame(memory, registers, record)
    except GuestFault:
        machine.double_fault(registers.sp)
    origin = registers.ip
    try:
        found = _search(machine, registers, record, frame)
    except GuestException as nested:
        nested.context = nested.context or frame.context
        raise
    except UnwindTo as target:
        return _unwind(machine, registers, record, target, frame)
    if found is None:
        raise GuestException(record, pc=origin, context=frame.context, record_address=frame.record)
    if record.flags & EXCEPTION_NONCONTINUABLE:
        refused = ExceptionRecord(
            StatusCode.NONCONTINUABLE_EXCEPTION, EXCEPTION_NONCONTINUABLE, record.address
        )
        raise GuestException(refused, pc=origin, context=frame.context, record_address=frame.record)
    return found


def unwind_to(machine: Machine, registers: Registers, target: UnwindTo) -> Registers:
    """Unwind without an exception (RtlUnwindEx called by the guest); returns the registers to go on with."""
    record = ExceptionRecord(StatusCode.UNWIND, 0, registers.ip)
    try:
        frame = write_frame(machine.memory, registers, record)
    except GuestFault:
        machine.double_fault(registers.sp)
    return _unwind(machine, registers, record, target, frame)


def _search(
    machine: Machine, registers: Registers, record: ExceptionRecord, frame: Frame
) -> Registers | None:
    walk = registers.copy()
    for _depth in range(_DEEPEST):
        control = walk.ip
        before = walk.copy()
        try:
            at = unwind_frame(machine, walk)
        except (UnwindError, GuestFault):
            return None
        if at is None:
            return None
        if at.handler is not None and at.handler.search:
            disposition = _call_handler(machine, frame, at, control, before, 0)
            if disposition == _CONTINUE_EXECUTION:
                return load_context(machine.memory, frame.context, registers)
        if walk.sp <= before.sp:
            return None
    return None


def _unwind(
    machine: Machine, registers: Registers, record: ExceptionRecord, target: UnwindTo, frame: Frame
) -> Registers:
    """Run the termination handlers of every frame up to the target's, then land there."""
    memory = machine.memory
    walk = registers.copy()
    flags = record.flags | _UNWINDING
    for _depth in range(_DEEPEST):
        control = walk.ip
        before = walk.copy()
        try:
            at = unwind_frame(machine, walk)
        except (UnwindError, GuestFault):
            at = None
        if at is None:
            break
        last = at.establisher == target.establisher
        if at.handler is not None and at.handler.unwind:
            store_record(memory, frame.record, replace(record, flags=flags | (_TARGET_UNWIND if last else 0)))
            store_context(memory, frame.context, before)
            _call_handler(machine, frame, at, control, before, target.target)
        if last:
            before.ip = target.target
            before.general[AX] = target.value
            before.flags &= ~_DIRECTION
            return before
    bad = ExceptionRecord(StatusCode.BAD_STACK, EXCEPTION_NONCONTINUABLE, registers.ip)
    raise GuestException(bad, pc=registers.ip, context=frame.context, record_address=frame.record)


def _call_handler(
    machine: Machine, frame: Frame, at: Step, control: int, before: Registers, target: int
) -> int:
    """Call a language handler; returns its disposition."""
    handler = at.handler
    assert handler is not None
    driver = machine.modules.at(control)
    base = driver.base if driver is not None else 0
    entry = machine.modules.entry_address(driver, at.function)
    machine.memory.write(
        frame.dispatcher,
        struct.pack(
            "<10Q",
            control,
            base,
            entry,
            at.establisher,
            target,
            frame.context,
            handler.address,
            handler.data,
            0,
            0,
        ),
    )
    arguments = (frame.record, at.establisher, frame.context, frame.dispatcher)
    if _is_c_handler(machine, handler):
        return c_specific_handler(machine, *arguments, below=frame.low)
    return machine.cpu.run(handler.address, arguments, below=frame.low) & 0xFFFF_FFFF


def _is_c_handler(machine: Machine, handler: Handler) -> bool:
    """Whether the handler is nothing but a jump to the import `__C_specific_handler`."""
    name = machine.import_thunks.name_at(handler.address)
    return name == "__C_specific_handler"


def _scopes(memory: Memory, data: int) -> list[tuple[int, int, int, int]]:
    """The scope table at `data`: begin, end, filter or handler, jump target.

    Raises `GuestFault` for one that no function has: the search would run into what is not there.
    """
    count = memory.u32(data)
    if count > _SCOPES:
        raise GuestFault(data + 4 + 16 * _SCOPES)
    return list(struct.iter_unpack("<IIII", memory.read(data + 4, 16 * count)))


def c_specific_handler(
    machine: Machine, record: int, establisher: int, context: int, dispatcher: int, *, below: int = 0
) -> int:
    """`__C_specific_handler`: choose among the scopes of one frame (page "__C_specific_handler").

    Returns a disposition, or raises `UnwindTo` when a filter says EXCEPTION_EXECUTE_HANDLER.
    """
    memory, run = machine.memory, machine.cpu.run
    control, base, _entry, _frame, target_ip = struct.unpack("<5Q", memory.read(dispatcher, 40))
    data = memory.u64(dispatcher + 0x38)
    pc = control - base
    scopes = _scopes(memory, data)
    flags = memory.u32(record + 4)
    if not flags & _UNWIND:
        for begin, end, choose, jump in scopes:
            if not begin <= pc < end or not jump:
                continue
            verdict = 1
            if choose != 1:
                with memory.scratch() as scratch:
                    pointers = scratch.bytes(struct.pack("<QQ", record, context))
                    verdict = run(base + choose, (pointers, establisher), below=below) & 0xFFFF_FFFF
            if verdict & 0x8000_0000:
                return _CONTINUE_EXECUTION
            if verdict:
                raise UnwindTo(establisher, base + jump, memory.u32(record))
        return _CONTINUE_SEARCH
    target = target_ip - base
    for index in range(memory.u32(dispatcher + 0x48), len(scopes)):
        begin, end, handler, jump = scopes[index]
        if not begin <= pc < end:
            continue
        if flags & _TARGET_UNWIND and any(
            b <= target < e and h == handler and j == jump for b, e, h, j in scopes
        ):
            break  # the target is inside the same guarded block: it is not left
        if jump:
            if flags & _TARGET_UNWIND and target == jump:
                break
        else:
            memory.put_u32(dispatcher + 0x48, index + 1)
            run(base + handler, (1, establisher), below=below)
    return _CONTINUE_SEARCH


def is_protected(machine: Machine, registers: Registers) -> int | None:
    """Where the innermost __try around `registers` ends, if any frame of the current call has one.

    A __finally does not count: it does not stop the exception. 0 stands for "unknown end" (a handler that
    is not a C one).
    """
    walk = registers.copy()
    for depth in range(_DEEPEST):
        driver, pc = machine.modules.at(walk.ip), walk.ip
        before = walk.sp
        try:
            at = unwind_frame(machine, walk)
        except (UnwindError, GuestFault):
            return None
        if at is None:
            return None
        if at.handler is not None and at.handler.search and driver is not None:
            end = _guarded(machine.memory, at, pc - driver.base)
            if end is not None:
                found = driver.base + end if end else 0
                if depth == 0:
                    driver.guarded[pc] = found
                return found
        if walk.sp <= before:
            return None
    return None


def _guarded(memory: Memory, at: Step, pc: int) -> int | None:
    """The end of the scope with a __except that covers `pc` in one frame; 0 for a handler of another kind."""
    assert at.handler is not None
    assert at.function is not None
    try:
        scopes = _scopes(memory, at.handler.data)
    except (UnwindError, GuestFault):
        return None
    for begin, end, _filter, jump in scopes:
        if begin > end or not at.function.begin <= begin <= at.function.end:
            return None  # the data is not a scope table: a handler without __except (stack cookie check)
        if begin <= pc < end and jump:
            return end
    return None
