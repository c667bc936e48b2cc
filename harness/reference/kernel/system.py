"""The kernel of a machine: everything the API families share, in one place.

`start_kernel` builds it on a fresh `Machine`; afterwards `machine.kernel` and `machine.objects` are there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness.reference.kernel.debug import DebugLog
from harness.reference.kernel.ex_callback import SYSTEM_CALLBACKS, CallbackPoint
from harness.reference.kernel.files import Files
from harness.reference.kernel.io_manager import IoManager
from harness.reference.kernel.module_list import LoadedModules
from harness.reference.kernel.namespace import Namespace
from harness.reference.kernel.objects import GenericMapping, KernelObject, ObjectManager
from harness.reference.kernel.processes import Processes
from harness.reference.kernel.ps_notify import Notifications
from harness.reference.kernel.requests import Requests
from harness.reference.kernel.scheduler import Scheduler
from harness.reference.layout import PAGE

if TYPE_CHECKING:
    from harness.reference.cm.filesystem import FileSystem
    from harness.reference.kernel.ex_sync import Resource
    from harness.reference.kernel.flt import MiniFilter
    from harness.reference.kernel.io_request import WorkItem
    from harness.reference.kernel.mdl_pages import MdlPages
    from harness.reference.kernel.rtl_prefixes import PrefixTable
    from harness.reference.kernel.rtl_tables import GenericTable
    from harness.reference.kernel.synchronous import IoResult
    from harness.reference.machine import Machine
    from harness.reference.threads import Process, Thread

__all__ = ["Kernel", "SystemPtes", "start_kernel"]

_UUID_BASE: Final = 0x1D9_8000_0000_0000


class SystemPtes:
    """Addresses for mapping locked pages: from the top of the scratch region downwards, never used twice."""

    def __init__(self, machine: Machine) -> None:
        where = machine.memory.map.nonpaged_pool
        # The last sixteenth of the nonpaged region is left to mappings; the pool never gets there first.
        self._next = where.end - (where.end - where.start) // 16 & ~(PAGE - 1)
        self._end = where.end

    def reserve(self, pages: int) -> int:
        """`pages` addresses with a hole after them."""
        address = self._next
        self._next += (pages + 1) * PAGE
        return address


@dataclass(slots=True)
class Kernel:
    """State of the kernel API of one machine."""

    m: Machine
    objects: ObjectManager
    namespace: Namespace
    debug: DebugLog
    scheduler: Scheduler
    notify: Notifications
    system_ptes: SystemPtes
    processes: Processes = field(init=False)
    io: IoManager = field(init=False)
    loaded: LoadedModules = field(init=False)
    files: Files = field(init=False)
    requests: Requests = field(init=False)
    #: State of structures that drivers own, by guest address.
    generic_tables: dict[int, GenericTable] = field(default_factory=dict)
    resources: dict[int, Resource] = field(default_factory=dict)
    #: Lookaside lists with the driver that made them.
    lookaside: dict[int, Any] = field(default_factory=dict)
    work_items: dict[int, WorkItem] = field(default_factory=dict)
    symbolic_links: dict[int, tuple[KernelObject, Any]] = field(default_factory=dict)
    driver_extensions: dict[int, dict[int, int]] = field(default_factory=dict)
    #: Names MmGetSystemRoutineAddress did not find, in order, for the driver's developer.
    unresolved: dict[str, None] = field(default_factory=dict)
    prefix_tables: dict[int, PrefixTable] = field(default_factory=dict)
    #: Registered minifilters by handle.
    minifilters: dict[int, MiniFilter] = field(default_factory=dict)
    #: Providers and hashes of the kernel's cryptography, by handle.
    cng: dict[int, Any] = field(default_factory=dict)
    #: Pages without an address, by the MDL that describes them.
    mdl_pages: dict[int, MdlPages] = field(default_factory=dict)
    random_state: int = 1
    _workers: list[Thread] = field(default_factory=list)
    _timer_owners: dict[int, Any] = field(default_factory=dict)
    _uuids: int = 0

    # -- service to the API families -----------------------------------------------------------------------

    def worker_thread(self) -> Thread:
        """A system worker thread that is free."""
        if self._workers:
            return self._workers.pop()
        return self.processes.create_thread(self.processes.system)

    def return_worker(self, thread: Thread) -> None:
        self._workers.append(thread)

    def timer_owner(self, timer: int, dpc: int) -> None:
        """Note which driver set a timer, for the check at unload."""
        self._timer_owners[timer] = self.m.calling_driver()

    def timers_of(self, driver: object) -> list[int]:
        return [each for each in self.scheduler.timers if self._timer_owners.get(each) is driver]

    def next_uuid(self) -> uuid.UUID:
        self._uuids += 1
        stamp = _UUID_BASE + self._uuids
        return uuid.UUID(
            fields=(
                stamp & 0xFFFFFFFF,
                stamp >> 32 & 0xFFFF,
                0x1000 | stamp >> 48 & 0xFFF,
                0x80,
                1,
                0x0050568A0001,
            )
        )

    def note_unresolved(self, name: str) -> None:
        self.unresolved[name] = None

    def integrity_checked(self, routine: int) -> bool:
        """Whether the loader entry of `routine`'s image says that it was linked with /INTEGRITYCHECK."""
        driver = self.m.driver_at(routine)
        return driver is not None and self.loaded.integrity_forced(driver.base)

    def check_freed_pool(self, address: int) -> None:
        """What must not lie in memory that is freed: timers (0xC4, 0x15), resources (0xD2), lookaside
        lists (0xCC)."""
        found = self.m.pool.get(address)
        if found is None:
            return
        inside = range(found.address, found.address + found.size)
        for each in list(self.resources):
            if each in inside:
                self.m.bugcheck(
                    0xC4, 0xD2, each, address, found.size, reason="freed pool contains an active ERESOURCE"
                )
        for each in list(self.lookaside):
            if each in inside:
                self.m.bugcheck(
                    0xC4,
                    0xCC,
                    each,
                    address,
                    found.size,
                    reason="freed pool contains an active lookaside list",
                )
        for each in list(self.scheduler.timers):
            if each in inside:
                self.m.bugcheck(0xC4, 0x15, each, 0, address, reason="freed pool contains an active timer")
        for each in list(self.generic_tables):
            if each in inside:
                del self.generic_tables[each]

    @contextmanager
    def in_process(self, process: Process) -> Iterator[None]:
        """The current thread looks at `process`' handles inside the block."""
        thread = self.m.current
        before = thread.process
        thread.process = process
        try:
            yield
        finally:
            thread.process = before

    def device_control(self, device: str, code: int, data: bytes, output: int) -> IoResult:
        """Open a device by its Win32 name as the current thread, one control request, close."""
        return self.requests.device_control(device, code, data, output)


def start_kernel(machine: Machine, files: FileSystem) -> Kernel:
    """Build the kernel's state on a machine. `files`: the volume C: as the configuration manager sees it
    too."""
    objects = ObjectManager(machine)
    machine.objects = objects
    kernel = Kernel(
        machine,
        objects,
        Namespace(machine, objects),
        DebugLog(),
        Scheduler(machine),
        Notifications(machine),
        SystemPtes(machine),
    )
    machine.kernel = kernel
    kernel.processes = Processes(machine)
    for name, mapping in (
        ("Event", GenericMapping(0x20001, 0x20002, 0x120000, 0x1F0003)),
        ("Mutant", GenericMapping(0x20001, 0x20000, 0x120000, 0x1F0001)),
        ("Semaphore", GenericMapping(0x20001, 0x20002, 0x120000, 0x1F0003)),
        ("Callback", GenericMapping(0x20000, 0x20001, 0x120000, 0x1F0001)),
        ("FilterConnectionPort", GenericMapping(0x20001, 0x10001, 0x20000, 0x1F0001)),
    ):
        kind = objects.define_type(name, mapping, 0x60)
        kind.query_name = kernel.namespace.full_name
        kind.named_by_handles = name in ("Event", "Mutant", "Semaphore")
    for name in SYSTEM_CALLBACKS:
        point = objects.create(objects.types["Callback"], CallbackPoint(multiple=True))
        point.permanent = True
        kernel.namespace.insert(f"\\Callback\\{name}", point)
    kernel.io = IoManager(machine)
    kernel.loaded = LoadedModules(machine)
    kernel.files = Files(machine, files)
    kernel.requests = Requests(machine)
    return kernel
