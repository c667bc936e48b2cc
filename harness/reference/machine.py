"""A machine: memory, processor, pool, exports and clock of one modelled Windows.

The kernel API (harness.reference.kernel) and the registry (harness.reference.filtering) are built on this;
it knows nothing of them beyond the exports they declare.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

from harness.cleanup import Closing
from harness.guest import Arch
from harness.reference import dispatch, segments
from harness.reference import mailbox as mb
from harness.reference.bugchecks import Crashable
from harness.reference.clock import Clock
from harness.reference.cpu import Cpu
from harness.reference.crash import FaultPolicy
from harness.reference.exports import ExportTable
from harness.reference.faults import (
    Access,
    ExceptionRecord,
    RaiseInGuest,
    access_violation,
)
from harness.reference.import_thunks import ImportThunks
from harness.reference.kernel_stacks import KernelStacks
from harness.reference.layout import PAGE
from harness.reference.levels import Interruption, Level
from harness.reference.loader import Loader
from harness.reference.memory import Memory
from harness.reference.modules import Driver, Modules
from harness.reference.pool import Pool
from harness.reference.shared_data import SharedData
from harness.reference.stackwalk import StackWalker
from harness.reference.symbols import Symboliser
from harness.reference.threads import KERNEL_MODE, Process, Thread
from harness.reference.watchdog import Watchdog
from harness.registry.version import WindowsVersion

if TYPE_CHECKING:
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.kernel.objects import ObjectManager
    from harness.reference.kernel.system import Kernel

__all__ = ["Machine"]

SYSTEM_PID: Final = 4
_SYSTEM_TID: Final = 8
#: The mailbox' PROCESS, THREAD, PROCESS_ID, THREAD_ID and PREVIOUS_MODE, which lie in a row.
_IDENTITY: Final = struct.Struct("<5Q")
#: How old the times in KUSER_SHARED_DATA may get, in seconds.
_STALE: Final = 0.001


class Machine(Crashable, Closing):
    """One machine; a context manager.

    `deadline` is how long one outermost call into the guest may take, in seconds, before it counts as
    hung. `memory_size` bounds the guest's memory in bytes.
    """

    #: The object manager and the rest of the kernel's state, put here when the kernel is started.
    objects: ObjectManager
    kernel: Kernel
    #: Registry filtering, put here when the registry is started.
    registry: FilterEngine

    def __init__(
        self,
        version: WindowsVersion,
        arch: Arch = Arch.X64,
        *,
        deadline: float = 10.0,
        memory_size: int = 256 << 20,
    ) -> None:
        super().__init__()
        self.version = version
        self.arch = arch
        self.memory = Memory(arch, size=memory_size)
        self.clock = Clock()
        self.shared_data = SharedData(self.memory, version, self.clock)
        self.modules = Modules(self.memory)
        mailbox = self.memory.alloc_static(PAGE)  # the first allocation of the region starts a page
        self._cells = self.memory.physical(mailbox)
        self._thread_cell = segments.current_thread_cell(self.memory)
        irql_cell = segments.map_kpcr(self.memory, mailbox)
        self._kernel_stacks = KernelStacks(self.memory)
        #: The thread that runs when nobody says otherwise: a worker thread of the system process.
        self.system_thread = self.new_thread(Process(SYSTEM_PID, "System", system=True), _SYSTEM_TID)
        self._current = self.system_thread
        self.cpu = Cpu(self, self.memory, mailbox, irql_cell)
        segments.load(self.cpu.engine, self.memory)
        self.pool = Pool(self)
        self.exports = ExportTable(version.number, arch, self.cpu.place)
        self.loader = Loader(self)
        self.symbols = Symboliser(self)
        self.stacks = StackWalker(self)
        self.faults = FaultPolicy(self)
        self.import_thunks = ImportThunks(self)
        self.watchdog = Watchdog(self.cpu, deadline)
        self.switch(self.system_thread)
        self.memory.guard = self.touch_user

    # --- calls into the guest --------------------------------------------------------------------

    def call_guarded(self, function: int, *args: int) -> int:
        """As `Cpu.call`, for callers that have a handler around the call.

        Raises `GuestException` for an exception that the guest does not handle itself; the interrupted
        code can go on afterwards. Bugchecks for what can't be handled (page "Bug Check 0x50" and others).
        """
        return self.cpu.run(function, args)

    def raise_status(self, status: int, *parameters: int) -> NoReturn:
        """Raise an exception in the caller of the export being served (ExRaiseStatus, ProbeForRead)."""
        raise RaiseInGuest(ExceptionRecord(status & 0xFFFF_FFFF, 0, 0, parameters))

    def caller(self) -> int:
        """Return address of the export being served, 0 when there is none."""
        levels = self.cpu.levels
        if not levels or not levels[-1].trap:
            return 0
        return self.memory.ptr(levels[-1].trap_sp)

    def driver_at(self, address: int) -> Driver | None:
        """The loaded driver whose image contains `address`."""
        return self.modules.at(address)

    def calling_driver(self) -> Driver | None:
        """The driver that called the export being served.

        A routine that ends in a jump to the export leaves no return address of its own; then it is the driver
        that the kernel called.
        """
        found = self.modules.at(self.caller())
        if found is None and self.cpu.levels:
            found = self.modules.at(self.cpu.levels[-1].function)
        return found

    # --- threads ---------------------------------------------------------------------------------

    def new_thread(self, process: Process, tid: int, *, previous_mode: int = KERNEL_MODE) -> Thread:
        """A thread with a kernel stack of its own between unmapped pages."""
        return Thread(process, tid, self._kernel_stacks.take(), previous_mode)

    def free_thread(self, thread: Thread) -> None:
        """Give the stack of a thread back; it must not run any more."""
        self._kernel_stacks.give_back(thread.stack)

    @contextmanager
    def running_as(self, thread: Thread) -> Iterator[Thread]:
        """Run guest code as `thread` inside the block."""
        before = self.current
        self.switch(thread)
        try:
            yield thread
        finally:
            self.switch(before)

    @property
    def current(self) -> Thread:
        """The running thread; assigning is the same as `switch`."""
        return self._current

    @current.setter
    def current(self, thread: Thread) -> None:
        self.switch(thread)

    def switch(self, thread: Thread) -> None:
        """Make `thread` the running one; also tells the processor about changes to it (mode, process)."""
        self._current = thread
        process = thread.process
        _IDENTITY.pack_into(
            self.memory.arena,
            self._cells + mb.PROCESS,
            process.address,
            thread.address,
            process.pid,
            thread.tid,
            thread.previous_mode,
        )
        self.memory.put_ptr(self._thread_cell, thread.address)

    @contextmanager
    def previous_mode(self, mode: int) -> Iterator[None]:
        """The current thread asks as KERNEL_MODE or USER_MODE inside the block, as a Zw routine sets it."""
        thread = self._current
        before = thread.previous_mode
        if before == mode:
            yield
            return
        cell = self._cells + mb.PREVIOUS_MODE
        thread.previous_mode = mode
        self.memory.arena[cell] = mode
        try:
            yield
        finally:
            thread.previous_mode = before
            self.memory.arena[cell] = before

    # --- user memory -----------------------------------------------------------------------------

    def touch_user(self, address: int, access: Access) -> None:
        """Check that a driver may have an export touch user memory at `address` for it.

        The requester may free its memory at any time, so outside of a try block the access counts as if
        it had (page "nc-wdm-ex_callback_function"). Raises `RaiseInGuest`, which ends in a bugcheck then.
        """
        levels = self.cpu.levels
        if not levels or not levels[-1].trap:
            return
        level = levels[-1]
        if dispatch.is_protected(self, dispatch.trapped_registers(self, level)) is None:
            raise RaiseInGuest(access_violation(address, access, self.cpu.code.slot_of(level.trap)))

    # --- time ------------------------------------------------------------------------------------

    def performance_counter(self) -> int:
        """The performance counter, in 100 ns; every read is greater than the one before, in the guest too."""
        start = self._cells + mb.COUNTER
        last = int.from_bytes(self.memory.arena[start : start + 8], "little")
        now = max(self.clock.interrupt_time(), last + 1)
        self.memory.arena[start : start + 8] = now.to_bytes(8, "little")
        return now

    def system_time(self) -> int:
        """Now, in 100 ns since 1601 (UTC), with the time that was skipped."""
        return self.clock.system_time()

    def interrupt_time(self) -> int:
        """100 ns since the machine started, with the time that was skipped."""
        return self.clock.interrupt_time()

    def advance_time(self, ticks: int) -> None:
        """Skip `ticks` of 100 ns: what a delay does when nothing else has to run."""
        self.clock.advance(ticks)
        self.shared_data.update()

    def watch(self, now: float) -> None:
        """An outermost call begins at `now` (time.monotonic): bring the shared times up to date."""
        self.require_alive()
        self.watchdog.start()
        self.cpu.attention_at = now + _STALE
        self.shared_data.update()
        self.performance_counter()

    # --- interruptions ---------------------------------------------------------------------------

    def interrupted(self, why: Interruption, level: Level) -> int:
        """Settle an interruption of the innermost call; returns where the guest goes on."""
        return dispatch.settle(self, why, level)

    # --- lifetime --------------------------------------------------------------------------------

    def close(self) -> None:
        """Free everything; the machine can't be used afterwards. A second call does nothing."""
        if self.cpu.closed:
            return
        self.watchdog.close()
        self.cpu.close()
        self.memory.close()
