"""Exports: how guest code that calls one gets to the Python function that serves it.

An export has a trap slot, whose hook instruction unicorn reports. Where calls have to be able to stand aside,
the engine stops there instead, and the call is served when nothing of the engine lies below it any more.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference import mailbox as mb
from harness.reference.exports import Export
from harness.reference.invoke import Invoker, invoker
from harness.reference.levels import Suspension
from harness.reference.memory import Memory
from harness.reference.processor import Processor
from harness.reference.registers import SP
from harness.reference.stubs import StubPlace, build_stub

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["TrappingProcessor"]

_CELL: Final = struct.Struct("<Q")
_PAIR: Final = struct.Struct("<2Q")


class TrappingProcessor(Processor):
    """The part of `Cpu` that serves the exports guest code calls."""

    def __init__(self, machine: Machine, memory: Memory, mailbox: int, irql_cell: int) -> None:
        super().__init__(machine, memory, mailbox, irql_cell)
        #: Exports are served when the engine has stopped at them, so that a call can stand aside in one:
        #: nothing of the engine lies between it and whoever made the call then.
        self.outside = False
        self._stopped_at: Suspension | None = None
        #: What ended the export, on its way through the engine.
        self._raised: BaseException | None = None
        self._invokers: list[Invoker] = []
        self.engine.hook_code(*self.code.hook_range, self._on_trap)

    def place(self, export: Export) -> int:
        """Give an export a trap slot; a variable is asked for its address. Returns the address."""
        if export.data:
            address: int = export.function(self._machine)
            return address
        slot = self.code.slot(export)
        self._invokers.append(invoker(self._machine, export, self._box))
        place = StubPlace(self.code.next_stub, slot, self._mailbox, self._irql_cell, self._wide)
        stub = build_stub(export.name, self._machine.arch, place)
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
        except BaseException as error:  # delivered when the engine has stopped
            self._raised = error
            self.engine.stop()

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
        return Suspension(level, registers, irql, self.chain)

    def close(self) -> None:
        """Free the engine."""
        self._invokers.clear()
        self._raised = None
        super().close()
