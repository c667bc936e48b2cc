"""The kernel routines of structured exception handling.

Pages "RtlUnwind", "RtlUnwindEx", "RtlRaiseException", "RtlCaptureContext", "RtlCaptureStackBackTrace",
"RtlLookupFunctionEntry", "__C_specific_handler".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.guest import Arch
from harness.reference.dispatch import trapped_registers
from harness.reference.exports import export
from harness.reference.faults import RaiseInGuest
from harness.reference.registers import BP, SP
from harness.reference.seh import x64, x86
from harness.reference.seh.control import UnwindTo
from harness.reference.seh.records import read_record, store_context

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_X64: Final = (Arch.X64,)
_X86: Final = (Arch.X86,)
_MOST_FRAMES: Final = 62


def _below(m: Machine) -> int:
    """Stack address under which code may run for the caller of the export being served."""
    return m.cpu.levels[-1].trap_sp


@export("__C_specific_handler", args="ptr, ptr, ptr, ptr", arches=_X64)
def c_specific_handler(m: Machine, record: int, frame: int, context: int, dispatcher: int) -> int:
    return x64.c_specific_handler(m, record, frame, context, dispatcher, below=_below(m))


@export("RtlUnwindEx", args="ptr, ptr, ptr, ptr, ptr, ptr", arches=_X64)
def rtl_unwind_ex(
    m: Machine, frame: int, target: int, record: int, value: int, context: int, history: int
) -> None:
    raise UnwindTo(frame, target, value)


@export("RtlUnwind", args="ptr, ptr, ptr, ptr", arches=_X64)
def rtl_unwind(m: Machine, frame: int, target: int, record: int, value: int) -> None:
    raise UnwindTo(frame, target, value)


@export("RtlUnwind", args="ptr, ptr, ptr, ptr", arches=_X86)
def rtl_unwind_x86(m: Machine, frame: int, target: int, record: int, value: int) -> int:
    """On x86 it returns to its caller whatever `target` says, with `value` in eax."""
    x86.rtl_unwind(m, frame, record, _below(m))
    return value


@export("_except_handler2", args="ptr, ptr, ptr, ptr", cc="cdecl", arches=_X86)
@export("_except_handler3", args="ptr, ptr, ptr, ptr", cc="cdecl", arches=_X86)
def except_handler(m: Machine, record: int, registration: int, context: int, dispatcher: int) -> int:
    return x86.except_handler(m, record, registration, context, _below(m))


@export("_global_unwind2", args="ptr", cc="cdecl", arches=_X86)
def global_unwind(m: Machine, registration: int) -> None:
    x86.rtl_unwind(m, registration, 0, _below(m))


@export("_local_unwind2", args="ptr, ulong", cc="cdecl", arches=_X86)
def local_unwind(m: Machine, registration: int, level: int) -> None:
    x86.local_unwind(m, registration, level, _below(m))


@export("_abnormal_termination", args="", cc="cdecl", arches=_X86)
def abnormal_termination(m: Machine) -> int:
    """Whether the __finally block that asks runs because of an unwind."""
    return int(m.cpu.levels[-1].function == m.cpu.code.frame_call)


@export("RtlRaiseException", args="ptr")
def rtl_raise_exception(m: Machine, record: int) -> None:
    raise RaiseInGuest(read_record(m.memory, record))


@export("RtlCaptureContext", args="ptr")
def rtl_capture_context(m: Machine, context: int) -> None:
    """The registers of the caller, as they are after the call returns."""
    registers = trapped_registers(m, m.cpu.levels[-1])
    registers.ip = m.memory.ptr(registers.sp)
    registers.general[SP] += m.memory.pointer_size
    if m.arch is Arch.X86:
        # It captures the frame of the function that called it, whose ebp points at the saved pair.
        registers.general[SP] = registers.general[BP] + 8
        registers.ip = m.memory.u32(registers.general[BP] + 4)
        registers.general[BP] = m.memory.u32(registers.general[BP])
    store_context(m.memory, context, registers)


@export("RtlCaptureStackBackTrace", args="ulong, ulong, ptr, ptr", since=(5, 2))
def rtl_capture_stack_back_trace(m: Machine, skip: int, count: int, frames: int, digest: int) -> int:
    """Return addresses of the caller's frames; `skip` counts from the caller itself."""
    found = m.stacks.addresses()[1 + skip :][: min(count, _MOST_FRAMES)]
    for i, address in enumerate(found):
        m.memory.put_ptr(frames + i * m.memory.pointer_size, address)
    if digest:
        m.memory.put_u32(digest, sum(found))
    return len(found)


@export("RtlLookupFunctionEntry", args="ptr, ptr, ptr", arches=_X64)
def rtl_lookup_function_entry(m: Machine, pc: int, base: int, history: int) -> int:
    driver = m.modules.at(pc)
    m.memory.put_ptr(base, driver.base if driver is not None else 0)
    return m.modules.entry_address(driver, driver.function_at(pc) if driver is not None else None)


@export("RtlPcToFileHeader", args="ptr, ptr")
def rtl_pc_to_file_header(m: Machine, pc: int, base: int) -> int:
    driver = m.modules.at(pc)
    found = driver.base if driver is not None else 0
    m.memory.put_ptr(base, found)
    return found
