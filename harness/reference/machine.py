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
from harness.errors import GuestCrashed, GuestHung
from harness.guest import Arch
from harness.guest.bugcheck import Bugcheck, Frame
from harness.reference import dispatch, segments
from harness.reference import mailbox as mb
from harness.reference.clock import Clock
from harness.reference.cpu import DISPATCH_LEVEL, Cpu
from harness.reference.crash import Fault, FaultPolicy
from harness.reference.exports import ExportTable
from harness.reference.faults import (
    Access,
    ExceptionRecord,
    GuestException,
    GuestFault,
    RaiseInGuest,
    access_violation,
)
from harness.reference.layout import PAGE
from harness.reference.levels import Interruption, Level, Stack
from harness.reference.loader import Loader
from harness.reference.memory import READ, WRITE, Memory
from harness.reference.modules import Driver, Modules
from harness.reference.pool import Pool
from harness.reference.registers import Registers
from harness.reference.shared_data import SharedData
from harness.reference.stackwalk import StackWalker
from harness.reference.symbols import Symboliser
from harness.reference.threads import KERNEL_MODE, Process, Thread
from harness.reference.watchdog import Watchdog
from harness.registry.version import WIN8, WindowsVersion

if TYPE_CHECKING:
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.kernel.objects import ObjectManager
    from harness.reference.kernel.system import Kernel

__all__ = ["Machine"]

SYSTEM_PID: Final = 4
_SYSTEM_TID: Final = 8
#: The performance counter ticks every 100 ns, as on Windows 10 and later.
_FREQUENCY: Final = 10_000_000
#: The mailbox' PROCESS, THREAD, PROCESS_ID, THREAD_ID and PREVIOUS_MODE, which lie in a row.
_IDENTITY: Final = struct.Struct("<5Q")
#: How old the times in KUSER_SHARED_DATA may get, in seconds.
_STALE: Final = 0.001

MANUALLY_INITIATED_CRASH: Final = 0xE2
DPC_WATCHDOG_VIOLATION: Final = 0x133
UNEXPECTED_KERNEL_MODE_TRAP: Final = 0x7F
IRQL_GT_ZERO_AT_SYSTEM_SERVICE: Final = 0x4A
_DOUBLE_FAULT: Final = 8


class Machine(Closing):
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
        self.version = version
        self.arch = arch
        #: The bugcheck the machine died of; set once, and every later call into the guest raises it again.
        self.crash: Bugcheck | None = None
        self._hangs = False
        self._suspect: Driver | None = None
        self.memory = Memory(arch, size=memory_size)
        self.clock = Clock()
        self.shared_data = SharedData(self.memory, version, self.clock)
        self.modules = Modules(self.memory)
        mailbox = self.memory.alloc_static(PAGE)  # the first allocation of the region starts a page
        self._cells = self.memory.physical(mailbox)
        self._thread_cell = segments.current_thread_cell(self.memory)
        irql_cell = segments.map_kpcr(self.memory, mailbox)
        self._next_stack = self.memory.map.stacks.start
        self._free_stacks: list[Stack] = []
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
        self._watchdog = Watchdog(self.cpu, deadline)
        self._imports: dict[int, str | None] = {}
        self.switch(self.system_thread)
        self.memory.guard = self.touch_user

    # --- calls into the guest --------------------------------------------------------------------

    def call_guarded(self, function: int, *args: int) -> int:
        """As `Cpu.call`, for callers that have a handler around the call.

        Raises `GuestException` for an exception that the guest does not handle itself; the interrupted
        code can go on afterwards. Bugchecks for what can't be handled (page "Bug Check 0x50" and others).
        """
        return self.cpu.run(function, args)

    def irql_changed(self, function: int, before: int) -> NoReturn:
        """Bugcheck of a routine that returned at another IRQL than it was called at.

        Page "Bug Check 0x4A": address of the system service, current IRQL, 0, 0.
        """
        name = str(self.symbols.frame(function, exact=True))
        driver = self.modules.at(function)
        self.bugcheck(
            IRQL_GT_ZERO_AT_SYSTEM_SERVICE,
            function,
            self.cpu.irql,
            reason=f"{name} was called at IRQL {before} and returned at IRQL {self.cpu.irql}",
            driver=driver,
            stack=(function, *self.stacks.addresses()),
        )

    def raise_status(self, status: int, *parameters: int, flags: int = 0) -> NoReturn:
        """Raise an exception in the caller of the export being served (ExRaiseStatus, ProbeForRead)."""
        raise RaiseInGuest(ExceptionRecord(status & 0xFFFF_FFFF, flags, 0, parameters))

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

    def import_at(self, address: int) -> str | None:
        """The export that code at `address` is, or is nothing but an indirect jump to (an import thunk)."""
        if address in self._imports:
            return self._imports[address]
        name = self.exports.name_at(address)
        if name is None and self.modules.at(address) is not None:
            name = self._import_thunk(address)
        self._imports[address] = name
        return name

    def _import_thunk(self, address: int) -> str | None:
        memory = self.memory
        try:
            if memory.read(address, 2) != b"\xff\x25":
                return None
            slot = memory.u32(address + 2)
            if self.arch is Arch.X64:
                slot = (address + 6 + slot - ((slot & 0x8000_0000) << 1)) & memory.map.address_mask
            return self.exports.name_at(memory.ptr(slot))
        except GuestFault:
            return None

    def forget_imports(self, driver: Driver) -> None:
        """Drop what `import_at` learned about an unloaded image."""
        for address in [a for a in self._imports if driver.base <= a < driver.end]:
            del self._imports[address]

    # --- threads ---------------------------------------------------------------------------------

    def new_thread(self, process: Process, tid: int, *, previous_mode: int = KERNEL_MODE) -> Thread:
        """A thread with a kernel stack of its own between unmapped pages."""
        return Thread(process, tid, self._new_stack(), previous_mode)

    def _new_stack(self) -> Stack:
        if self._free_stacks:
            return self._free_stacks.pop()
        size = self.memory.map.stack_size
        low = self._next_stack + 2 * PAGE
        self._next_stack = low + size
        self.memory.map_pages(low, size // PAGE, READ | WRITE, contiguous=True)
        return Stack(low, low + size, self.memory.physical(low) - low)

    def free_thread(self, thread: Thread) -> None:
        """Give the stack of a thread back; it must not run any more."""
        self._free_stacks.append(thread.stack)

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

    @property
    def performance_frequency(self) -> int:
        """Ticks of `performance_counter` in a second."""
        return _FREQUENCY

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
        if self.crash is not None:
            raise (GuestHung if self._hangs else GuestCrashed)(self.crash)
        self._watchdog.start()
        self.cpu.attention_at = now + _STALE
        self.shared_data.update()
        self.performance_counter()

    # --- faults ----------------------------------------------------------------------------------

    def interrupted(self, why: Interruption, level: Level) -> int:
        """Settle an interruption of the innermost call; returns where the guest goes on."""
        return dispatch.settle(self, why, level)

    def fault_record(self, fault: GuestFault) -> ExceptionRecord:
        """The exception of a bad address met by an export, or its bugcheck."""
        level = self.cpu.levels[-1]
        pc = self.cpu.code.slot_of(level.trap) if level.trap else 0
        return self.faults.settle(Fault(fault.address, fault.access, pc, None))

    def unhandled(self, error: GuestException) -> NoReturn:
        """Bugcheck of an exception that nothing handled."""
        self.faults.unhandled(error)

    def double_fault(self, address: int, registers: Registers | None = None) -> NoReturn:
        """The kernel stack is used up. Page "Bug Check 0x7F": trap 8 (double fault)."""
        self.bugcheck(
            UNEXPECTED_KERNEL_MODE_TRAP,
            _DOUBLE_FAULT,
            address,
            reason="the kernel stack is used up",
            registers=registers,
        )

    @contextmanager
    def suspecting(self, driver: Driver | None) -> Iterator[None]:
        """A bugcheck inside the block that finds no driver on the stack names this one, if any."""
        before, self._suspect = self._suspect, driver or self._suspect
        try:
            yield
        finally:
            self._suspect = before

    @contextmanager
    def kernel_work(self) -> Iterator[None]:
        """What the kernel does by itself inside the block, for nobody's call.

        Where it stumbles over what a driver left it (a list entry, an object in freed pool), that is a
        bugcheck.
        """
        try:
            yield
        except GuestFault as fault:
            record = self.faults.settle(Fault(fault.address, fault.access, 0, None))
            self.unhandled(GuestException(record, pc=0))

    def hung(self) -> NoReturn:
        """The deadline passed. Page "Bug Check 0x133" at DISPATCH_LEVEL or above: 1, period in ticks.

        Below it, and before Windows 8, Windows has no watch-dog and just stops: `GuestHung` with the
        code of a crash that a person asks for to see where a machine hangs (page "Bug Check 0xE2").
        """
        reason = f"guest code has been running for more than {self._watchdog.deadline:g} s"
        if self.cpu.irql >= DISPATCH_LEVEL and self.version >= WIN8:
            ticks = round(self._watchdog.deadline * 64)
            self.bugcheck(DPC_WATCHDOG_VIOLATION, 1, ticks, reason=f"{reason} at IRQL {self.cpu.irql}")
        raise GuestHung(self.describe_hang(reason))

    def describe_hang(self, reason: str) -> Bugcheck:
        """What to put into a `GuestHung`: the reason and the stack of the code that goes on no more."""
        self._hangs = self._hangs or self.crash is None
        return self._describe(MANUALLY_INITIATED_CRASH, (0, 0, 0, 0), reason, None, None, None)

    def stack(self) -> tuple[Frame, ...]:
        """The symbolised stack of the code that runs or trapped, innermost frame first."""
        return self.stacks.frames()

    def bugcheck(
        self,
        code: int,
        p1: int = 0,
        p2: int = 0,
        p3: int = 0,
        p4: int = 0,
        *,
        reason: str = "",
        driver: Driver | None = None,
        registers: Registers | None = None,
        stack: tuple[int, ...] | None = None,
    ) -> NoReturn:
        """Crash the machine: raises `GuestCrashed` with the parameters, the driver and the symbolised stack.

        `driver` is the culprit where that is not the innermost driver on the stack. `registers` are those
        of a fault, `stack` the frame addresses where they are known already.
        """
        raise GuestCrashed(self._describe(code, (p1, p2, p3, p4), reason, driver, registers, stack))

    def _describe(
        self,
        code: int,
        parameters: tuple[int, int, int, int],
        reason: str,
        driver: Driver | None,
        registers: Registers | None,
        stack: tuple[int, ...] | None,
    ) -> Bugcheck:
        addresses = list(stack) if stack is not None else self.stacks.addresses(registers)
        if driver is None:
            drivers = (self.modules.at(a if i == 0 else a - 1) for i, a in enumerate(addresses))
            driver = next((d for d in drivers if d is not None), self._suspect)
        mask = self.memory.map.address_mask
        p1, p2, p3, p4 = (p & mask for p in parameters)
        found = Bugcheck(
            code,
            (p1, p2, p3, p4),
            driver=driver.name if driver is not None else "",
            reason=reason,
            stack=self.stacks.symbolise(addresses),
        )
        self.crash = self.crash or found
        self.cpu.attention_at = 0.0
        return found

    # --- lifetime --------------------------------------------------------------------------------

    def close(self) -> None:
        """Free everything; the machine can't be used afterwards. A second call does nothing."""
        if self.cpu.closed:
            return
        self._watchdog.close()
        self.cpu.close()
        self.memory.close()
