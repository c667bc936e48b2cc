"""What a running workload program knows: processes and threads, handle slots, the call being prepared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

from harness.reference.cm.tokens import ADMINISTRATOR

if TYPE_CHECKING:
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.filtering.runner_memory import UserMemory
    from harness.reference.kernel.objects import KernelObject
    from harness.reference.machine import Machine
    from harness.reference.threads import Process, Thread
    from harness.workload.program import Operation
    from harness.workload.result import MultipleEntry

__all__ = ["Lane", "Prepared", "Run", "Runners"]

_IMAGE: Final = "C:\\harness\\regrun.exe"
#: What slots hold once the process that filled them has ended: nobody's handle, and nobody's memory.
_NO_HANDLE: Final = 0x3FFFFFFC
_NO_MEMORY: Final = 0x1000


@dataclass(frozen=True, slots=True)
class Lane:
    """What does one operation at a time: a thread of the runner, or a whole other process."""

    process: int
    thread: int

    @classmethod
    def of(cls, operation: Operation) -> Self:
        """What does this operation: other processes have one thread here."""
        return cls(operation.process, 0 if operation.process else operation.thread)


@dataclass(slots=True)
class Prepared:
    """One native call, ready to be made, and how to read what it gave.

    Addresses are user addresses, 0 where the call has no such argument. `status` without `call` is an
    operation that the runner ends itself.
    """

    call: Callable[[], int] | None = None
    status: int = 0
    handle_at: int = 0
    output_at: int = 0
    output_size: int = 0
    result_length_at: int = 0
    buffer_length_at: int = 0
    disposition_at: int = 0
    input_at: int = 0
    name_at: int = 0
    #: Bytes of the memory whose address the call gives out instead of a handle.
    pages: int = 0
    #: After the call, whatever its status: undo what the runner did beside it.
    after: Callable[[], None] | None = None
    entries: Callable[[], tuple[MultipleEntry, ...]] | None = None
    #: Outputs that don't travel through user memory: (buffer, result length).
    direct: Callable[[], tuple[bytes, int]] | None = None


class Runners:
    """The processes and threads that execute programs; the first process is the runner itself."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._processes: dict[int, Process] = {}
        self._threads: dict[tuple[int, int], Thread] = {}

    def process(self, role: int) -> Process:
        """Role 0 is the runner, 1 the machine's second process, the others are started on first use."""
        found = self._processes.get(role)
        if found is None:
            processes = self._machine.kernel.processes
            if role == 0:
                found = processes.runner
            elif role == 1 and processes.second.body.exit_status is None:
                found = processes.second
            else:
                parent = self.process(0).pid
                found = processes.create("regrun.exe", image=_IMAGE, token=ADMINISTRATOR, parent=parent)
            self._processes[role] = found
        return found

    def thread(self, role: int, index: int) -> Thread:
        """A thread of a process, started on first use."""
        found = self._threads.get((role, index))
        if found is None:
            found = self._machine.kernel.processes.create_thread(self.process(role))
            self._threads[role, index] = found
        return found

    def ended(self, role: int) -> None:
        """The process is gone; the role gets a new one on next use."""
        process = self._processes.pop(role, None)
        for key in [key for key in self._threads if key[0] == role]:
            del self._threads[key]
        if process is not None:
            self._machine.kernel.processes.ended(process, 0)


@dataclass(slots=True)
class Run:
    """The state of one program under way."""

    engine: FilterEngine
    runners: Runners
    memory: UserMemory
    #: Raw handle values by slot.
    slots: list[int]
    #: Slot -> process role whose table holds its handle, for the handles still open.
    open: dict[int, int] = field(default_factory=dict)
    #: Slot -> process role, and whether it is memory, of what the slot was filled with last, closed or not.
    owners: dict[int, tuple[int, bool]] = field(default_factory=dict)
    #: Slot -> bytes, of those that hold an address of memory.
    pages: dict[int, int] = field(default_factory=dict)
    #: Process id of each role the program used; of the last process where one ended.
    pids: dict[int, int] = field(default_factory=dict)
    #: Processes that are to end after the operation under way, or when nothing of them goes on any more.
    ending: list[int] = field(default_factory=list)
    #: Processes of which an operation goes on in the background.
    standing: set[int] = field(default_factory=set)
    #: Threads that have a token of their own.
    impersonating: set[Thread] = field(default_factory=set)
    #: Process ids of those that were terminated.
    terminated: set[int] = field(default_factory=set)

    def impersonate(self, token: KernelObject | None) -> None:
        """Give the current thread a token of its own, or take it away."""
        thread = self.engine.machine.current
        former = thread.body.impersonating
        if former is not None:
            self.engine.objects.dereference(former)
        thread.body.impersonating = token
        (self.impersonating.discard if token is None else self.impersonating.add)(thread)

    def handle(self, slot: int | None) -> int:
        """The raw handle of a slot; NULL for an absent one."""
        return 0 if slot is None else self.slots[slot]

    def foreign(self, operation: Operation) -> int | None:
        """The address that an operation passes as a buffer; None where the call has one of its own."""
        return operation.address if operation.buffer is None else self.slots[operation.buffer]

    def output(self, operation: Operation) -> int:
        """Where the call is to write."""
        foreign = self.foreign(operation)
        return self.memory.buffer(operation.length) if foreign is None else foreign

    def opened(self, slot: int, value: int, role: int, *, pages: int = 0) -> None:
        """A call gave out a handle, or so many bytes of memory."""
        self.slots[slot] = value
        self.open[slot] = role
        self.owners[slot] = role, bool(pages)
        self.pages.pop(slot, None)
        if pages:
            self.pages[slot] = pages

    def closed(self, value: int, role: int, *, memory: bool = False) -> None:
        """A handle was closed by the program, or memory freed."""
        for slot, where in list(self.open.items()):
            if where == role and self.slots[slot] == value and (slot in self.pages) is memory:
                del self.open[slot]

    def close_handles(self, role: int) -> None:
        """What a process that ends has open is closed in its context; its slots hold nothing any more."""
        self.engine.objects.close_all(self.runners.process(role).body.handles)
        for slot, (where, memory) in self.owners.items():
            if where != role:
                continue
            if self.open.pop(slot, None) is not None and slot in self.pages:
                self.memory.free(self.slots[slot], self.pages.pop(slot))
            self.slots[slot] = _NO_MEMORY if memory else _NO_HANDLE
