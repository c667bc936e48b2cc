"""Stacks: the frames of every call into the guest that has not returned, innermost first."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.guest.bugcheck import Frame
from harness.reference.faults import GuestFault
from harness.reference.registers import BP, BX, DI, SI, SP, Registers
from harness.reference.seh.unwind import UnwindError
from harness.reference.seh.x64 import unwind_frame

if TYPE_CHECKING:
    from harness.reference.levels import Level
    from harness.reference.machine import Machine

__all__ = ["StackWalker"]

_DEEPEST: Final = 32
_SCANNED: Final = 512  # bytes of stack searched for a return address where the frame chain breaks


class StackWalker:
    """Walks and symbolises stacks of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def addresses(self, registers: Registers | None = None) -> list[int]:
        """Instruction addresses of all frames: of `registers` in the innermost call, then of its callers.

        Without `registers` the walk starts where the guest is: at the trap being served or the processor's
        state. The first address is exact, the others are return addresses.
        """
        machine = self._machine
        levels = machine.cpu.levels
        found: list[int] = []
        state = registers
        for index in range(len(levels) - 1, -1, -1):
            level = levels[index]
            if state is None:
                state = self._at_trap(level, levels[index + 1] if index + 1 < len(levels) else None)
            found += self._level(state, level)
            state = None
            if len(found) >= _DEEPEST:
                break
        return found[:_DEEPEST]

    def frames(self, registers: Registers | None = None) -> tuple[Frame, ...]:
        """The symbolised stack."""
        return self.symbolise(self.addresses(registers))

    def symbolise(self, addresses: list[int]) -> tuple[Frame, ...]:
        """Frames for addresses as `addresses` gives them."""
        return tuple(self._machine.symbols.frame(a, exact=i == 0) for i, a in enumerate(addresses))

    def _at_trap(self, level: Level, inner: Level | None) -> Registers:
        """The registers of `level` at the export it is in."""
        cpu = self._machine.cpu
        registers = cpu.engine.registers.read()
        if inner is not None:  # an inner call saved what the callers' unwind data may need
            memory = self._machine.memory
            if memory.pointer_size == 8:
                values = struct.unpack("<9Q", memory.read(inner.frame, 72))
                order: tuple[int, ...] = (SP, BX, BP, SI, DI, 12, 13, 14, 15)
            else:
                values = struct.unpack("<5I", memory.read(inner.frame, 20))
                order = (SP, BX, BP, SI, DI)
            for number, value in zip(order, values, strict=True):
                registers.general[number] = value
        if level.trap:
            registers.ip = cpu.code.slot_of(level.trap)
            registers.general[SP] = level.trap_sp
        return registers

    def _level(self, registers: Registers, level: Level) -> list[int]:
        return (
            self._walk64(registers)
            if self._machine.memory.pointer_size == 8
            else self._walk32(registers, level)
        )

    def _walk64(self, registers: Registers) -> list[int]:
        walk = registers.copy()
        found: list[int] = []
        while len(found) < _DEEPEST:
            found.append(walk.ip)
            before = walk.sp
            try:
                if unwind_frame(self._machine, walk) is None:
                    found.pop()
                    break
            except (UnwindError, GuestFault):
                break
            if walk.sp <= before:
                break
        return found

    def _walk32(self, registers: Registers, level: Level) -> list[int]:
        """Along the chain of frame pointers; where there is none, the next plausible return address."""
        machine = self._machine
        memory = machine.memory
        found = [registers.ip]
        sp, frame = registers.sp, registers.general[BP]
        if machine.modules.at(registers.ip) is None:  # an export or a wild jump: the caller is on top
            try:
                found.append(memory.u32(sp))
            except GuestFault:
                return found
            sp += 4
        elif self._frameless(registers.ip):
            place = self._scan(sp, level)
            if place is not None and place < frame:
                found.append(memory.u32(place))
                sp = place + 4
        while len(found) < _DEEPEST and found[-1] != machine.cpu.code.call_return:
            if sp <= frame < level.frame and frame & 3 == 0:
                try:
                    back, up = memory.u32(frame + 4), memory.u32(frame)
                except GuestFault:
                    break
                if self._is_code(back):
                    found.append(back)
                    sp, frame = frame + 8, up
                    continue
            place = self._scan(sp, level)
            if place is None:
                break
            found.append(memory.u32(place))
            sp = place + 4
        if found[-1] == machine.cpu.code.call_return:
            found.pop()
        return found

    def _frameless(self, address: int) -> bool:
        """Whether the function at `address` is known not to set up a frame pointer."""
        start = self._machine.symbols.function_start(address)
        if start is None:
            return False
        try:
            code = self._machine.memory.read(start, 6)
        except GuestFault:  # discarded: nothing is known
            return False
        return b"\x55\x89\xe5" not in code and b"\x55\x8b\xec" not in code

    def _scan(self, sp: int, level: Level) -> int | None:
        memory = self._machine.memory
        for place in range((sp + 3) & ~3, min(sp + _SCANNED, level.frame), 4):
            try:
                value = memory.u32(place)
                if self._is_code(value) and self._after_call(value):
                    return place
            except GuestFault:
                return None
        return None

    def _is_code(self, address: int) -> bool:
        return self._machine.modules.at(address) is not None or address == self._machine.cpu.code.call_return

    def _after_call(self, address: int) -> bool:
        """Whether the instruction before `address` is a call."""
        before = self._machine.memory.read(address - 6, 6)
        if before[1] == 0xE8 or (before[0] == 0xFF and before[1] == 0x15):
            return True
        return any(before[-n] == 0xFF and before[1 - n] & 0x38 == 0x10 for n in (2, 3))
