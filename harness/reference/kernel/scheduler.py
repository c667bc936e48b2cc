"""The cooperative scheduler: system threads, work items, DPCs and timers, run when somebody waits.

One piece of guest code runs at a time, until it returns or waits. A thread that waits directly (no kernel
routine with a driver callback inside it is on its stack) is put aside with its registers and goes on later; a
thread that waits further in keeps its place while the others run above it. Time is virtual: when nothing can
run, the clock moves to the next deadline, so nothing ever sleeps. A wait that nothing left can satisfy is a
hang, reported with the waiting thread's stack.

Sources: kernel/windows-kernel-mode-process-and-thread-manager, nf-wdm-kewaitforsingleobject,
nf-wdm-kesettimer, nf-wdm-ioqueueworkitem, nf-wdm-keinsertqueuedpc.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn

from harness.errors import GuestHung
from harness.reference.kernel.balance import check_thread_exit, check_work_item
from harness.reference.kernel.checks import DISPATCH_LEVEL, PASSIVE_LEVEL, irql_name
from harness.reference.kernel.dispatcher import WaitRequest
from harness.reference.kernel.layouts import layout
from harness.reference.strands import Strands
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.levels import Suspension
    from harness.reference.machine import Machine
    from harness.reference.threads import Thread

__all__ = ["Scheduler", "Task", "ThreadExit", "Timer"]

#: Callbacks of one drain: a driver that queues itself for ever is a hang, not a loop of the host.
_MAX_STEPS: Final = 100_000


class ThreadExit(BaseException):
    """PsTerminateSystemThread: the current thread's code does not go on."""

    def __init__(self, status: int) -> None:
        super().__init__(hex(status))
        self.status = status


class _Suspended(BaseException):
    """The running task waits and was put aside."""


@dataclass(slots=True, eq=False)
class Task:
    """Guest code with a thread of its own: a system thread, or a worker thread running one work item."""

    thread: Thread
    routine: int
    args: tuple[int, ...]
    what: str
    driver: object = None
    #: A worker thread runs it, and goes on with other work items afterwards.
    on_worker: bool = False
    #: Called with the exit status when the code is over.
    ended: Callable[[int], None] | None = None
    #: Called when its code begins to run.
    started: Callable[[], None] | None = None
    #: How many calls into the guest lie below this task's own.
    depth: int = 0
    wait: WaitRequest | None = None
    suspension: Suspension | None = None
    finished: bool = False


@dataclass(slots=True, eq=False)
class Timer:
    address: int
    due: int
    period: int  # 100 ns units, 0 for none
    dpc: int
    generation: int


@dataclass(slots=True)
class Scheduler:
    """What can run on a machine besides the thread that runs."""

    m: Machine
    dpcs: deque[int] = field(default_factory=deque)
    ready: deque[Task] = field(default_factory=deque)
    waiting: list[Task] = field(default_factory=list)
    timers: dict[int, Timer] = field(default_factory=dict)
    _heap: list[tuple[int, int, int]] = field(default_factory=list)
    _generation: int = 0
    #: Tasks under way, the innermost last.
    running: list[Task] = field(default_factory=list)
    #: In a DPC waiting is forbidden and nothing else runs.
    in_dpc: int = 0
    strands: Strands = field(init=False)

    def __post_init__(self) -> None:
        self.strands = Strands(self.m)

    # -- time --------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Interrupt time in 100 ns units."""
        return self.m.interrupt_time()

    def due_time(self, address: int) -> int | None:
        """The deadline a LARGE_INTEGER timeout means: negative is relative, positive an absolute system
        time."""
        if address == 0:
            return None
        raw = self.m.memory.u64(address)
        value = raw - (1 << 64) if raw >> 63 else raw
        return self.deadline(value)

    def deadline(self, value: int) -> int:
        if value <= 0:
            return self.now - value
        return self.now + max(0, value - self.m.system_time())

    # -- timers ------------------------------------------------------------------------------------------

    def set_timer(self, address: int, value: int, period_ms: int, dpc: int) -> bool:
        """KeSetTimerEx; whether the timer was set already."""
        was_set = self.cancel_timer(address)
        self._generation += 1
        timer = Timer(address, self.deadline(value), period_ms * 10_000, dpc, self._generation)
        self.timers[address] = timer
        heapq.heappush(self._heap, (timer.due, timer.generation, address))
        self.m.memory.put_u32(address + 4, 0)
        self.m.memory.put_u8(address + 3, 1)
        return was_set

    def cancel_timer(self, address: int) -> bool:
        timer = self.timers.pop(address, None)
        if timer is None:
            return False
        self.m.memory.put_u8(address + 3, 0)
        return True

    def _next_timer(self) -> Timer | None:
        while self._heap:
            _due, generation, address = self._heap[0]
            timer = self.timers.get(address)
            if timer is not None and timer.generation == generation:
                return timer
            heapq.heappop(self._heap)
        return None

    def _fire_due_timers(self) -> None:
        while True:
            timer = self._next_timer()
            if timer is None or timer.due > self.now:
                return
            heapq.heappop(self._heap)
            self.m.memory.put_u32(timer.address + 4, 1)
            if timer.period:
                self._generation += 1
                timer.generation = self._generation
                timer.due += timer.period
                heapq.heappush(self._heap, (timer.due, timer.generation, timer.address))
            else:
                self.timers.pop(timer.address, None)
                self.m.memory.put_u8(timer.address + 3, 0)
            if timer.dpc:
                self.queue_dpc(timer.dpc, 0, 0)

    # -- DPCs --------------------------------------------------------------------------------------------

    def queue_dpc(self, address: int, argument1: int, argument2: int) -> bool:
        """KeInsertQueueDpc: False when it is queued already."""
        if address in self.dpcs:
            return False
        view = layout("KDPC", self.m.memory.pointer_size).at(self.m.memory, address)
        view["SystemArgument1"] = argument1
        view["SystemArgument2"] = argument2
        view["DpcData"] = address
        self.dpcs.append(address)
        self.m.cpu.dpc_pending = True
        return True

    def remove_dpc(self, address: int) -> bool:
        if address not in self.dpcs:
            return False
        self.dpcs.remove(address)
        layout("KDPC", self.m.memory.pointer_size).at(self.m.memory, address)["DpcData"] = 0
        return True

    def run_dpcs(self) -> bool:
        """Run every queued DPC, as lowering the IRQL below DISPATCH_LEVEL does. Whether one ran."""
        ran = False
        m = self.m
        while self.dpcs and not self.in_dpc and m.cpu.irql < DISPATCH_LEVEL:
            address = self.dpcs.popleft()
            view = layout("KDPC", m.memory.pointer_size).at(m.memory, address)
            view["DpcData"] = 0
            routine, context = view["DeferredRoutine"], view["DeferredContext"]
            argument1, argument2 = view["SystemArgument1"], view["SystemArgument2"]
            before = m.cpu.irql
            self.in_dpc += 1
            try:
                with m.running_as(m.system_thread):
                    m.cpu.irql = DISPATCH_LEVEL
                    m.cpu.call(routine, address, context, argument1, argument2)
                    self._check_irql(routine, DISPATCH_LEVEL, "a DPC routine")
            finally:
                self.in_dpc -= 1
                m.cpu.irql = before
            ran = True
        m.cpu.dpc_pending = bool(self.dpcs or self.in_dpc)
        return ran

    def _check_irql(self, routine: int, expected: int, what: str) -> None:
        if self.m.cpu.irql != expected:
            self.m.bugcheck(
                0x0A if expected >= DISPATCH_LEVEL else 0x4A,
                routine,
                self.m.cpu.irql,
                0,
                0,
                reason=f"{what} was called at {irql_name(expected)} and returned at "
                f"{irql_name(self.m.cpu.irql)}",
            )

    # -- tasks -------------------------------------------------------------------------------------------

    def add(self, task: Task) -> None:
        """Let a task begin when somebody waits or the system is idle."""
        self.ready.append(task)

    def owned_by(self, driver: object) -> list[Task]:
        """Tasks of a driver that are not over: threads and queued work items."""
        tasks = [*self.ready, *self.waiting, *self.running]
        return [task for task in tasks if task.driver is driver and not task.finished]

    def abandon(self, driver: object) -> None:
        """Forget the tasks of a driver whose image goes away."""
        self.ready = deque(task for task in self.ready if task.driver is not driver)
        self.waiting = [task for task in self.waiting if task.driver is not driver]

    def in_system_thread(self) -> bool:
        """Whether the current thread is one PsCreateSystemThread made."""
        return bool(self.running) and self.running[-1].thread is self.m.current

    def _run(self, task: Task, result: int | None) -> None:
        """Run a task from its beginning, or on from its wait with `result`, until it ends or waits again."""
        m = self.m
        cpu = m.cpu
        outer = cpu.engine.registers.read(xmm=True) if cpu.levels else None
        irql = cpu.irql
        task.depth = len(cpu.levels)
        self.running.append(task)
        status = 0
        try:
            with m.running_as(task.thread):
                cpu.irql = PASSIVE_LEVEL
                if task.suspension is None:
                    if task.started is not None:
                        task.started()
                    status = cpu.call(task.routine, *task.args) & 0xFFFFFFFF
                else:
                    suspension, task.suspension = task.suspension, None
                    cpu.irql = suspension.irql
                    status = cpu.resume(suspension, 0 if result is None else result) & 0xFFFFFFFF
                self._check_irql(task.routine, PASSIVE_LEVEL, task.what)
            self._end(task, status)
        except ThreadExit as error:
            self._leave(outer)
            self._end(task, error.status)
        except _Suspended:
            self._leave(outer)
            self.waiting.append(task)
        finally:
            self.running.remove(task)
            cpu.irql = irql

    def _leave(self, outer: object) -> None:
        if outer is not None:
            self.m.cpu.engine.registers.write(outer)  # type: ignore[arg-type]

    def _end(self, task: Task, status: int) -> None:
        task.finished = True
        check = check_work_item if task.on_worker else check_thread_exit
        check(self.m, task.thread, task.routine)
        if task.ended is not None:
            task.ended(status)

    def step(self) -> bool:
        """Run one thing that can run now; False when there is none."""
        if self.in_dpc or self.m.cpu.irql >= DISPATCH_LEVEL:
            return False
        self._fire_due_timers()
        if self.run_dpcs():
            return True
        for task in self.waiting:
            wait = task.wait
            if wait is None:
                continue
            result = wait.take(self.m)
            if result is None and wait.deadline is not None and wait.deadline <= self.now:
                result = int(NTSTATUS.SUCCESS if not wait.objects else NTSTATUS.TIMEOUT)
            if result is not None:
                self.waiting.remove(task)
                task.wait = None
                self._run(task, result)
                return True
        if self.ready:
            self._run(self.ready.popleft(), None)
            return True
        return False

    def drain(self) -> None:
        """Run until nothing can run without time passing: what happens while a machine is idle."""
        for _ in range(_MAX_STEPS):
            if not self.step():
                return
        raise GuestHung(self.m.describe_hang("work items, threads or DPCs queue each other without end"))

    def _next_deadline(self) -> int | None:
        dues = [task.wait.deadline for task in self.waiting if task.wait and task.wait.deadline is not None]
        timer = self._next_timer()
        if timer is not None:
            dues.append(timer.due)
        strand = self.strands.next_deadline()
        if strand is not None:
            dues.append(strand)
        return min(dues, default=None)

    def run_until(
        self, done: Callable[[], bool], stuck: Callable[[], NoReturn], deadline: int | None = None
    ) -> bool:
        """Let the others run until `done`. Returns False when `deadline` passed first; `stuck` never
        returns."""
        moved = True
        for _ in range(_MAX_STEPS):
            if done():
                return True
            if deadline is not None and deadline <= self.now:
                return False
            if self.step():
                moved = True
                continue
            if self.strands.inside is not None:
                self.strands.pause(deadline, moved=moved)
                moved = False
                continue
            if self.strands.let_run():
                continue
            following = self._next_deadline()
            if deadline is not None and (following is None or deadline <= following):
                following = deadline
            if following is None:
                stuck()
            self.m.advance_time(max(0, following - self.now))
        raise GuestHung(self.m.describe_hang("a wait was not satisfied after 100,000 steps of other code"))

    # -- waiting -----------------------------------------------------------------------------------------

    def wait(
        self,
        objects: tuple[int, ...],
        *,
        wait_all: bool,
        deadline: int | None,
        what: str,
        answer: Callable[[], int] | None = None,
    ) -> int:
        """Block the current thread; STATUS_WAIT_n or what `answer` says instead, STATUS_TIMEOUT, or
        STATUS_SUCCESS for a mere delay."""
        m = self.m
        request = WaitRequest(m.current, objects, wait_all, deadline, answer)
        result = request.take(m)
        if result is not None:
            return result
        if deadline is not None and deadline <= self.now:
            return NTSTATUS.TIMEOUT if objects else NTSTATUS.SUCCESS
        if m.cpu.irql >= DISPATCH_LEVEL or self.in_dpc:
            m.bugcheck(
                0xC4,
                0x121,
                m.cpu.irql,
                objects[0] if objects else 0,
                0,
                reason=f"{what} blocks at {irql_name(m.cpu.irql)}",
            )
        task = self.running[-1] if self.running else None
        if task is not None and task.thread is m.current and len(m.cpu.levels) == task.depth + 1:
            task.wait = request
            task.suspension = m.cpu.suspend(m.cpu.irql)
            raise _Suspended
        found: list[int] = []

        def satisfied() -> bool:
            answer = request.take(m)
            if answer is not None:
                found.append(answer)
            return answer is not None

        if self.run_until(satisfied, lambda: self._hang(what, objects), deadline):
            return found[0]
        return NTSTATUS.TIMEOUT if objects else NTSTATUS.SUCCESS

    def _hang(self, what: str, objects: tuple[int, ...]) -> NoReturn:
        names = ", ".join(f"{address:#x}" for address in objects)
        raise GuestHung(
            self.m.describe_hang(
                f"{what} waits for {names or 'nothing'} and nothing that is left to run signals it"
            )
        )

    def signal(self, address: int) -> int:
        """Set a dispatcher object to signalled; its former state."""
        before = self.m.memory.u32(address + 4)
        self.m.memory.put_u32(address + 4, 1)
        return before
