"""What a fault becomes: an exception the guest may handle, or a bugcheck.

The choice and the parameters follow the pages "Bug Check 0x..." of the Bug Check Code Reference, each named
where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from harness.guest import Arch
from harness.reference.decode import touched_address
from harness.reference.faults import (
    Access,
    ExceptionRecord,
    GuestException,
    GuestFault,
    StatusCode,
    access_violation,
)
from harness.reference.layout import PAGE, PAGE_MASK
from harness.reference.memory import EXECUTE, PAGEABLE, READ, WRITE
from harness.reference.modules import Driver
from harness.reference.registers import CX, Registers

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.pool import Allocation

__all__ = ["Fault", "FaultPolicy"]

DISPATCH_LEVEL: Final = 2

IRQL_NOT_LESS_OR_EQUAL: Final = 0x0A
KMODE_EXCEPTION_NOT_HANDLED: Final = 0x1E
SYSTEM_SERVICE_EXCEPTION: Final = 0x3B
PAGE_FAULT_IN_NONPAGED_AREA: Final = 0x50
SYSTEM_THREAD_EXCEPTION: Final = 0x7E
UNEXPECTED_KERNEL_MODE_TRAP: Final = 0x7F
KERNEL_MODE_EXCEPTION: Final = 0x8E
ATTEMPTED_WRITE_TO_READONLY_MEMORY: Final = 0xBE
PAGE_FAULT_IN_FREED_SPECIAL_POOL: Final = 0xCC
DRIVER_UNLOADED: Final = 0xCE
DRIVER_IRQL_NOT_LESS_OR_EQUAL: Final = 0xD1
PAGE_FAULT_BEYOND_END: Final = 0xD6
EXECUTE_OF_NOEXECUTE: Final = 0xFC
KERNEL_SECURITY_CHECK_FAILURE: Final = 0x139

_DOUBLE_FAULT: Final = 8
#: Interrupt vectors of the processor and of the kernel's software interrupts.
_VECTORS: Final = {
    1: StatusCode.SINGLE_STEP,
    3: StatusCode.BREAKPOINT,
    4: StatusCode.INTEGER_OVERFLOW,
    6: StatusCode.ILLEGAL_INSTRUCTION,
    0x2C: StatusCode.ASSERTION_FAILURE,
    0x2D: StatusCode.BREAKPOINT,
}
_FAST_FAIL: Final = 0x29
_LONGEST: Final = 15


@dataclass(frozen=True, slots=True)
class Fault:
    """A memory access that can't be: where, how, and from which instruction."""

    address: int
    access: Access
    pc: int
    registers: Registers | None


class FaultPolicy:
    """Decides for one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def locate(self, page: int, access: Access, registers: Registers) -> Fault:
        """The exact address of a fault that the processor reported by page."""
        if access is Access.EXECUTE:
            return Fault(registers.ip, access, registers.ip, registers)
        memory = self._machine.memory
        wide = memory.pointer_size == 8
        code = self._code_at(registers.ip)
        address = touched_address(code, registers, page, wide=wide, segment_base=memory.map.kpcr)
        return Fault(address, access, registers.ip, registers)

    def _code_at(self, address: int) -> bytes:
        memory = self._machine.memory
        size = _LONGEST
        if not memory.is_mapped(address + _LONGEST):
            size = PAGE - (address & PAGE_MASK)
        try:
            return memory.read(address, size)
        except GuestFault:
            return b""

    def settle(self, fault: Fault) -> ExceptionRecord:
        """The exception a fault is, or a bugcheck when Windows would not dispatch one."""
        machine, memory = self._machine, self._machine.memory
        address, access = fault.address, fault.access
        if machine.arch is Arch.X64 and memory.map.user_limit <= address < memory.map.system_start:
            # Not canonical: a general protection fault, which says nothing of the address.
            return access_violation((1 << 64) - 1, Access.READ, fault.pc)
        rights = memory.rights(address)
        if not memory.is_user(address):
            self._kernel(fault, rights)
        elif rights & EXECUTE == 0 and rights and access is Access.EXECUTE:
            self._no_execute(fault)
        elif machine.cpu.irql >= DISPATCH_LEVEL:
            self._raised_irql(fault, "user memory may be paged out")
        return access_violation(address, access, fault.pc)

    def _kernel(self, fault: Fault, rights: int) -> NoReturn:
        machine = self._machine
        address, access, pc = fault.address, fault.access, fault.pc
        raised = machine.cpu.irql >= DISPATCH_LEVEL
        if rights & PAGEABLE and raised:
            self._raised_irql(fault, "the memory is pageable")
        if rights:
            if access is Access.EXECUTE:
                self._no_execute(fault)
            if access is Access.WRITE and not rights & WRITE:
                # Page "Bug Check 0xBE": address, page table entry, reserved.
                self._die(
                    ATTEMPTED_WRITE_TO_READONLY_MEMORY,
                    fault,
                    (address, self._pte(address), 0, 0),
                    "read-only memory",
                )
        stack = machine.current.stack
        if stack.low - 2 * PAGE <= address < stack.low:
            machine.double_fault(address, fault.registers)
        pool = machine.pool
        live = pool.find(address) if pool.is_pool(address) else None
        freed = pool.find_freed(address) if pool.is_pool(address) and live is None else None
        if freed is not None:
            # Page "Bug Check 0xCC": memory referenced, 0 read / 1 write, instruction, reserved.
            parameters = (address, self._kind(access), pc, 0)
            with machine.suspecting(_driver(freed)):
                self._die(PAGE_FAULT_IN_FREED_SPECIAL_POOL, fault, parameters, f"freed: {freed}")
        if live is not None:
            # Page "Bug Check 0xD6": the same four.
            parameters = (address, self._kind(access), pc, 0)
            with machine.suspecting(_driver(live)):
                self._die(PAGE_FAULT_BEYOND_END, fault, parameters, f"beyond the end of {live}")
        gone = machine.modules.unloaded_at(address)
        if gone is not None:
            # Page "Bug Check 0xCE": memory referenced, 0 read / 1 write, instruction, reserved.
            self._die(
                DRIVER_UNLOADED, fault, (address, self._kind(access), pc, 0), f"{gone} has been unloaded"
            )
        why = self._not_valid(address)
        if raised:
            self._raised_irql(fault, why)
        # Page "Bug Check 0x50": such a fault is never dispatched, "it cannot be protected by try-except".
        self._die(
            PAGE_FAULT_IN_NONPAGED_AREA,
            fault,
            (address, self._kind(access), pc, 0),
            why,
        )

    def _not_valid(self, address: int) -> str:
        """Why there is nothing at a kernel address: perhaps something that a driver was shown and kept."""
        gone = self._machine.memory.find_gone(address)
        if gone is None:
            return "the address is not valid"
        shown, distance = gone
        where = f"{distance:#x} bytes into" if distance >= 0 else "a string or buffer of"
        return f"{where} {shown.what} at {shown.address:#x}, which went when the call it was made for ended"

    def _raised_irql(self, fault: Fault, why: str) -> NoReturn:
        """Pages "Bug Check 0xD1" (a driver did it) and "Bug Check 0xA" (the kernel did, for a driver)."""
        machine = self._machine
        by_driver = machine.modules.at(fault.pc) is not None or fault.access is Access.EXECUTE
        code = DRIVER_IRQL_NOT_LESS_OR_EQUAL if by_driver else IRQL_NOT_LESS_OR_EQUAL
        irql = machine.cpu.irql
        self._die(
            code, fault, (fault.address, irql, self._kind(fault.access), fault.pc), f"IRQL {irql}, {why}"
        )

    def _no_execute(self, fault: Fault) -> NoReturn:
        """Page "Bug Check 0xFC": address, page table entry, reserved, reserved."""
        self._die(
            EXECUTE_OF_NOEXECUTE,
            fault,
            (fault.address, self._pte(fault.address), 0, 0),
            "memory that is not executable",
        )

    def _die(self, code: int, fault: Fault, parameters: tuple[int, int, int, int], why: str) -> NoReturn:
        verb = {Access.READ: "read", Access.WRITE: "write", Access.EXECUTE: "execution"}[fault.access]
        reason = f"{verb} of {fault.address:#x}: {why}"
        self._machine.bugcheck(code, *parameters, reason=reason, registers=fault.registers)

    @staticmethod
    def _kind(access: Access) -> int:
        return int(access)

    def _pte(self, address: int) -> int:
        """What a page table entry of the page would look like: present, writable, no-execute."""
        entry = self._machine.memory.pages.get(address >> 12, 0)
        value = entry & ~PAGE_MASK | bool(entry & READ) | bool(entry & WRITE) << 1
        return value | (0 if entry & EXECUTE else 1 << 63)

    # --- other traps -----------------------------------------------------------------------------

    def trap(self, vector: int, registers: Registers) -> ExceptionRecord:
        """The exception of an interrupt; moves ``registers.ip`` onto the instruction where Windows does."""
        ip = registers.ip
        if vector == 0:
            return ExceptionRecord(self._divide_error(registers), 0, ip)
        if vector == _FAST_FAIL:
            # Page "Bug Check 0x139": code of __fastfail (in ecx), trap frame, exception record, reserved.
            kind = registers.general[CX] & 0xFFFF_FFFF
            self._machine.bugcheck(
                KERNEL_SECURITY_CHECK_FAILURE, kind, reason=f"__fastfail({kind})", registers=registers
            )
        if vector == 3:
            registers.ip = ip - 1
            return ExceptionRecord(StatusCode.BREAKPOINT, 0, ip - 1, (0,))
        if vector in _VECTORS:
            registers.ip = ip - (2 if vector >= 0x20 else 0)
            return ExceptionRecord(_VECTORS[vector], 0, registers.ip)
        if vector == _DOUBLE_FAULT:
            self._machine.double_fault(registers.sp, registers)
        return access_violation((1 << 8 * self._machine.memory.pointer_size) - 1, Access.READ, ip)

    def _divide_error(self, registers: Registers) -> StatusCode:
        """#DE is raised for a zero divisor and for a quotient that does not fit; Windows looks which."""
        code = self._code_at(registers.ip)
        at = 0
        wide = self._machine.memory.pointer_size == 8
        rex = 0
        while at < len(code) and (code[at] == 0x66 or (wide and code[at] & 0xF0 == 0x40)):
            rex = code[at] & 15 if code[at] != 0x66 else rex
            at += 1
        if code[at : at + 1] in (b"\xf6", b"\xf7") and at + 1 < len(code) and code[at + 1] >> 6 == 3:
            divisor = registers.general[(code[at + 1] & 7) | (rex & 1) << 3]
            if divisor & 0xFFFF_FFFF or (rex & 8 and divisor):
                return StatusCode.INTEGER_OVERFLOW
        return StatusCode.INTEGER_DIVIDE_BY_ZERO

    def undefined(self, registers: Registers) -> ExceptionRecord:
        """An instruction the processor does not know, or a stop it gives no reason for."""
        return ExceptionRecord(StatusCode.ILLEGAL_INSTRUCTION, 0, registers.ip)

    def unhandled(self, error: GuestException) -> NoReturn:
        """The bugcheck of an exception that nothing handled, by what the thread was doing.

        Pages "Bug Check 0x1E" (code, address, first two parameters), "0x7E" (system threads: code, address,
        records), "0x3B" (x64 system services: code, address, context), "0x8E" (x86: code, address, frame).
        """
        machine = self._machine
        record = error.record
        parameters = (*record.parameters[:2], 0, 0)[:2]
        if machine.cpu.irql >= DISPATCH_LEVEL:
            code, tail = KMODE_EXCEPTION_NOT_HANDLED, parameters
        elif machine.current.system:
            code, tail = SYSTEM_THREAD_EXCEPTION, (error.record_address, error.context)
        elif machine.arch is Arch.X64:
            code, tail = SYSTEM_SERVICE_EXCEPTION, (error.context, 0)
        else:
            code, tail = KERNEL_MODE_EXCEPTION, (error.context, 0)
        machine.bugcheck(code, record.code, record.address, *tail, reason=error.describe(), stack=error.stack)


def _driver(allocation: Allocation) -> Driver | None:
    """Whose pool it is. The kernel's own, taken while it served a driver, is nobody's."""
    return allocation.owner if isinstance(allocation.owner, Driver) else None
