"""Processes, threads and tokens as kernel objects.

A machine starts with System (4), the runner `regrun.exe` as administrator and a second process; programs
and tests may have more. Sources: nf-ntifs-pslookupprocessbyprocessid, kernel/windows-kernel-mode-process-and-
thread-manager.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.reference.cm.tokens import ADMINISTRATOR, SYSTEM, Token
from harness.reference.kernel.linked_lists import make_empty
from harness.reference.kernel.objects import GenericMapping, HandleTable, KernelObject
from harness.reference.threads import KERNEL_MODE, USER_MODE, Process, Thread

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["ProcessBody", "Processes", "ThreadBody"]

SYSTEM_PID: Final = 4
_EPROCESS_SIZE: Final = 0xB80
_ETHREAD_SIZE: Final = 0x900
#: Types of dispatcher objects a process and a thread begin with (DISPATCHER_HEADER.Type).
_PROCESS_OBJECT: Final = 3
_THREAD_OBJECT: Final = 6
#: Where the model keeps the image name in its EPROCESS: drivers get it from PsGetProcessImageFileName only.
_WAIT_LIST: Final = 8  # of a DISPATCHER_HEADER
_IMAGE_NAME_AT: Final = 0x450
_IMAGE_NAME_SIZE: Final = 15


@dataclass(slots=True, eq=False)
class ProcessBody:
    """What the kernel keeps for a process. `image` is the DOS path of its program, empty for System."""

    process: Process
    object: KernelObject
    handles: HandleTable
    token: Token
    token_object: KernelObject
    image: str
    parent: int
    command_line: str = ""
    exit_status: int | None = None
    create_time: int = 0
    threads: list[Thread] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class ThreadBody:
    """What the kernel keeps for a thread."""

    thread: Thread
    object: KernelObject
    impersonating: KernelObject | None = None
    #: Negative while in critical regions or owning mutexes (KTHREAD.KernelApcDisable).
    apc_disable: int = 0
    #: Negative while in guarded regions or owning guarded mutexes (KTHREAD.SpecialApcDisable).
    special_apc_disable: int = 0
    attached: list[Process] = field(default_factory=list)
    exit_status: int | None = None
    #: The guest routine a system thread begins in.
    start: int = 0

    @property
    def combined_apc_disable(self) -> int:
        """KTHREAD.CombinedApcDisable: both counts, the special one in the upper half."""
        return self.special_apc_disable << 16 & 0xFFFF0000 | self.apc_disable & 0xFFFF


class Processes:
    """All processes and threads of a machine by identifier."""

    def __init__(self, machine: Machine) -> None:
        self.m = machine
        objects = machine.objects
        self.process_type = objects.define_type(
            "Process", GenericMapping(0x20410, 0x20BEB, 0x121001, 0x1FFFFF), _EPROCESS_SIZE
        )
        self.thread_type = objects.define_type(
            "Thread", GenericMapping(0x20048, 0x20037, 0x120000, 0x1FFFFF), _ETHREAD_SIZE
        )
        self.token_type = objects.define_type(
            "Token", GenericMapping(0x2001A, 0x200E0, 0x20005, 0xF01FF), 0x480
        )
        self.by_pid: dict[int, Process] = {}
        self.by_tid: dict[int, Thread] = {}
        self._next_id = 0x1000
        self.system = self.create("System", token=SYSTEM, pid=SYSTEM_PID)
        self.system_thread = self.create_thread(self.system, tid=8)
        machine.current = self.system_thread
        self.runner = self.create(
            "regrun.exe", image="C:\\harness\\regrun.exe", token=ADMINISTRATOR, parent=SYSTEM_PID
        )
        self.second = self.create(
            "regrun.exe", image="C:\\harness\\regrun.exe", token=ADMINISTRATOR, parent=self.runner.pid
        )

    def _new_id(self) -> int:
        self._next_id += 4
        return self._next_id

    def create_token(self, token: Token) -> KernelObject:
        return self.m.objects.create(self.token_type, token)

    def create(self, name: str, *, image: str = "", token: Token, parent: int = 0, pid: int = 0) -> Process:
        """A process without threads."""
        m = self.m
        objects = m.objects
        process = Process(pid or self._new_id(), name, system=pid == SYSTEM_PID)
        obj = objects.create(self.process_type, None)
        obj.permanent = True
        process.address = obj.address
        handles = objects.kernel_handles if process.system else HandleTable()
        body = ProcessBody(
            process, obj, handles, token, self.create_token(token), image, parent, command_line=image
        )
        body.create_time = m.system_time()
        process.body = body
        obj.body = body
        m.memory.put_u8(obj.address, _PROCESS_OBJECT)
        make_empty(m, obj.address + _WAIT_LIST)
        raw = name.encode("ascii", "replace")[: _IMAGE_NAME_SIZE - 1]
        m.memory.write(obj.address + _IMAGE_NAME_AT, raw)
        self.by_pid[process.pid] = process
        m.kernel.notify.process_created(process)
        return process

    def ended(self, process: Process, status: int) -> None:
        """A process ends: its threads, then the notifications; the object stays for those who hold it."""
        for thread in list(process.body.threads):
            self.thread_ended(thread, status)
        self.m.kernel.notify.process_ended(process)
        process.body.exit_status = status
        self.m.memory.put_u32(process.address + 4, 1)
        self.by_pid.pop(process.pid, None)

    def create_thread(self, process: Process, *, tid: int = 0, start: int = 0) -> Thread:
        """A thread with a kernel stack of its own. User processes' threads come from user mode."""
        m = self.m
        mode = KERNEL_MODE if process.system else USER_MODE
        thread = m.new_thread(process, tid or self._new_id(), previous_mode=mode)
        obj = m.objects.create(self.thread_type, None)
        obj.permanent = True
        thread.address = obj.address
        body = ThreadBody(thread, obj, start=start)
        thread.body = body
        obj.body = body
        m.memory.put_u8(obj.address, _THREAD_OBJECT)
        make_empty(m, obj.address + _WAIT_LIST)
        self.by_tid[thread.tid] = thread
        process.body.threads.append(thread)
        if not process.system:
            m.kernel.notify.thread(process.pid, thread.tid, created=True)
        return thread

    def image_name_address(self, process: Process) -> int:
        return process.address + _IMAGE_NAME_AT

    def thread_ended(self, thread: Thread, status: int) -> None:
        """The thread is over: its object is signalled and stays until the last reference goes."""
        if not thread.process.system:
            self.m.kernel.notify.thread(thread.process.pid, thread.tid, created=False)
        thread.body.exit_status = status
        self.by_tid.pop(thread.tid, None)
        if thread in thread.process.body.threads:
            thread.process.body.threads.remove(thread)
        self.m.memory.put_u32(thread.address + 4, 1)
        self.m.free_thread(thread)
        thread.body.object.permanent = False
        self.m.objects.dereference(thread.body.object)

    def process_at(self, address: int) -> Process | None:
        obj = self.m.objects.at(address)
        return obj.body.process if obj is not None and obj.type is self.process_type else None

    def thread_at(self, address: int) -> Thread | None:
        obj = self.m.objects.at(address)
        return obj.body.thread if obj is not None and obj.type is self.thread_type else None
