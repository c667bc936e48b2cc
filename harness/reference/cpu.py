"""The processor: calls into the guest and traps out of it.

`Cpu.call` runs guest code to its return on the current thread's stack. While it runs, exports called by
the guest arrive in `_on_trap`, and whatever interrupts it (a fault, an exception raised by an export, a
Python exception on its way out) is settled in `_interrupted` before the code goes on. Calls nest: an
export may call the guest again, on the same stack, below the frame that trapped.
"""

from __future__ import annotations

import struct
from time import monotonic
from typing import TYPE_CHECKING, Final

from harness.errors import InfrastructureError
from harness.guest import Arch
from harness.reference import mailbox as mb
from harness.reference.engine import ERR_EXCEPTION, ERR_INVALID_INSTRUCTION, Engine
from harness.reference.exports import Export
from harness.reference.faults import GuestException, GuestFault, RaiseInGuest
from harness.reference.invoke import Invoker, invoker
from harness.reference.levels import Interruption, Level, LevelReturned, Stack, Standing, Suspension
from harness.reference.memory import Memory
from harness.reference.registers import AX, BP, BX, DI, DX, SI, SP
from harness.reference.segments import CHAIN_END, EXCEPTION_LIST
from harness.reference.seh.control import UnwindTo
from harness.reference.stubs import StubPlace, build_stub
from harness.reference.translation import DISPATCH_LEVEL, Translation
from harness.reference.traps import ARGS_AREA, SAVE_AREA, KernelCode

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["DISPATCH_LEVEL", "Cpu", "Suspension"]

_MOV_TO_CR: Final = 0x22  # second opcode byte of mov crN,reg
#: Unicorn nests 64 deep; a guest that gets there has long used up any real kernel stack.
_DEEPEST: Final = 60
#: Stack taken for the kernel's own frames between an export and the guest code it calls.
_KERNEL_FRAMES: Final = 0x100
#: Stack that has to be left for a call.
_RESERVE: Final = 0x200
_ZEROES: Final = (0, 0, 0, 0)

_CELL: Final = struct.Struct("<Q")
_COUNT: Final = struct.Struct("<I")
_CALL: Final = struct.Struct("<8Q")  # CALL_SP .. DONE
_CHAIN: Final = _COUNT
_DONE: Final = struct.Struct("<4Q")
_PAIR: Final = struct.Struct("<2Q")


class Cpu:
    """The one processor of a machine."""

    def __init__(self, machine: Machine, memory: Memory, mailbox: int, irql_cell: int) -> None:
        """`mailbox` is the address of the mailbox page, `irql_cell` of the byte that holds the IRQL."""
        self._machine = machine
        self._memory = memory
        self._arena = memory.arena
        self._mailbox = mailbox
        self._box = memory.physical(mailbox)
        self._irql_cell = irql_cell
        self._irql_at = memory.physical(irql_cell)
        self._arch = machine.arch
        self._wide = machine.arch is Arch.X64
        self._chain_at = memory.physical(memory.map.kpcr + EXCEPTION_LIST)
        self._result_mask = memory.map.address_mask
        self._mirrored = False  # code reads the IRQL from CR2
        self._scope_ends: set[int] = set()
        self._flush_later = False
        self._vector: int | None = None
        self._raised: BaseException | None = None
        self._invokers: list[Invoker] = []
        self.levels: list[Level] = []
        #: Exports are served when the engine has stopped at them, so that a call can stand aside in one:
        #: nothing of the engine lies between it and whoever made the call then.
        self.outside = False
        self._stopped_at: Suspension | None = None
        #: Outermost calls so far: changes whenever guest code has run.
        self.begun = 0
        #: When the outermost call began (time.monotonic), 0.0 while no guest code runs; for the watch-dog.
        self.busy_since = 0.0
        #: When the machine wants to hear of an outermost call again (time.monotonic).
        self.attention_at = 0.0
        #: Set by the watch-dog before it stops the engine.
        self.expired = False
        self.closed = False
        self.code = KernelCode(memory, mailbox)
        self.translation = Translation(memory, self._box, self._irql_at)
        self.engine = Engine(machine.arch, memory, self.translation.translate)
        self.translation.flush_engine = self.engine.flush_tlb
        self.engine.hook_code(*self.code.hook_range, self._on_trap)
        self.engine.on_interrupt(self._on_interrupt)
        self.engine.on_invalid()

    # --- state -----------------------------------------------------------------------------------

    @property
    def irql(self) -> int:
        """The current IRQL, inline changes by drivers (CR8) included."""
        return self._arena[self._irql_at]

    @irql.setter
    def irql(self, value: int) -> None:
        if value >= DISPATCH_LEVEL:
            self.translation.forget_paged()
        self._arena[self._irql_at] = value
        if self._mirrored:
            self.engine.registers.set_cr2(value)

    @property
    def dpc_pending(self) -> bool:
        """Whether lowering the IRQL has work to do; the scheduler sets it while DPCs are queued or run."""
        return bool(self._arena[self._box + mb.DPC_PENDING])

    @dpc_pending.setter
    def dpc_pending(self, value: bool) -> None:
        self._put(mb.DPC_PENDING, int(value))

    @property
    def _nested(self) -> bool:
        """Whether an export made the innermost call: unicorn comes back to code further out then."""
        return len(self.levels) > 1

    def arg(self, index: int) -> int:
        """Pointer-sized argument `index` of the export being served."""
        level = self.levels[-1]
        size = self._memory.pointer_size
        return self._memory.ptr(level.trap_sp + size * (index + 1))

    @property
    def stack_pointer(self) -> int:
        """Stack pointer of the guest code that runs or trapped."""
        level = self.levels[-1] if self.levels else None
        if level is not None and level.trap:
            return level.trap_sp
        return self.engine.registers.read().sp

    def current_pc(self) -> int:
        """Where the guest is: the return address of the export being served, else the next instruction."""
        level = self.levels[-1] if self.levels else None
        if level is not None and level.trap:
            return self._memory.ptr(level.trap_sp)
        return self.engine.registers.read().ip

    def _put(self, cell: int, value: int) -> None:
        _CELL.pack_into(self._arena, self._box + cell, value)

    # --- code and user memory ----------------------------------------------------------------------

    def flush_code(self) -> None:
        """Forget translated code; needed whenever code in memory changed or a hook was added.

        Below a running call it is put off to the next outermost one: unicorn would overwrite the code that
        the calls further out come back to.
        """
        if self._nested:
            self._flush_later = True
        else:
            self.engine.flush_code()

    def grant_user(self, page: int, scope_end: int) -> None:
        """Let guest code touch a user page until it traps, returns or gets to `scope_end` (0: not known)."""
        self.translation.granted.add(page)
        if scope_end and scope_end not in self._scope_ends:
            self._scope_ends.add(scope_end)
            self.engine.hook_code(scope_end, scope_end, self._on_scope_end)
            self.flush_code()

    def _on_scope_end(self, _uc: object, address: int, _size: int, _data: object) -> None:
        if self.translation.granted:
            self.translation.revoke_user()
            self._put(mb.RESUME, address)
            self.engine.set_ip(self.code.leave_scope)

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
                level.chain = _CHAIN.unpack_from(arena, self._chain_at)[0]
                _CHAIN.pack_into(arena, self._chain_at, CHAIN_END)
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
        if self._flush_later:
            self._flush_later = False
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
            self._restore(level)
            self._clear_stop()
            raise
        except BaseException:
            self._clear_stop()
            raise
        finally:
            levels.pop()
            _CELL.pack_into(arena, done_at, 0)
            if level.chain:
                _CHAIN.pack_into(arena, self._chain_at, level.chain)
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

    def suspend(self, irql: int) -> Suspension:
        """Put the innermost call aside at the export it is in: its stack stays, everything else goes.

        The caller then leaves the call by an exception of its own. `irql` is what to go on at.
        """
        level = self.levels[-1]
        registers = self.engine.registers.read(xmm=self._wide)
        export = self.code.export_at(level.trap)
        assert export is not None
        registers.ip = self._memory.ptr(level.trap_sp)
        popped = 0 if self._wide else export.stack_bytes()
        registers.general[SP] = level.trap_sp + self._memory.pointer_size + popped
        chain = 0 if self._wide else _CHAIN.unpack_from(self._arena, self._chain_at)[0]
        return Suspension(level, registers, irql, chain)

    def resume(self, suspension: Suspension, result: int) -> int:
        """Go on with a call put aside, as if its export had just returned `result`; returns as `run` does."""
        outer = self.engine.registers.read(xmm=self._wide) if self.levels else None
        if outer is None:
            self._begin()
        level, registers = suspension.level, suspension.registers
        registers.general[AX] = result & self._result_mask
        level.trap = 0
        if not self._wide:
            level.chain = _CHAIN.unpack_from(self._arena, self._chain_at)[0]
            _CHAIN.pack_into(self._arena, self._chain_at, suspension.chain)
        self.engine.registers.write(registers)
        try:
            return self._emulate(level, registers.ip)
        finally:
            if outer is not None:
                self.engine.registers.write(outer)

    def _restore(self, level: Level) -> None:
        """Put the interrupted code's registers back after a call that did not return."""
        state = self.engine.registers.read()
        general, memory, frame = state.general, self._memory, level.frame
        if self._wide:
            saved = struct.unpack("<9Q", memory.read(frame, 72))
            order: tuple[int, ...] = (SP, BX, BP, SI, DI, 12, 13, 14, 15)
            vectors = memory.read(frame + 0x50, 160)
            state.xmm = {6 + i: int.from_bytes(vectors[16 * i : 16 * i + 16], "little") for i in range(10)}
        else:
            saved = struct.unpack("<5I", memory.read(frame, 20))
            order = (SP, BX, BP, SI, DI)
        for number, value in zip(order, saved, strict=True):
            general[number] = value
        self.engine.registers.write(state)

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
            raise InfrastructureError(f"unicorn stopped with error {status} at {self.current_pc():#x}")
        return self._resumed(why, level)

    def _resumed(self, why: Interruption, level: Level) -> int:
        ip = self._machine.interrupted(why, level)
        level.trap = 0
        return ip

    def _on_interrupt(self, vector: int) -> None:
        if self._vector is None:
            self._vector = vector
        self.engine.stop()

    # --- traps -----------------------------------------------------------------------------------

    def place(self, export: Export) -> int:
        """Give an export a trap slot; a variable is asked for its address. Returns the address."""
        if export.data:
            address: int = export.function(self._machine)
            return address
        slot = self.code.slot(export)
        self._invokers.append(invoker(self._machine, export, self._box))
        place = StubPlace(self.code.next_stub, slot, self._mailbox, self._irql_cell, self._wide)
        stub = build_stub(export.name, self._arch, place)
        return slot if stub is None else self.code.add_stub(export.name, *stub)

    def _on_trap(self, _uc: object, address: int, _size: int, _data: object) -> None:
        """Serve the export whose hook instruction is at `address`. No exception may leave a callback of C."""
        try:
            level = self.levels[-1]
            (sp,) = _CELL.unpack_from(self._arena, self._box)
            level.trap = address
            level.trap_sp = sp
            if self.translation.granted:
                self.translation.revoke_user()
            if self.outside:
                self._stopped_at = self.suspend(self.irql)
                self.engine.stop()
                return
            result = self._invokers[(address - self.code.hooks) >> 3](sp, level)
            if result is not None:
                if self._wide:
                    _CELL.pack_into(self._arena, self._box + mb.RETURN, result & 0xFFFF_FFFF_FFFF_FFFF)
                else:
                    low, high = result & 0xFFFF_FFFF, result >> 32 & 0xFFFF_FFFF
                    _PAIR.pack_into(self._arena, self._box + mb.RETURN, low, high)
            level.trap = 0
        except BaseException as error:  # delivered by _interrupted
            self._raised = error
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

    def stand_aside(self) -> Standing:
        """Free the processor of the calls under way, which wait `outside`; `stand_in` takes them up again."""
        chain = 0 if self._wide else _CHAIN.unpack_from(self._arena, self._chain_at)[0]
        registers = self.engine.registers.read(xmm=self._wide) if self.levels else None
        standing = Standing(self.levels, registers, self.irql, chain)
        self.levels, self.irql, self.busy_since = [], 0, 0.0
        if not self._wide:
            _CHAIN.pack_into(self._arena, self._chain_at, CHAIN_END)
        if self.translation.granted:
            self.translation.revoke_user()
        return standing

    def stand_in(self, standing: Standing) -> None:
        """Go on with calls that stood aside."""
        self.levels, self.irql = standing.levels, standing.irql
        self.busy_since = monotonic() if standing.levels else 0.0
        if standing.registers is not None:
            self.engine.registers.write(standing.registers)
        if not self._wide:
            _CHAIN.pack_into(self._arena, self._chain_at, standing.chain)

    def serve_cr8(self, address: int, instruction: bytes) -> None:
        """Carry out the ``mov`` to or from CR8 at `address`, a register the emulator does not keep.

        The bytes may be data that only look like one, so nothing happens before they are executed. A write is
        copied to the IRQL. The first read patches itself into a read of CR2, which nothing else uses here and
        which follows the IRQL from then on.
        """
        register = (instruction[3] & 7) | (instruction[0] & 1) << 3
        registers = self.engine.registers
        if instruction[2] == _MOV_TO_CR:

            def write(_address: int) -> None:
                self.irql = registers.get_general(register) & 0xF

            self.engine.on_code(address, address, write)
            return
        extended = b"\x41" if register & 8 else b""
        patch = (extended + bytes((0x0F, 0x20, 0xD0 | register & 7))).ljust(len(instruction), b"\x90")
        patched: list[int] = []

        def read(_address: int) -> None:
            if not patched:
                patched.append(address)
                self._memory.write(address, patch, force=True)
                self._mirrored = True
                registers.set_cr2(self.irql)
                self.flush_code()
            elif not self._flush_later:
                return  # what is translated now is the patch
            registers.set_general(register, self.irql)
            self.engine.set_ip(address + len(instruction))

        self.engine.on_code(address, address, read)

    def close(self) -> None:
        """Free the engine."""
        self.closed = True
        self.levels.clear()
        self._invokers.clear()
        self._raised = None
        self.translation.close()
        self.engine.close()
