"""Settling an interruption of guest code: turn it into an exception and find out where to go on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.guest import Arch
from harness.reference.faults import Access, ExceptionRecord, GuestException
from harness.reference.registers import SP, Registers
from harness.reference.seh import x64, x86
from harness.reference.seh.control import Resume

if TYPE_CHECKING:
    from harness.reference.levels import Interruption, Level
    from harness.reference.machine import Machine

__all__ = ["deliver", "is_protected", "settle", "trapped_registers"]


def trapped_registers(machine: Machine, level: Level) -> Registers:
    """The state of the innermost call: of the caller of the export being served, else of the processor."""
    registers = machine.cpu.engine.registers.read(xmm=machine.arch is Arch.X64)
    if level.trap:
        registers.ip = machine.cpu.code.slot_of(level.trap)
        registers.general[SP] = level.trap_sp
    return registers


def is_protected(machine: Machine, registers: Registers) -> int | None:
    """End of the __try block around `registers` (0: not known), None when there is none."""
    if machine.arch is Arch.X64:
        return x64.is_protected(machine, registers)
    return x86.is_protected(machine, registers)


def settle(machine: Machine, why: Interruption, level: Level) -> int:
    """Handle an interruption; loads the registers to go on with and returns their instruction pointer."""
    if why.fault is not None:
        known = _known_guarded(machine, *why.fault)
        if known:
            return known
    registers = trapped_registers(machine, level)
    if why.fault is not None:
        page, access = why.fault
        if machine.memory.is_user(page) and machine.memory.rights(page) and access is not Access.EXECUTE:
            return _user(machine, page, access, registers)
        record = machine.faults.settle(machine.faults.locate(page, access, registers))
    elif why.vector is not None:
        record = machine.faults.trap(why.vector, registers)
    elif why.record is not None:
        record = why.record
    elif why.target is not None:
        found = x64.unwind_to(machine, registers, why.target)
        machine.cpu.engine.registers.write(found)
        return found.ip
    else:
        record = machine.faults.undefined(registers)
    return deliver(machine, registers, record, level)


def _known_guarded(machine: Machine, page: int, access: Access) -> int:
    """Grant a user page to an instruction that `is_protected` judged before; where it is, or 0."""
    if access is Access.EXECUTE or not machine.memory.is_user(page) or machine.cpu.irql >= 2:
        return 0
    if not machine.memory.rights(page) & (2 if access is Access.WRITE else 1):
        return 0
    ip = machine.cpu.engine.registers.ip()
    driver = machine.modules.at(ip)
    end = None if driver is None else driver.guarded.get(ip)
    if end is None:
        return 0
    machine.cpu.grant_user(page >> 12, end)
    return ip


def _user(machine: Machine, page: int, access: Access, registers: Registers) -> int:
    """User memory that is there: only code that expects it to vanish may touch it.

    The requester may free it at any time (page "nc-wdm-ex_callback_function": "access such memory only inside
    a try/except block"), so outside of one the access is what it would be then: an access violation.
    """
    fault = machine.faults.locate(page, access, registers)
    rights = machine.memory.rights(page)
    allowed = rights & (2 if access is Access.WRITE else 1)
    end = is_protected(machine, registers) if allowed else 0
    if allowed and end is not None and machine.cpu.irql < 2:
        machine.cpu.grant_user(page >> 12, end)
        return registers.ip
    record = machine.faults.settle(fault)
    return deliver(machine, registers, record, machine.cpu.levels[-1], unprotected=end is None)


def deliver(
    machine: Machine,
    registers: Registers,
    record: ExceptionRecord,
    level: Level,
    *,
    unprotected: bool = False,
) -> int:
    """Dispatch an exception in the guest. Raises `GuestException` when nothing takes it."""
    if level.trap and not record.address:
        record = replace(record, address=machine.memory.ptr(level.trap_sp))
    try:
        if machine.arch is Arch.X64:
            found = x64.dispatch(machine, registers, record)
        else:
            found = x86.dispatch(machine, registers, record)
    except GuestException as error:
        if not error.stack:
            error.stack = tuple(machine.stacks.addresses(registers))
            error.unprotected = unprotected
        raise
    except Resume as there:
        found = there.registers
    machine.cpu.engine.registers.write(found)
    return found.ip
