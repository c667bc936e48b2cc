"""The runner of the reference guest: workload programs as a user-mode process executes them.

Every operation runs on a thread of its process with previous mode UserMode, its buffers lie in user memory,
and the performance counter is read right around the native call. The rules are those of
`harness.workload.opcodes`; the runner in C for Windows machines follows the same ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.errors import GuestCrashed, UnsupportedError
from harness.reference.filtering.engine import engine_of
from harness.reference.filtering.runner_calls import CALLS
from harness.reference.filtering.runner_memory import UserMemory
from harness.reference.filtering.runner_state import Prepared, Run
from harness.reference.kernel.objects import USER_MODE
from harness.workload.opcodes import Opcode
from harness.workload.result import OperationResult, ProgramResult

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.threads import Thread
    from harness.workload.program import Operation, Program

__all__ = ["run_program"]

_FREQUENCY: Final = 10_000_000


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
    results: list[OperationResult] = []
    before = machine.current
    try:
        for operation in program.operations:
            results.append(_execute(run, machine, operation))
            if run.ending:
                machine.switch(before)
                while run.ending:
                    runners.ended(run.ending.pop())
        _close_leftovers(run, machine)
    except GuestCrashed as error:
        if error.operation is None and len(results) < len(program.operations):
            error.operation = len(results)
        raise
    finally:
        machine.switch(before)
        machine.memory.reset_user()
    return ProgramResult(
        operations=tuple(results),
        process_id=main.process.pid,
        thread_id=main.tid,
        pointer_size=machine.memory.pointer_size,
        frequency=_FREQUENCY,
        process_ids=tuple(run.pids.get(role, 0) for role in range(max(run.pids, default=0) + 1)),
    )


def _execute(run: Run, machine: Machine, operation: Operation) -> OperationResult:
    thread = run.runners.thread(operation.process, operation.thread)
    if machine.current is not thread:  # stays until an operation of another thread comes
        machine.switch(thread)
        run.pids[operation.process] = thread.process.pid
    prepared = CALLS[operation.opcode](run, operation)
    counter = machine.performance_counter
    begin = counter()
    status = prepared.status if prepared.call is None else prepared.call()
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
            run.opened(operation.out, handle, operation.target_process if duplicates else operation.process)
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


def _close_leftovers(run: Run, machine: Machine) -> None:
    """Handles still open are closed in slot order (rule of `harness.workload.opcodes`)."""
    for slot in sorted(run.open):
        role = run.open[slot]
        machine.switch(run.runners.thread(role, 0))
        run.engine.objects.close(run.slots[slot], USER_MODE)
    run.open.clear()
