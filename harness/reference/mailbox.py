"""The page through which Python and the kernel's machine code talk.

Reading and writing registers through unicorn costs more than a whole call; the thunks and trap slots move
them to and from this page instead.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CALL_ARGS",
    "CALL_FRAME",
    "CALL_FUNCTION",
    "CALL_SP",
    "COUNTER",
    "DONE",
    "DONE_FRAME",
    "DONE_HIGH",
    "DONE_RESULT",
    "DPC_PENDING",
    "INVALID_COUNT",
    "INVALID_LIST",
    "INVALID_MAX",
    "IRQL",
    "PAGED_CACHED",
    "PREVIOUS_MODE",
    "PROCESS",
    "PROCESS_ID",
    "RESUME",
    "RETURN",
    "RETURN_HIGH",
    "THREAD",
    "THREAD_ID",
    "TRAP_CX",
    "TRAP_DX",
    "TRAP_SP",
]

# All cells are 8 bytes apart; 32-bit code uses the low half.
TRAP_SP: Final = 0x00  # stack pointer at an export's trap: the return address is there
TRAP_CX: Final = 0x08  # x86: ecx and edx at the trap (fastcall arguments)
TRAP_DX: Final = 0x10
RETURN: Final = 0x18  # what the export returns in the accumulator
RETURN_HIGH: Final = 0x20  # x86: in edx
IRQL: Final = 0x28  # the current IRQL; the only place that holds it
PAGED_CACHED: Final = 0x30  # pageable pages are in the TLB: raising the IRQL has to go through Python
INVALID_COUNT: Final = 0x38  # entries in INVALID_LIST
CALL_SP: Final = 0x40  # a call: stack pointer, save area, function, four register arguments
CALL_FRAME: Final = 0x48
CALL_FUNCTION: Final = 0x50
CALL_ARGS: Final = 0x58
DONE: Final = 0x78  # 1 when the call returned, then its frame, accumulator and edx
DONE_FRAME: Final = 0x80
DONE_RESULT: Final = 0x88
DONE_HIGH: Final = 0x90
PROCESS: Final = 0xA0  # the current thread's identity, for the stubs
THREAD: Final = 0xA8
PROCESS_ID: Final = 0xB0
THREAD_ID: Final = 0xB8
PREVIOUS_MODE: Final = 0xC0
COUNTER: Final = 0xC8  # the last value of the performance counter
DPC_PENDING: Final = 0xD0  # lowering the IRQL has to go through Python, which then runs DPCs
RESUME: Final = 0xD8  # where code goes on that left a protected scope by way of `KernelCode.leave_scope`
INVALID_LIST: Final = 0x100  # addresses whose translations the next code to run has to drop
INVALID_MAX: Final = 64
