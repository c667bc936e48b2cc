"""Dispatcher objects and waiting: events, mutexes, semaphores, timers, delays.

Sources: nf-wdm-keinitializeevent, nf-wdm-kesetevent, nf-wdm-kewaitforsingleobject,
nf-wdm-kewaitformultipleobjects, nf-wdm-kedelayexecutionthread, nf-wdm-kesettimerex, nf-wdm-kereleasemutex,
nf-wdm-kereleasesemaphore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.exports import export
from harness.reference.kernel.checks import APC_LEVEL, DISPATCH_LEVEL, need_irql
from harness.reference.kernel.dispatcher import DispatcherType, initialise, state_of
from harness.reference.kernel.layouts import layout
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []


def _size(m: Machine, name: str) -> int:
    return layout(name, m.memory.pointer_size).size


@export("KeInitializeEvent", args="ptr, ulong, uchar")
def ke_initialize_event(m: Machine, event: int, kind: int, state: int) -> None:
    initialise(m, event, kind & 1, _size(m, "KEVENT"), int(state & 0xFF != 0))


@export("KeSetEvent", args="ptr, long, uchar")
def ke_set_event(m: Machine, event: int, increment: int, wait: int) -> int:
    if m.cpu.irql > DISPATCH_LEVEL:
        m.bugcheck(0xC4, 0x80, m.cpu.irql, event, 0, reason="KeSetEvent above DISPATCH_LEVEL")
    return m.kernel.scheduler.signal(event)


@export("KePulseEvent", args="ptr, long, uchar")
def ke_pulse_event(m: Machine, event: int, increment: int, wait: int) -> int:
    before = m.kernel.scheduler.signal(event)
    m.memory.put_u32(event + 4, 0)
    return before


@export("KeClearEvent", args="ptr")
def ke_clear_event(m: Machine, event: int) -> None:
    need_irql(m, DISPATCH_LEVEL, "KeClearEvent", "nf-wdm-keclearevent")
    m.memory.put_u32(event + 4, 0)


@export("KeResetEvent", args="ptr")
def ke_reset_event(m: Machine, event: int) -> int:
    need_irql(m, DISPATCH_LEVEL, "KeResetEvent", "nf-wdm-keresetevent")
    before = m.memory.u32(event + 4)
    m.memory.put_u32(event + 4, 0)
    return before


@export("KeReadStateEvent", args="ptr")
@export("KeReadStateTimer", args="ptr")
@export("KeReadStateMutex", args="ptr")
@export("KeReadStateSemaphore", args="ptr")
def ke_read_state(m: Machine, address: int) -> int:
    return state_of(m, address)


@export("KeInitializeMutex", args="ptr, ulong")
def ke_initialize_mutex(m: Machine, mutex: int, level: int) -> None:
    initialise(m, mutex, DispatcherType.MUTANT, _size(m, "KMUTEX"), 1)
    view = layout("KMUTEX", m.memory.pointer_size).at(m.memory, mutex)
    view["OwnerThread"] = 0
    view["Abandoned"] = 0
    view["ApcDisable"] = 1


@export("KeReleaseMutex", args="ptr, uchar")
def ke_release_mutex(m: Machine, mutex: int, wait: int) -> int:
    """Raises STATUS_MUTANT_NOT_OWNED when another thread, or none, owns it (nf-wdm-kereleasemutex)."""
    view = layout("KMUTEX", m.memory.pointer_size).at(m.memory, mutex)
    before = state_of(m, mutex)
    if view["OwnerThread"] != m.current.address:
        m.raise_status(NTSTATUS.MUTANT_NOT_OWNED)
    m.memory.put_u32(mutex + 4, (before + 1) & 0xFFFFFFFF)
    if before + 1 == 1:
        view["OwnerThread"] = 0
        m.current.body.apc_disable += view["ApcDisable"]
    return before


@export("KeInitializeSemaphore", args="ptr, long, long")
def ke_initialize_semaphore(m: Machine, semaphore: int, count: int, limit: int) -> None:
    initialise(m, semaphore, DispatcherType.SEMAPHORE, _size(m, "KSEMAPHORE"), count)
    layout("KSEMAPHORE", m.memory.pointer_size).at(m.memory, semaphore)["Limit"] = limit


@export("KeReleaseSemaphore", args="ptr, long, long, uchar")
def ke_release_semaphore(m: Machine, semaphore: int, increment: int, adjustment: int, wait: int) -> int:
    before = state_of(m, semaphore)
    limit = layout("KSEMAPHORE", m.memory.pointer_size).at(m.memory, semaphore)["Limit"]
    if adjustment <= 0 or before + adjustment > limit:
        m.raise_status(NTSTATUS.SEMAPHORE_LIMIT_EXCEEDED)
    m.memory.put_u32(semaphore + 4, before + adjustment)
    return before


@export("KeInitializeTimer", args="ptr")
def ke_initialize_timer(m: Machine, timer: int) -> None:
    ke_initialize_timer_ex(m, timer, 0)


@export("KeInitializeTimerEx", args="ptr, ulong")
def ke_initialize_timer_ex(m: Machine, timer: int, kind: int) -> None:
    size = _size(m, "KTIMER")
    m.memory.write(timer, bytes(size))
    which = DispatcherType.SYNCHRONIZATION_TIMER if kind & 1 else DispatcherType.NOTIFICATION_TIMER
    initialise(m, timer, which, size, 0)


def _set_timer(m: Machine, timer: int, due: int, period: int, dpc: int) -> int:
    need_irql(m, DISPATCH_LEVEL, "KeSetTimer", "nf-wdm-kesettimer")
    view = layout("KTIMER", m.memory.pointer_size).at(m.memory, timer)
    view["Dpc"] = dpc
    view["Period"] = period
    signed = due - (1 << 64) if due >> 63 else due
    m.kernel.timer_owner(timer, dpc)
    return int(m.kernel.scheduler.set_timer(timer, signed, period, dpc))


@export("KeSetTimer", args="ptr, ulonglong, ptr")
def ke_set_timer(m: Machine, timer: int, due: int, dpc: int) -> int:
    return _set_timer(m, timer, due, 0, dpc)


@export("KeSetTimerEx", args="ptr, ulonglong, ulong, ptr")
def ke_set_timer_ex(m: Machine, timer: int, due: int, period: int, dpc: int) -> int:
    return _set_timer(m, timer, due, period, dpc)


@export("KeSetCoalescableTimer", args="ptr, ulonglong, ulong, ulong, ptr", since=(6, 1))
def ke_set_coalescable_timer(m: Machine, timer: int, due: int, period: int, tolerance: int, dpc: int) -> int:
    return _set_timer(m, timer, due, period, dpc)


@export("KeCancelTimer", args="ptr")
def ke_cancel_timer(m: Machine, timer: int) -> int:
    return int(m.kernel.scheduler.cancel_timer(timer))


@export("KeWaitForSingleObject", args="ptr, ulong, uchar, uchar, ptr")
@export("KeWaitForMutexObject", args="ptr, ulong, uchar, uchar, ptr")
def ke_wait_for_single_object(
    m: Machine, obj: int, reason: int, mode: int, alertable: int, timeout: int
) -> int:
    scheduler = m.kernel.scheduler
    deadline = scheduler.due_time(timeout)
    if m.cpu.irql > DISPATCH_LEVEL:
        m.bugcheck(0xC4, 0x120, m.cpu.irql, obj, timeout, reason="KeWaitForSingleObject above DISPATCH_LEVEL")
    return scheduler.wait((obj,), wait_all=False, deadline=deadline, what="KeWaitForSingleObject")


@export("KeWaitForMultipleObjects", args="ulong, ptr, ulong, ulong, uchar, uchar, ptr, ptr")
def ke_wait_for_multiple_objects(
    m: Machine,
    count: int,
    array: int,
    kind: int,
    reason: int,
    mode: int,
    alertable: int,
    timeout: int,
    blocks: int,
) -> int:
    """More than THREAD_WAIT_OBJECTS (3) without wait blocks, or more than 64, is bugcheck 0x0C."""
    if count > (64 if blocks else 3):
        m.bugcheck(0x0C, 0, 0, 0, 0, reason=f"a wait for {count} objects")
    size = m.memory.pointer_size
    objects = tuple(m.memory.ptr(array + i * size) for i in range(count))
    scheduler = m.kernel.scheduler
    deadline = scheduler.due_time(timeout)
    return scheduler.wait(objects, wait_all=kind == 0, deadline=deadline, what="KeWaitForMultipleObjects")


@export("KeDelayExecutionThread", args="uchar, uchar, ptr")
def ke_delay_execution_thread(m: Machine, mode: int, alertable: int, interval: int) -> int:
    need_irql(m, APC_LEVEL, "KeDelayExecutionThread", "nf-wdm-kedelayexecutionthread")
    scheduler = m.kernel.scheduler
    deadline = scheduler.due_time(interval)
    return scheduler.wait((), wait_all=False, deadline=deadline, what="KeDelayExecutionThread")


@export("KeInitializeDpc", args="ptr, ptr, ptr")
def ke_initialize_dpc(m: Machine, dpc: int, routine: int, context: int) -> None:
    shape = layout("KDPC", m.memory.pointer_size)
    m.memory.write(dpc, bytes(shape.size))
    view = shape.at(m.memory, dpc)
    view["Type"] = 0x13
    view["Importance"] = 1
    view["DeferredRoutine"] = routine
    view["DeferredContext"] = context


@export("KeInitializeThreadedDpc", args="ptr, ptr, ptr", since=(5, 2))
def ke_initialize_threaded_dpc(m: Machine, dpc: int, routine: int, context: int) -> None:
    """May run at DISPATCH_LEVEL like an ordinary one (nf-wdm-keinitializethreadeddpc); here it always
    does."""
    ke_initialize_dpc(m, dpc, routine, context)
    m.memory.put_u8(dpc, 0x18)


@export("KeInsertQueueDpc", args="ptr, ptr, ptr")
def ke_insert_queue_dpc(m: Machine, dpc: int, argument1: int, argument2: int) -> int:
    queued = m.kernel.scheduler.queue_dpc(dpc, argument1, argument2)
    m.kernel.scheduler.run_dpcs()
    return int(queued)


@export("KeRemoveQueueDpc", args="ptr")
def ke_remove_queue_dpc(m: Machine, dpc: int) -> int:
    return int(m.kernel.scheduler.remove_dpc(dpc))


@export("KeFlushQueuedDpcs", args="")
def ke_flush_queued_dpcs(m: Machine) -> None:
    need_irql(m, 0, "KeFlushQueuedDpcs", "nf-wdm-keflushqueueddpcs")
    m.kernel.scheduler.run_dpcs()


@export("KeSetImportanceDpc", args="ptr, ulong")
def ke_set_importance_dpc(m: Machine, dpc: int, importance: int) -> None:
    m.memory.put_u8(dpc + 1, importance & 0xFF)


@export("KeSetTargetProcessorDpc", args="ptr, uchar")
def ke_set_target_processor_dpc(m: Machine, dpc: int, number: int) -> None:
    m.memory.put_u16(dpc + 2, 0x500 + (number & 0xFF))
