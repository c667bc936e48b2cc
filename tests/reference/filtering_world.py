"""A registry with filters whose callbacks are Python functions: the services without an emulator.

Memory, object manager, namespace and configuration manager are the real ones; only the processor is
replaced, by a table of Python functions that stand for guest addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from harness.errors import GuestCrashed
from harness.guest import Arch
from harness.guest.bugcheck import Bugcheck
from harness.reference.cm.manager import ConfigurationManager
from harness.reference.cm.tokens import ADMINISTRATOR, SYSTEM, Token
from harness.reference.filtering.engine import FilterEngine
from harness.reference.filtering.registration import Registration
from harness.reference.filtering.runner import run_program
from harness.reference.kernel.debug import DebugLog
from harness.reference.kernel.namespace import Namespace
from harness.reference.kernel.objects import GenericMapping, HandleTable, ObjectManager
from harness.reference.memory import Memory
from harness.reference.pool import PageImage
from harness.registry.notify import NotifyClass
from harness.registry.structures import layout
from harness.registry.version import WindowsVersion
from harness.workload.program import Operation, Program
from harness.workload.result import ProgramResult

__all__ = ["Notification", "World"]

Callback = Callable[["Notification"], int]


@dataclass
class _Body:
    handles: HandleTable
    token: Token
    exit_status: int | None = None
    wow64: bool = False


@dataclass
class _Process:
    pid: int
    body: _Body
    handles: HandleTable
    system: bool = False


@dataclass
class _ThreadBody:
    """A thread that is nobody else, with APCs enabled."""

    impersonating: None = None
    combined_apc_disable: int = 0
    attached: tuple[()] = ()


@dataclass
class _Thread:
    process: _Process
    tid: int
    previous_mode: int = 0
    body: _ThreadBody = field(default_factory=_ThreadBody)


@dataclass
class _Cpu:
    irql: int = 0
    #: Python functions that stand for guest routines other than registry callbacks.
    routines: dict[int, Callable[..., int]] = field(default_factory=dict)

    def call(self, routine: int, *args: int) -> int:
        return self.routines[routine](*args)

    def current_pc(self) -> int:
        return 0


class _Pool:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.live: set[int] = set()

    def alloc(self, size: int, tag: int, *, paged: bool, zero: bool, owner: object = None) -> int:
        address = self._memory.alloc_static(size)
        self.live.add(address)
        return address

    def page_image(self, body: bytes) -> PageImage:
        return PageImage(body, 0, len(body))

    def alloc_image(self, image: PageImage, tag: int) -> int:
        address = self.alloc(image.size, tag, paged=True, zero=True)
        self._memory.write(address, image.content)
        return address

    def free(self, address: int, tag: int | None = None) -> None:
        self.live.remove(address)


@dataclass
class Notification:
    """What a callback got: the decoded structure, and ways to answer through guest memory."""

    world: World
    name: str
    notify_class: NotifyClass
    context: int
    address: int
    members: dict[str, int]
    mode: int
    pre: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    #: Buffer of each UNICODE_STRING member.
    buffers: dict[str, int] = field(default_factory=dict)

    def text(self, member: str) -> str:
        """What a UNICODE_STRING member said when the callback ran."""
        return self.texts[member]

    def put(self, member: str, value: int) -> None:
        """Write a member of the structure."""
        fields = layout(self.notify_class, self.world.version, self.world.memory.pointer_size)
        place = fields[member]
        raw = (value & ((1 << 8 * place.size) - 1)).to_bytes(place.size, "little")
        self.world.memory.write(self.address + place.offset, raw)

    @property
    def path(self) -> str:
        """The path of Object."""
        key = self.world.engine.keys.at(self.members["Object"])
        assert key is not None
        return self.world.engine.keys.path(key)


class _Processes:
    def __init__(self, world: World) -> None:
        self._world = world
        self._next = 0x100
        self.runner = self.create("regrun.exe", token=ADMINISTRATOR)
        self.second = self.create("regrun.exe", token=ADMINISTRATOR)

    def create(self, name: str, *, image: str = "", token: Token, parent: int = 0) -> _Process:
        self._next += 4
        handles = HandleTable()
        return _Process(self._next, _Body(handles, token), handles)

    def create_thread(self, process: _Process) -> _Thread:
        self._next += 4
        return _Thread(process, self._next, previous_mode=1)

    def ended(self, process: _Process, status: int) -> None:
        process.body.exit_status = status


class World:
    """A machine for the filtering glue; also serves as its own `machine.kernel`."""

    def __init__(self, version: WindowsVersion, arch: Arch = Arch.X64) -> None:
        self.version = version
        self.arch = arch
        self.memory = Memory(arch, size=64 << 20)
        self.cpu = _Cpu()
        self.pool = _Pool(self.memory)
        system = HandleTable()
        self.system = _Process(4, _Body(system, SYSTEM), system, system=True)
        self.system_thread = _Thread(self.system, 8)
        self.current = self.system_thread
        self.objects = ObjectManager(self)  # type: ignore[arg-type]
        self.system.handles = self.system.body.handles = self.objects.kernel_handles
        self.namespace = Namespace(self, self.objects)  # type: ignore[arg-type]
        everything = GenericMapping(1, 2, 4, 0x1F0003)
        self.objects.define_type("File", everything)
        self.objects.define_type("Event", everything)
        self.kernel = self
        self.scheduler = self
        self.debug = DebugLog()
        self.signalled: list[int] = []
        self.processes = _Processes(self)
        self.cm = ConfigurationManager(version, pointer_size=self.memory.pointer_size)
        self.engine = FilterEngine(self, self.cm)  # type: ignore[arg-type]
        self.registry = self.engine
        self.seen: list[Notification] = []
        self._callbacks: dict[int, tuple[str, Callback | None]] = {}
        self._counter = 1000

    # machine
    def performance_counter(self) -> int:
        self._counter += 1
        return self._counter

    def switch(self, thread: Any) -> None:
        self.current = thread

    @contextmanager
    def previous_mode(self, mode: int) -> Iterator[None]:
        thread = self.current
        before, thread.previous_mode = thread.previous_mode, mode
        try:
            yield
        finally:
            thread.previous_mode = before

    def bugcheck(
        self, code: int, p1: int = 0, p2: int = 0, p3: int = 0, p4: int = 0, *, reason: str = ""
    ) -> NoReturn:
        raise GuestCrashed(Bugcheck(code, (p1, p2, p3, p4), reason=reason))

    def describe_hang(self, reason: str) -> Bugcheck:
        return Bugcheck(0xE2, (0, 0, 0, 0), reason=reason)

    def calling_driver(self) -> str:
        return "driver"

    def driver_at(self, address: int) -> None:
        """Python functions are in no image."""

    def signal(self, address: int) -> None:
        self.signalled.append(address)

    def call_guarded(self, routine: int, context: int, notify_class: int, address: int) -> int:
        name, callback = self._callbacks[routine]
        known = NotifyClass(notify_class)
        pointer = self.memory.pointer_size
        fields = layout(known, self.version, pointer)
        members = fields.decode(self.memory.read(address, fields.size))
        note = Notification(self, name, known, context, address, members, self.current.previous_mode)
        for place in fields:
            if place.kind == "string" and members[place.name]:
                note.texts[place.name] = self.memory.read_unicode(members[place.name])
                note.buffers[place.name] = self.memory.unicode_string(members[place.name])[2]
        if known.is_post and "PreInformation" in members:
            before = known.counterpart
            assert before is not None
            shape = layout(before, self.version, pointer)
            note.pre = shape.decode(self.memory.read(members["PreInformation"], shape.size))
        self.seen.append(note)
        return callback(note) if callback is not None else 0

    # tests
    def add(self, name: str, altitude: str | None, callback: Callback | None = None) -> Registration:
        routine = 0x1000 + len(self._callbacks)
        self._callbacks[routine] = (name, callback)
        result = self.engine.stack.register(altitude, routine, 0x77, "driver")
        assert result.registration is not None, hex(result.status)
        return result.registration

    def run(self, *operations: Operation) -> ProgramResult:
        return run_program(self, Program.of(operations))  # type: ignore[arg-type]

    def classes(self, name: str | None = None) -> list[NotifyClass]:
        """The classes one filter saw, or all of them."""
        return [note.notify_class for note in self.seen if name in (None, note.name)]

    def first(self, notify_class: NotifyClass, name: str | None = None) -> Notification:
        return next(n for n in self.seen if n.notify_class is notify_class and name in (None, n.name))
