"""Operations of a program on its own threads, processes and memory, as native calls."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.reference.cm.tokens import ADMINISTRATORS
from harness.reference.faults import GuestFault
from harness.reference.filtering.runner_state import Prepared, Run
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.workload.program import Operation

__all__ = ["allocate_memory", "free_memory", "impersonate", "revert", "terminate_process", "write_memory"]


def impersonate(run: Run, operation: Operation) -> Prepared:
    """A token for the thread: its process' without privileges and without the group of administrators."""
    machine = run.engine.machine

    def call() -> int:
        own = machine.current.process.body.token
        less = replace(own, groups=own.groups - {ADMINISTRATORS}, privileges=frozenset(), owner=own.user)
        run.impersonate(machine.kernel.processes.create_token(less))
        return NTSTATUS.SUCCESS

    return Prepared(call)


def revert(run: Run, operation: Operation) -> Prepared:
    """The thread has no token of its own any more."""

    def call() -> int:
        run.impersonate(None)
        return NTSTATUS.SUCCESS

    return Prepared(call)


def terminate_process(run: Run, operation: Operation) -> Prepared:
    """NtTerminateProcess: the system closes the handles in the context of the ending process."""
    process = run.runners.process(operation.process)

    def call() -> int:
        run.terminated.add(process.pid)
        if operation.process not in run.standing:
            run.close_handles(operation.process)
        return NTSTATUS.SUCCESS

    return Prepared(call, after=lambda: run.ending.append(operation.process))


def allocate_memory(run: Run, operation: Operation) -> Prepared:
    """NtAllocateVirtualMemory; what is given is stored before the requester goes on."""
    data = operation.data or b""
    size = max(operation.length, len(data))
    handle_at = run.memory.pointer_cell()

    def call() -> int:
        if not size:
            return NTSTATUS.INVALID_PARAMETER
        address = run.memory.map(size)
        run.engine.memory.write(address, data)
        run.engine.memory.put_ptr(handle_at, address)
        return NTSTATUS.SUCCESS

    return Prepared(call, handle_at=handle_at, pages=size)


def write_memory(run: Run, operation: Operation) -> Prepared:
    """NtWriteVirtualMemory into the caller's own memory."""
    address = run.handle(operation.handle) + operation.index

    def call() -> int:
        try:
            run.engine.memory.user_write(address, operation.data or b"")
        except GuestFault:
            return NTSTATUS.PARTIAL_COPY
        return NTSTATUS.SUCCESS

    return Prepared(call)


def free_memory(run: Run, operation: Operation) -> Prepared:
    """NtFreeVirtualMemory of what `allocate_memory` gave."""
    address = run.handle(operation.handle)

    def call() -> int:
        slot = next((each for each in run.pages if run.slots[each] == address and each in run.open), None)
        if slot is None:
            return NTSTATUS.MEMORY_NOT_ALLOCATED
        run.memory.free(address, run.pages[slot])
        run.closed(address, operation.process, memory=True)
        return NTSTATUS.SUCCESS

    return Prepared(call)
