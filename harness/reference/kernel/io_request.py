"""IRPs in drivers' hands: completing, sending on, allocating; work items; requesters.

Sources: nf-wdm-iocompleterequest, nf-wdm-iofcalldriver, nf-wdm-ioallocateirp,
nf-wdm-iobuilddeviceiocontrolrequest, nf-wdm-ioallocateworkitem, nf-wdm-ioqueueworkitemex,
nf-ntifs-iogetrequestorprocess, nf-wdm-iosetcancelroutine, nf-wdm-exqueueworkitem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import DISPATCH_LEVEL, INTERNAL, need_irql
from harness.reference.kernel.io_device import device_or_bugcheck
from harness.reference.kernel.irp_buffers import Control, attach_control
from harness.reference.kernel.scheduler import Task
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["WorkItem"]

_BOTH: Final = ("ntoskrnl.exe", "hal.dll")
_TAG_WORK: Final = int.from_bytes(b"IoWI", "little")
_WORK_ITEM_SIZE: Final = 0x60


@dataclass(slots=True, eq=False)
class WorkItem:
    """An IO_WORKITEM: whose device or driver it belongs to, and whether it is queued."""

    address: int
    io_object: int
    driver: object
    queued: bool = False


# -- completing and sending --------------------------------------------------------------------------------


@export("IofCompleteRequest", args="ptr, uchar", cc="fastcall")
@export("IoCompleteRequest", args="ptr, uchar", arches=("x86",))
def iof_complete_request(m: Machine, irp: int, boost: int) -> None:
    m.kernel.io.irps.complete(irp)


@export("IofCallDriver", args="ptr, ptr", cc="fastcall")
@export("IoCallDriver", args="ptr, ptr", arches=("x86",))
def iof_call_driver(m: Machine, device: int, irp: int) -> int:
    target = device_or_bugcheck(m, device, "IoCallDriver")
    return m.kernel.io.irps.call_driver(target, irp)


@export("PoCallDriver", args="ptr, ptr")
def po_call_driver(m: Machine, device: int, irp: int) -> int:
    return iof_call_driver(m, device, irp)


@export("PoStartNextPowerIrp", args="ptr")
def po_start_next_power_irp(m: Machine, irp: int) -> None:
    return None


@export("IoAllocateIrp", args="uchar, uchar")
def io_allocate_irp(m: Machine, stack_size: int, quota: int) -> int:
    need_irql(m, DISPATCH_LEVEL, "IoAllocateIrp", "nf-wdm-ioallocateirp")
    irp = m.kernel.io.irps.allocate(max(stack_size & 0xFF, 1))
    irp.driver = m.driver_at(m.caller())
    return irp.address


@export("IoFreeIrp", args="ptr")
def io_free_irp(m: Machine, address: int) -> None:
    engine = m.kernel.io.irps
    irp = engine.live.get(address)
    if irp is None:
        m.bugcheck(0xC9, 0x01, address, 0, 0, reason="IoFreeIrp of something that is no IRP")
    engine.free(irp)


@export("IoReuseIrp", args="ptr, ulong")
def io_reuse_irp(m: Machine, address: int, status: int) -> None:
    engine = m.kernel.io.irps
    irp = engine.live.get(address)
    if irp is None:
        m.bugcheck(0xC9, 0x01, address, 0, 0, reason="IoReuseIrp of something that is no IRP")
    size = engine.irp_layout.size + irp.stack_count * engine.stack_layout.size
    m.memory.write(address, bytes(size))
    engine.initialise(address, size, irp.stack_count)
    irp.finished = False
    engine.view(irp)["Status"] = status


@export("IoInitializeIrp", args="ptr, ushort, uchar")
def io_initialize_irp(m: Machine, address: int, size: int, stack_size: int) -> None:
    m.memory.write(address, bytes(size))
    m.kernel.io.irps.initialise(address, size, stack_size & 0xFF)


@export("IoSizeOfIrp", args="uchar", modules=INTERNAL)
def io_size_of_irp(m: Machine, stack_size: int) -> int:
    engine = m.kernel.io.irps
    return engine.irp_layout.size + (stack_size & 0xFF) * engine.stack_layout.size


@export("IoBuildDeviceIoControlRequest", args="ulong, ptr, ptr, ulong, ptr, ulong, uchar, ptr, ptr")
def io_build_device_io_control_request(
    m: Machine,
    code: int,
    device: int,
    source: int,
    source_length: int,
    target: int,
    target_length: int,
    internal: int,
    event: int,
    iosb: int,
) -> int:
    need_irql(m, 0, "IoBuildDeviceIoControlRequest", "nf-wdm-iobuilddeviceiocontrolrequest")
    obj = device_or_bugcheck(m, device, "IoBuildDeviceIoControlRequest")
    engine = m.kernel.io.irps
    irp = engine.allocate(m.kernel.io.device_layout.at(m.memory, obj.address)["StackSize"])
    irp.threaded = True
    view = engine.view(irp)
    view["UserEvent"] = event
    view["UserIosb"] = iosb
    view["Thread"] = m.current.address
    location = engine.next_location(irp)
    location["MajorFunction"] = 0x0F if internal & 0xFF else 0x0E
    attach_control(m, irp, location, Control(code, source, source_length, target, target_length))
    return irp.address


@export("IoCancelIrp", args="ptr")
def io_cancel_irp(m: Machine, address: int) -> int:
    """Calls the cancel routine, which releases the cancel spin lock, at DISPATCH_LEVEL."""
    view = m.kernel.io.irps.irp_layout.at(m.memory, address)
    view["Cancel"] = 1
    routine = view["CancelRoutine"]
    if not routine:
        return 0
    view["CancelRoutine"] = 0
    old = m.cpu.irql
    view["CancelIrql"] = old
    m.cpu.irql = DISPATCH_LEVEL
    engine = m.kernel.io.irps
    location = engine.stack_layout.at(m.memory, view["CurrentStackLocation"])
    m.cpu.call(routine, location["DeviceObject"], address, any_irql=True)
    return 1


@export("IoSetCancelRoutine", args="ptr, ptr", modules=INTERNAL)
def io_set_cancel_routine(m: Machine, address: int, routine: int) -> int:
    view = m.kernel.io.irps.irp_layout.at(m.memory, address)
    old = view["CancelRoutine"]
    view["CancelRoutine"] = routine
    return old


@export("IoAcquireCancelSpinLock", args="ptr")
def io_acquire_cancel_spin_lock(m: Machine, old: int) -> None:
    m.memory.put_u8(old, m.cpu.irql)
    m.cpu.irql = DISPATCH_LEVEL


@export("IoReleaseCancelSpinLock", args="uchar")
def io_release_cancel_spin_lock(m: Machine, old: int) -> None:
    m.cpu.irql = old & 0xFF
    m.kernel.scheduler.run_dpcs()


@export("IoGetTopLevelIrp", args="")
def io_get_top_level_irp(m: Machine) -> int:
    return 0


@export("IoSetTopLevelIrp", args="ptr")
def io_set_top_level_irp(m: Machine, irp: int) -> None:
    return None


# -- who asks ----------------------------------------------------------------------------------------------


def _irp_thread(m: Machine, irp: int) -> int:
    return m.kernel.io.irps.irp_layout.at(m.memory, irp)["Thread"]


@export("IoGetRequestorProcess", args="ptr")
def io_get_requestor_process(m: Machine, irp: int) -> int:
    thread = m.kernel.processes.thread_at(_irp_thread(m, irp))
    return thread.process.address if thread is not None else 0


@export("IoGetRequestorProcessId", args="ptr")
def io_get_requestor_process_id(m: Machine, irp: int) -> int:
    thread = m.kernel.processes.thread_at(_irp_thread(m, irp))
    return thread.process.pid if thread is not None else 0


@export("IoGetRequestorSessionId", args="ptr, ptr")
def io_get_requestor_session_id(m: Machine, irp: int, out: int) -> int:
    m.memory.put_u32(out, 0)
    return NTSTATUS.SUCCESS


@export("IoGetCurrentProcess", args="")
@export("PsGetCurrentProcess", args="")
def io_get_current_process(m: Machine) -> int:
    return m.current.process.address


@export("IoThreadToProcess", args="ptr")
@export("PsGetThreadProcess", args="ptr", since=(5, 2))
def io_thread_to_process(m: Machine, thread: int) -> int:
    found = m.kernel.processes.thread_at(thread)
    return found.process.address if found is not None else 0


@export("IoGetInitialStack", args="")
def io_get_initial_stack(m: Machine) -> int:
    return m.current.stack.high


@export("IoGetStackLimits", args="ptr, ptr")
def io_get_stack_limits(m: Machine, low: int, high: int) -> None:
    m.memory.put_ptr(low, m.current.stack.low)
    m.memory.put_ptr(high, m.current.stack.high)


@export("IoGetRemainingStackSize", args="", modules=INTERNAL)
def io_get_remaining_stack_size(m: Machine) -> int:
    return m.cpu.stack_pointer - m.current.stack.low


# -- work items --------------------------------------------------------------------------------------------


@export("IoAllocateWorkItem", args="ptr")
def io_allocate_work_item(m: Machine, io_object: int) -> int:
    need_irql(m, DISPATCH_LEVEL, "IoAllocateWorkItem", "nf-wdm-ioallocateworkitem")
    address = m.pool.alloc(_WORK_ITEM_SIZE, _TAG_WORK, zero=True)
    if address:
        m.kernel.work_items[address] = WorkItem(address, io_object, m.driver_at(m.caller()))
    return address


def _item(m: Machine, address: int, routine: str) -> WorkItem:
    item = m.kernel.work_items.get(address)
    if item is None:
        m.bugcheck(0xC4, 0xE1, address, 0, 0, reason=f"{routine} got something that is no work item")
    return item


@export("IoFreeWorkItem", args="ptr")
def io_free_work_item(m: Machine, address: int) -> None:
    item = _item(m, address, "IoFreeWorkItem")
    if item.queued:
        m.bugcheck(0xC4, 0xE1, address, 0, 0, reason="IoFreeWorkItem of a work item that is still queued")
    del m.kernel.work_items[address]
    m.pool.free(address, _TAG_WORK)


@export("IoSizeofWorkItem", args="", since=(6, 0))
def io_sizeof_work_item(m: Machine) -> int:
    return _WORK_ITEM_SIZE


@export("IoInitializeWorkItem", args="ptr, ptr", since=(6, 0))
def io_initialize_work_item(m: Machine, io_object: int, address: int) -> None:
    m.kernel.work_items[address] = WorkItem(address, io_object, m.driver_at(m.caller()))


@export("IoUninitializeWorkItem", args="ptr", since=(6, 0))
def io_uninitialize_work_item(m: Machine, address: int) -> None:
    m.kernel.work_items.pop(address, None)


def _queue(m: Machine, address: int, routine: int, args: tuple[int, ...], name: str) -> None:
    item = _item(m, address, name)
    if item.queued:
        m.bugcheck(0xC4, 0xE1, address, 0, 0, reason=f"{name}: the work item is queued already")
    item.queued = True
    obj = m.objects.at(item.io_object)
    if obj is not None:
        m.objects.reference(obj)
    task = Task(m.kernel.worker_thread(), routine, args, "a work item routine", item.driver, on_worker=True)

    def over(_status: int) -> None:
        m.kernel.return_worker(task.thread)
        if obj is not None:
            m.objects.dereference(obj)

    task.ended = over
    task.started = lambda: setattr(item, "queued", False)
    m.kernel.scheduler.add(task)


@export("IoQueueWorkItem", args="ptr, ptr, ulong, ptr")
def io_queue_work_item(m: Machine, address: int, routine: int, queue: int, context: int) -> None:
    item = _item(m, address, "IoQueueWorkItem")
    _queue(m, address, routine, (item.io_object, context), "IoQueueWorkItem")


@export("IoQueueWorkItemEx", args="ptr, ptr, ulong, ptr", since=(6, 0))
def io_queue_work_item_ex(m: Machine, address: int, routine: int, queue: int, context: int) -> None:
    item = _item(m, address, "IoQueueWorkItemEx")
    _queue(m, address, routine, (item.io_object, context, address), "IoQueueWorkItemEx")


@export("ExQueueWorkItem", args="ptr, ulong")
def ex_queue_work_item(m: Machine, item: int, queue: int) -> None:
    """WORK_QUEUE_ITEM: LIST_ENTRY, WorkerRoutine, Parameter."""
    size = m.memory.pointer_size
    routine, parameter = m.memory.ptr(item + 2 * size), m.memory.ptr(item + 3 * size)
    driver = m.driver_at(routine)
    task = Task(
        m.kernel.worker_thread(), routine, (parameter,), "a work item routine", driver, on_worker=True
    )
    task.ended = lambda _status: m.kernel.return_worker(task.thread)
    m.kernel.scheduler.add(task)
