"""The processor: calls into the guest.

`Cpu.call` runs guest code to its return on the current thread's stack. While it runs, the exports it calls
are served (`harness.reference.export_traps`), and whatever interrupts it (a fault, an exception raised by an
export, a Python exception on its way out) is settled in `_interrupted` before the code goes on. Calls nest:
an export may call the guest again, on the same stack, below the frame that trapped.
"""

from __future__ import annotations

import struct
from time import monotonic
from typing import TYPE_CHECKING, Final

from harness.errors import InfrastructureError
from harness.reference import mailbox as mb
from harness.reference.engine import ERR_EXCEPTION, ERR_INVALID_INSTRUCTION
from harness.reference.export_traps import TrappingProcessor
from harness.reference.faults import GuestException, GuestFault, RaiseInGuest
from harness.reference.levels import Interruption, Level, LevelReturned, Stack, Suspension
from harness.reference.memory import Memory
from harness.reference.registers import AX, DX, SP
from harness.reference.segments import CHAIN_END
from harness.reference.seh.control import UnwindTo
from harness.reference.traps import ARGS_AREA, SAVE_AREA

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["Cpu"]

#: Unicorn nests 64 deep; a guest that gets there has long used up any real kernel stack.
_DEEPEST: Final = 60
#: Stack taken for the kernel's own frames between an export and the guest code it calls.
_KERNEL_FRAMES: Final = 0x100
#: Stack that has to be left for a call.
_RESERVE: Final = 0x200
_ZEROES: Final = (0, 0, 0, 0)

_CELL: Final = struct.Struct("<Q")
_CALL: Final = struct.Struct("<8Q")  # CALL_SP .. DONE
_DONE: Final = struct.Struct("<4Q")


class Cpu(TrappingProcessor):
    """The one processor of a machine."""

    def __init__(self, machine: Machine, memory: Memory, mailbox: int, irql_cell: int) -> None:
        """`mailbox` is the address of the mailbox page, `irql_cell` of the byte that holds the IRQL."""
        super().__init__(machine, memory, mailbox, irql_cell)
        self._result_mask = memory.map.address_mask
        self._vector: int | None = None
        #: Outermost calls so far: changes whenever guest code has run.
        self.begun = 0
        self.engine.on_interrupt(self._on_interrupt)
        self.engine.on_invalid()

    # --- calls -----------------------------------------------------------------------------------

    def call(self, function: int, *args: int, any_irql: bool = False) -> int:
        """Run the guest function to its return; the accumulator's value (64 or 32 bits, unsigned).

        Arguments are pointer-sized (pass the halves of a 64-bit value on x86). An exception that no
        handler takes ends in `Machine.unhandled`, a bugcheck; `Machine.call_guarded` catches it instead.
        ``any_irql=True`` lets the function change the IRQL, for callers that judge it themselves.
        """
        try:
            return self.run(function, args, any_irql=any_irql)
        except GuestException as error:
            self._machine.unhandled(error)

    def run(
        self,
        function: int,
        args: tuple[int, ...],
        *,
        below: int = 0,
        fast: tuple[int, int] = (0, 0),
        keep_chain: bool = False,
        any_irql: bool = False,
    ) -> int:
        """As `call`, but raises `GuestException` for an exception that no handler takes.

        `below` is the stack address to stay under when the code belongs to interrupted code (a filter, a
        handler); it may change the IRQL then. Not given, the export being served or the thread's idle stack
        decides. On x86, `fast` are ecx and edx, and ``keep_chain=True`` leaves the exception registrations of
        the caller in force.
        """
        levels, arena = self.levels, self._arena
        stack = self._machine.current.stack
        place = below or self._idle_sp(stack)
        if not levels:
            self._begin()
        frame = (place - _KERNEL_FRAMES - SAVE_AREA) & ~15
        base = frame - ARGS_AREA
        if base < stack.low + _RESERVE or len(levels) >= _DEEPEST:
            self._machine.double_fault(base)
        irql = arena[self._irql_at]
        level = Level(function, frame, base, stack)
        if self._wide:
            if len(args) > 4:
                self._memory.write(base + 0x20, struct.pack(f"<{len(args) - 4}Q", *args[4:]))
                args = args[:4]
            cells = (*args, *_ZEROES[len(args) :])
        else:
            if args:
                self._memory.write(base, struct.pack(f"<{len(args)}I", *args))
            cells = (*fast, 0, 0)
            if not keep_chain:
                level.chain, self.chain = self.chain, CHAIN_END
        if self.translation.granted:
            self.translation.revoke_user()
        _CALL.pack_into(arena, self._box + mb.CALL_SP, base, frame, function, *cells, 0)
        result = self._emulate(level, self.code.thunk)
        if arena[self._irql_at] != irql and not below and not any_irql:
            self._machine.irql_changed(function, irql)
        return result

    def _idle_sp(self, stack: Stack) -> int:
        """Where `stack` is free: below the export that its thread is in, or all of it."""
        for level in reversed(self.levels):
            if level.stack is stack:
                return level.trap_sp or level.base
        return stack.high

    def _begin(self) -> None:
        """An outermost call: its deadline starts."""
        self.begun += 1
        if self.flush_is_due:
            self.flush_is_due = False
            self.engine.flush_code()
        now = monotonic()
        self.busy_since = now
        if now > self.attention_at:
            self._machine.watch(now)

    def _emulate(self, level: Level, ip: int) -> int:
        """Run `level` from `ip` to its end and take it off the list of calls."""
        levels, arena = self.levels, self._arena
        levels.append(level)
        start, stop, done_at = self.engine.start, self.code.stop, self._box + mb.DONE
        try:
            if ip != self.code.thunk:
                self.translation.catch_up()
            while True:
                status = start(ip, stop, 0, 0)
                if self._stopped_at is not None:
                    ip = self._serve_outside(level)
                    continue
                done, frame, result, _high = _DONE.unpack_from(arena, done_at)
                if done and self._raised is None:
                    if frame != level.frame:
                        raise LevelReturned(frame, result & self._result_mask)
                    return int(result & self._result_mask)
                ip = self._interrupted(status, level)
                self.translation.catch_up()
        except LevelReturned as outer:
            if outer.frame != level.frame:
                raise
            return outer.result
        except GuestException:
            state = self.engine.registers.read()
            self.code.restore(level.frame, state)
            self.engine.registers.write(state)
            self._clear_stop()
            raise
        except BaseException:
            self._clear_stop()
            raise
        finally:
            levels.pop()
            _CELL.pack_into(arena, done_at, 0)
            if level.chain:
                self.chain = level.chain
            if not levels:
                self.busy_since = 0.0

    def _clear_stop(self) -> None:
        """Withdraw a request to stop that ended this call: the code below would find it, and unicorn calls no
        more hooks for it. Starting at the place where emulation ends runs nothing and resets it."""
        if self._nested:
            self.engine.start(self.code.stop, self.code.stop, 0, 0)

    def run_with_frame(self, function: int, frame_pointer: int, *, below: int) -> int:
        """x86: run a filter or a __finally block, which find their variables through ebp."""
        return self.run(self.code.frame_call, (function, frame_pointer), below=below, keep_chain=True)

    def resume(self, suspension: Suspension, result: int) -> int:
        """Go on with a call put aside, as if its export had just returned `result`; returns as `run` does."""
        outer = self.engine.registers.read(xmm=self._wide) if self.levels else None
        if outer is None:
            self._begin()
        level, registers = suspension.level, suspension.registers
        registers.general[AX] = result & self._result_mask
        level.trap = 0
        level.chain, self.chain = self.chain, suspension.chain
        self.engine.registers.write(registers)
        try:
            return self._emulate(level, registers.ip)
        finally:
            if outer is not None:
                self.engine.registers.write(outer)

    # --- interruptions ---------------------------------------------------------------------------

    def _interrupted(self, status: int, level: Level) -> int:
        """Settle what stopped the guest; returns where to go on."""
        raised, self._raised = self._raised, None
        refused, self.translation.refused = self.translation.refused, None
        vector, self._vector = self._vector, None
        if self.expired:
            self._machine.hung()
        if raised is not None:
            if isinstance(raised, GuestFault):
                record = self._machine.fault_record(raised)
            elif isinstance(raised, RaiseInGuest):
                record = raised.record
            elif isinstance(raised, UnwindTo) and level.trap_sp <= raised.establisher < level.base:
                return self._resumed(Interruption(target=raised), level)
            else:
                raise raised
            why = Interruption(record=record)
        elif vector is not None:
            why = Interruption(vector=vector)
        elif status == ERR_EXCEPTION and refused is not None:
            why = Interruption(fault=refused)
        elif status in (0, ERR_INVALID_INSTRUCTION):
            why = Interruption(invalid=True)
        else:
            raise InfrastructureError(
                f"the emulator stopped with error {status} of unicorn at {self.current_pc():#x}; that says "
                "nothing about the driver: run it on a machine, and report this with the driver's image"
            )
        return self._resumed(why, level)

    def _resumed(self, why: Interruption, level: Level) -> int:
        ip = self._machine.interrupted(why, level)
        level.trap = 0
        return ip

    def _on_interrupt(self, vector: int) -> None:
        if self._vector is None:
            self._vector = vector
        self.engine.stop()

    def _serve_outside(self, level: Level) -> int:
        """Serve the export that the engine stopped at; returns where to go on."""
        stopped, self._stopped_at = self._stopped_at, None
        assert stopped is not None
        registers = stopped.registers
        try:
            result = self._invokers[(level.trap - self.code.hooks) >> 3](level.trap_sp, level)
        except BaseException as error:
            registers.ip, registers.general[SP] = level.trap, level.trap_sp
            self.engine.registers.write(registers)
            self._raised = error
            ip = self._interrupted(0, level)
        else:
            if result is not None:
                registers.general[AX] = result & self._result_mask
                if not self._wide:
                    registers.general[DX] = result >> 32 & 0xFFFF_FFFF
            self.engine.registers.write(registers)
            level.trap = 0
            ip = registers.ip
        self.translation.catch_up()
        return ip
