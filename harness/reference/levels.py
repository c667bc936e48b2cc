"""Calls into the guest that have not returned, and what can interrupt or suspend them."""

from __future__ import annotations

from dataclasses import dataclass

from harness.reference.faults import Access, ExceptionRecord
from harness.reference.registers import Registers
from harness.reference.seh.control import UnwindTo

__all__ = ["Interruption", "Level", "LevelReturned", "Stack", "Standing", "Suspension"]


@dataclass(frozen=True, slots=True)
class Stack:
    """A kernel stack: ``[low, high)``, contiguous in the arena at ``address + delta``."""

    low: int
    high: int
    delta: int


class Level:
    """One call into the guest that has not returned."""

    __slots__ = ("base", "chain", "frame", "function", "stack", "trap", "trap_sp")

    def __init__(self, function: int, frame: int, base: int, stack: Stack) -> None:
        self.function = function
        self.frame = frame  # save area; identifies the level
        self.base = base  # stack pointer at the call instruction
        self.stack = stack
        self.trap = 0  # hook instruction of the export being served, 0 when guest code runs
        self.trap_sp = 0
        self.chain = 0  # x86: the caller's exception registration


@dataclass(frozen=True, slots=True)
class Interruption:
    """Why guest code stopped before its return.

    Exactly one of these is set: `fault` (page address and kind of access), `vector` (interrupt number),
    `record` (raised by an export), `target` (an export unwinds), `invalid` (undefined instruction).
    """

    fault: tuple[int, Access] | None = None
    vector: int | None = None
    record: ExceptionRecord | None = None
    target: UnwindTo | None = None
    invalid: bool = False


@dataclass(frozen=True, slots=True)
class Suspension:
    """A call put aside while it waits inside an export; `Cpu.resume` takes it up again."""

    level: Level
    registers: Registers
    irql: int
    chain: int  # x86: its exception registrations


@dataclass(frozen=True, slots=True)
class Standing:
    """Calls that wait with their frames in Python, while the processor does something else."""

    levels: list[Level]
    registers: Registers | None
    irql: int
    chain: int  # x86: the exception registrations in force


class LevelReturned(BaseException):
    """An outer call returned while an inner one was emulated: its code had jumped into the outer frames."""

    def __init__(self, frame: int, result: int) -> None:
        super().__init__()
        self.frame = frame
        self.result = result
