"""Operations of a program on events, as native calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.filtering.runner_state import Prepared, Run
from harness.reference.kernel.dispatcher import DispatcherType, initialise
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.objects import USER_MODE, KernelObject
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.workload.program import Operation

__all__ = ["create_event", "set_event", "wait"]

_EVENT_ALL_ACCESS: Final = 0x1F0003
_EVENT_MODIFY_STATE: Final = 2
_SYNCHRONIZE: Final = 0x100000


def create_event(run: Run, operation: Operation) -> Prepared:
    """NtCreateEvent: a notification event that is not signalled."""
    objects, machine = run.engine.objects, run.engine.machine
    handle_at = run.memory.pointer_cell()

    def call() -> int:
        size = layout("KEVENT", machine.memory.pointer_size).size
        event = objects.create(objects.types["Event"], None)
        initialise(machine, event.address, DispatcherType.NOTIFICATION_EVENT, size, 0)
        table = machine.current.process.body.handles
        handle = objects.open_handle(event, _EVENT_ALL_ACCESS, table=table)
        objects.dereference(event)
        machine.memory.put_ptr(handle_at, handle)
        return NTSTATUS.SUCCESS

    return Prepared(call, handle_at=handle_at)


def _event(run: Run, operation: Operation, access: int) -> KernelObject | int:
    objects = run.engine.objects
    return objects.resolve(run.handle(operation.handle), objects.types["Event"], access, USER_MODE)


def set_event(run: Run, operation: Operation) -> Prepared:
    """NtSetEvent."""

    def call() -> int:
        event = _event(run, operation, _EVENT_MODIFY_STATE)
        if isinstance(event, int):
            return event
        run.engine.machine.kernel.scheduler.signal(event.address)
        return NTSTATUS.SUCCESS

    return Prepared(call)


def wait(run: Run, operation: Operation) -> Prepared:
    """NtWaitForSingleObject; the others run meanwhile."""
    machine = run.engine.machine

    def call() -> int:
        event = _event(run, operation, _SYNCHRONIZE)
        if isinstance(event, int):
            return event
        scheduler, limit = machine.kernel.scheduler, operation.milliseconds
        deadline = None if limit is None else scheduler.now + limit * 10_000
        what = "NtWaitForSingleObject"
        return scheduler.wait((event.address,), wait_all=False, deadline=deadline, what=what)

    return Prepared(call)
