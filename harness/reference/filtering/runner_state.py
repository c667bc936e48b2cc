"""What a running workload program knows: processes and threads, handle slots, the call being prepared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.reference.cm.tokens import ADMINISTRATOR

if TYPE_CHECKING:
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.filtering.runner_memory import UserMemory
    from harness.reference.machine import Machine
    from harness.reference.threads import Process, Thread
    from harness.workload.result import MultipleEntry

__all__ = ["Prepared", "Run", "Runners"]

_IMAGE: Final = "C:\\harness\\regrun.exe"


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
    #: Process id of each role the program used; of the last process where one ended.
    pids: dict[int, int] = field(default_factory=dict)
    #: Processes that ended during the operation under way.
    ending: list[int] = field(default_factory=list)

    def handle(self, slot: int | None) -> int:
        """The raw handle of a slot; NULL for an absent one."""
        return 0 if slot is None else self.slots[slot]

    def opened(self, slot: int, value: int, role: int) -> None:
        """A call gave out a handle."""
        self.slots[slot] = value
        self.open[slot] = role

    def closed(self, value: int, role: int) -> None:
        """A handle was closed by the program."""
        for slot, where in list(self.open.items()):
            if where == role and self.slots[slot] == value:
                del self.open[slot]
