"""What the one processor of a machine holds: its IRQL, the calls under way, the user pages they may touch.

`harness.reference.export_traps` adds the exports that guest code calls, `harness.reference.cpu` the calls
themselves.
"""

from __future__ import annotations

import struct
from time import monotonic
from typing import TYPE_CHECKING, Final

from harness.guest import Arch
from harness.reference import mailbox as mb
from harness.reference.engine import Engine
from harness.reference.levels import Level, Standing
from harness.reference.memory import Memory
from harness.reference.segments import CHAIN_END, EXCEPTION_LIST
from harness.reference.translation import DISPATCH_LEVEL, Translation
from harness.reference.traps import KernelCode

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["Processor"]

_CELL: Final = struct.Struct("<Q")
_CHAIN: Final = struct.Struct("<I")


class Processor:
    """The state of the processor, and what may be changed of it while guest code runs or waits."""

    def __init__(self, machine: Machine, memory: Memory, mailbox: int, irql_cell: int) -> None:
        """`mailbox` is the address of the mailbox page, `irql_cell` of the byte that holds the IRQL."""
        self._machine = machine
        self._memory = memory
        self._arena = memory.arena
        self._mailbox = mailbox
        self._box = memory.physical(mailbox)
        self._irql_cell = irql_cell
        self._irql_at = memory.physical(irql_cell)
        self._wide = machine.arch is Arch.X64
        self._chain_at = memory.physical(memory.map.kpcr + EXCEPTION_LIST)
        self._mirrored = False  # code reads the IRQL from CR2
        self._scope_ends: set[int] = set()
        #: Translated code is to be forgotten at the next outermost call, see `flush_code`.
        self.flush_is_due = False
        self.levels: list[Level] = []
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

    # --- IRQL ------------------------------------------------------------------------------------

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

    def mirror_irql(self) -> None:
        """Keep the IRQL in CR2 as well from now on."""
        self._mirrored = True
        self.engine.registers.set_cr2(self.irql)

    @property
    def dpc_pending(self) -> bool:
        """Whether lowering the IRQL has work to do; the scheduler sets it while DPCs are queued or run."""
        return bool(self._arena[self._box + mb.DPC_PENDING])

    @dpc_pending.setter
    def dpc_pending(self, value: bool) -> None:
        self._put(mb.DPC_PENDING, int(value))

    def _put(self, cell: int, value: int) -> None:
        _CELL.pack_into(self._arena, self._box + cell, value)

    # --- where the guest is ----------------------------------------------------------------------

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

    @property
    def chain(self) -> int:
        """x86: the innermost exception registration of the running thread; 0 on x64, which has none."""
        return 0 if self._wide else int(_CHAIN.unpack_from(self._arena, self._chain_at)[0])

    @chain.setter
    def chain(self, registration: int) -> None:
        if not self._wide:
            _CHAIN.pack_into(self._arena, self._chain_at, registration)

    # --- code and user memory --------------------------------------------------------------------

    def flush_code(self) -> None:
        """Forget translated code; needed whenever code in memory changed or a hook was added.

        Below a running call it is put off to the next outermost one: unicorn would overwrite the code that
        the calls further out come back to.
        """
        if self._nested:
            self.flush_is_due = True
        else:
            self.engine.flush_code()

    def patch(self, address: int, code: bytes) -> None:
        """Replace guest code, write-protected or not."""
        self._memory.write(address, code, force=True)
        self.flush_code()

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

    # --- standing aside --------------------------------------------------------------------------

    def stand_aside(self) -> Standing:
        """Free the processor of the calls under way, which wait `outside`; `stand_in` takes them up again."""
        registers = self.engine.registers.read(xmm=self._wide) if self.levels else None
        standing = Standing(self.levels, registers, self.irql, self.chain)
        self.levels, self.irql, self.busy_since = [], 0, 0.0
        self.chain = CHAIN_END
        if self.translation.granted:
            self.translation.revoke_user()
        return standing

    def stand_in(self, standing: Standing) -> None:
        """Go on with calls that stood aside."""
        self.levels, self.irql = standing.levels, standing.irql
        self.busy_since = monotonic() if standing.levels else 0.0
        if standing.registers is not None:
            self.engine.registers.write(standing.registers)
        self.chain = standing.chain

    def close(self) -> None:
        """Free the engine."""
        self.closed = True
        self.levels.clear()
        self.translation.close()
        self.engine.close()
