"""The runner of the reference guest: workload programs as a user-mode process executes them.

Every operation runs on a thread of its process with previous mode UserMode, its buffers lie in user memory,
and the performance counter is read right around the native call. The rules are those of
`harness.workload.opcodes`; the runner in C for Windows machines follows the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from harness.errors import GuestCrashed, GuestHung, UnsupportedError
from harness.reference.clock import COUNTER_FREQUENCY
from harness.reference.filtering.engine import engine_of
from harness.reference.filtering.runner_calls import CALLS
from harness.reference.filtering.runner_memory import UserMemory
from harness.reference.filtering.runner_since import is_missing
from harness.reference.filtering.runner_state import Lane, Prepared, Run
from harness.reference.kernel.objects import USER_MODE
from harness.registry.status import NTSTATUS
from harness.workload.opcodes import Opcode
from harness.workload.result import OperationResult, ProgramResult

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.strands import Strand
    from harness.reference.threads import Thread
    from harness.workload.program import Operation, Program

__all__ = ["run_program"]


def run_program(machine: Machine, program: Program) -> ProgramResult:
    """Execute a program and close what it left open.

    Raises `GuestCrashed` when the guest went down, `UnsupportedError` for a program with Win32 calls.
    """
    for operation in program.operations:
        if operation.opcode.is_win32:
            raise UnsupportedError(
                f"the reference guest has no Win32 layer: {operation.opcode.name.lower()} can't run there; "
                'mark the test @requires("win32-calls")'
            )
    engine = engine_of(machine)
    runners = engine.runners
    memory = UserMemory(machine.memory)
    run = Run(engine, runners, memory, [0] * program.handle_count)
    main = runners.thread(0, 0)
    before = machine.current
    concurrent = any(operation.background for operation in program.operations)
    if concurrent:
        machine.cpu.outside = True
    course = _Course(run, machine, program)
    try:
        course.follow()
        _give_back_leftovers(run, machine)
    finally:
        if concurrent:
            machine.kernel.scheduler.strands.drop()
            machine.cpu.outside = False
        machine.switch(before)
        machine.memory.reset_user()
    return ProgramResult(
        operations=course.results,
        process_id=main.process.pid,
        thread_id=main.tid,
        pointer_size=machine.memory.pointer_size,
        frequency=COUNTER_FREQUENCY,
        process_ids=tuple(run.pids.get(role, 0) for role in range(max(run.pids, default=0) + 1)),
    )


class _Course:
    """A program's operations on their way: what has ended, and what goes on beside the others."""

    def __init__(self, run: Run, machine: Machine, program: Program) -> None:
        self._run = run
        self._machine = machine
        self._before = machine.current  # no thread of the program's
        self._operations = program.operations
        self._results: list[OperationResult | None] = [None] * len(program.operations)
        self._under_way: dict[Lane, tuple[int, Strand]] = {}

    @property
    def results(self) -> tuple[OperationResult, ...]:
        """One for each operation, once all have ended."""
        return tuple(each for each in self._results if each is not None)

    def follow(self) -> None:
        """Execute everything in order."""
        for index, operation in enumerate(self._operations):
            if operation.opcode is not Opcode.TERMINATE_PROCESS:
                self._wait_for(Lane.of(operation))
                if operation.opcode is Opcode.DUPLICATE_HANDLE and operation.target_process:
                    self._wait_for(Lane(operation.target_process, 0))
            if operation.background:
                self._begin(index)
            else:
                self._carry_out(index)
            if self._run.ending:
                self._end_processes()
            if self._under_way:
                self._let_run()
        for lane in list(self._under_way):
            self._wait_for(lane)

    def _carry_out(self, index: int) -> None:
        """One operation to its end; a crash is told which it was."""
        operation = self._operations[index]
        try:
            result = _execute(self._run, self._machine, operation)
        except GuestCrashed as error:
            if error.operation is None:
                error.operation = index
            raise
        if operation.background and result.process_id in self._run.terminated:
            result = _of_terminated(result)
        self._results[index] = result

    def _begin(self, index: int) -> None:
        """In the background: until it ends or waits for somebody else."""
        strand = self._machine.kernel.scheduler.strands.begin(lambda: self._carry_out(index))
        if not strand.finished:
            lane = Lane.of(self._operations[index])
            self._under_way[lane] = index, strand
            self._run.standing.add(lane.process)

    def _let_run(self) -> None:
        """What another operation made possible happens before the next one."""
        strands = self._machine.kernel.scheduler.strands
        while strands.let_run():
            pass
        self._tidy()

    def _tidy(self) -> None:
        for lane, (_, strand) in list(self._under_way.items()):
            if strand.finished:
                del self._under_way[lane]
        self._end_processes()

    def _wait_for(self, lane: Lane) -> None:
        """An operation in the background comes to its end before anything else of its lane."""
        index, strand = self._under_way.get(lane, (0, None))
        if strand is not None:
            scheduler = self._machine.kernel.scheduler
            scheduler.run_until(lambda: strand.finished, lambda: self._hang(index))
            self._tidy()

    def _hang(self, index: int) -> NoReturn:
        reason = f"operation {index} ({self._operations[index].opcode.name.lower()}) waits in a callback"
        hung = GuestHung(self._machine.describe_hang(f"{reason}, and nothing that is left to run ends that"))
        hung.operation = index
        raise hung

    def _end_processes(self) -> None:
        """Processes that were terminated are gone when nothing of them stands in the kernel any more."""
        run, machine = self._run, self._machine
        run.standing = {lane.process for lane in self._under_way}
        for role in [role for role in run.ending if role not in run.standing]:
            run.ending.remove(role)
            machine.switch(run.runners.thread(role, 0))
            run.close_handles(role)
            machine.switch(self._before)
            run.runners.ended(role)


def _of_terminated(result: OperationResult) -> OperationResult:
    """Of a process that ended meanwhile no result comes but that."""
    return OperationResult(
        status=NTSTATUS.PROCESS_IS_TERMINATING,
        begin=result.end,
        end=result.end,
        process_id=result.process_id,
        thread_id=0,
    )


def _execute(run: Run, machine: Machine, operation: Operation) -> OperationResult:
    thread = run.runners.thread(operation.process, operation.thread)
    if machine.current is not thread:  # stays until an operation of another thread comes
        machine.switch(thread)
        run.pids[operation.process] = thread.process.pid
    if is_missing(operation, machine.version):
        prepared = Prepared(status=NTSTATUS.PROCEDURE_NOT_FOUND)
    else:
        prepared = CALLS[operation.opcode](run, operation)
    counter = machine.performance_counter
    begin = counter()
    status = prepared.status if prepared.call is None else prepared.call()
    run.engine.leave_service()
    end = counter()
    if prepared.after is not None:
        prepared.after()
    return _result(run, operation, prepared, status & 0xFFFF_FFFF, begin, end, thread)


def _result(
    run: Run, operation: Operation, prepared: Prepared, status: int, begin: int, end: int, thread: Thread
) -> OperationResult:
    memory = run.memory
    handle = 0
    if prepared.handle_at and status < 0x8000_0000:
        handle = memory.pointer(prepared.handle_at) or 0
        if handle and operation.out is not None:
            duplicates = operation.opcode is Opcode.DUPLICATE_HANDLE
            role = operation.target_process if duplicates else operation.process
            run.opened(operation.out, handle, role, pages=prepared.pages)
    buffer = memory.output(prepared.output_at, prepared.output_size)
    result_length = memory.ulong(prepared.result_length_at)
    if prepared.direct is not None:
        buffer, result_length = prepared.direct()
    return OperationResult(
        status=status,
        begin=begin,
        end=end,
        process_id=thread.process.pid,
        thread_id=thread.tid,
        handle=handle,
        buffer=buffer,
        result_length=result_length,
        buffer_length=memory.ulong(prepared.buffer_length_at),
        disposition=memory.ulong(prepared.disposition_at),
        entries=prepared.entries() if prepared.entries is not None else (),
        input_address=prepared.input_at,
        output_address=prepared.output_at,
        name_address=prepared.name_at,
    )


def _give_back_leftovers(run: Run, machine: Machine) -> None:
    """Handles still open are closed in slot order, memory is freed (rule of `harness.workload.opcodes`)."""
    for thread in list(run.impersonating):
        machine.switch(thread)
        run.impersonate(None)
    for slot in sorted(run.open):
        role = run.open[slot]
        if slot in run.pages:
            run.memory.free(run.slots[slot], run.pages.pop(slot))
        else:
            machine.switch(run.runners.thread(role, 0))
            run.engine.objects.close(run.slots[slot], USER_MODE)
    run.open.clear()
