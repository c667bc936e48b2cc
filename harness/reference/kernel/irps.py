"""I/O request packets: made, sent down a device stack, completed up it again, freed.

Sources: nf-wdm-iofcompleterequest, nf-wdm-iofcalldriver, kernel/handling-irps, and bugcheck pages 0x35, 0x44,
0xC9, 0xC4 (0xC5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.reference.kernel.checks import DISPATCH_LEVEL, irql_name
from harness.reference.kernel.heap import SYSTEM_OWNED
from harness.reference.kernel.irp_buffers import copy_back, release_buffers
from harness.reference.kernel.layouts import layout
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.kernel.layouts import View
    from harness.reference.kernel.mdl import UserLock
    from harness.reference.kernel.objects import KernelObject
    from harness.reference.machine import Machine

__all__ = ["Irp", "IrpEngine"]

SL_PENDING_RETURNED: Final = 0x01
SL_INVOKE_ON_CANCEL: Final = 0x20
SL_INVOKE_ON_SUCCESS: Final = 0x40
SL_INVOKE_ON_ERROR: Final = 0x80

_TAG_IRP: Final = int.from_bytes(b"Irp ", "little")
_IO_TYPE_IRP: Final = 6


@dataclass(slots=True, eq=False)
class Irp:
    """The model's side of one IRP."""

    address: int
    stack_count: int
    #: Made by an IoBuild routine: the I/O manager frees it when it is completed.
    threaded: bool = False
    #: The driver whose IoAllocateIrp made it, for the leak check.
    driver: object = None
    #: The stack was unwound and the result handed over; nobody may touch it any more.
    finished: bool = False
    status: int = 0
    information: int = 0
    #: Copy-back of METHOD_BUFFERED: system buffer, where its bytes go, and for how many there is room.
    system_buffer: int = 0
    copy_to: int = 0
    copy_limit: int = 0
    lock: UserLock | None = None
    owned_buffers: list[int] = field(default_factory=list)


class IrpEngine:
    """Every IRP in flight on a machine."""

    def __init__(self, machine: Machine) -> None:
        self.m = machine
        pointer = machine.memory.pointer_size
        self.irp_layout = layout("IRP", pointer)
        self.stack_layout = layout("IO_STACK_LOCATION", pointer)
        self.device_layout = layout("DEVICE_OBJECT", pointer)
        self.driver_layout = layout("DRIVER_OBJECT", pointer)
        self.live: dict[int, Irp] = {}
        self._step = pointer

    # -- building ----------------------------------------------------------------------------------------

    def allocate(self, stack_count: int) -> Irp:
        """An initialised IRP with `stack_count` locations and none current (IoAllocateIrp)."""
        size = self.irp_layout.size + stack_count * self.stack_layout.size
        address = self.m.pool.alloc(size, _TAG_IRP, paged=False, zero=True, owner=SYSTEM_OWNED)
        self.initialise(address, size, stack_count)
        irp = Irp(address, stack_count)
        self.live[address] = irp
        return irp

    def initialise(self, address: int, size: int, stack_count: int) -> None:
        """IoInitializeIrp on zeroed memory."""
        view = self.irp_layout.at(self.m.memory, address)
        view["Type"] = _IO_TYPE_IRP
        view["Size"] = size
        view["StackCount"] = stack_count
        view["CurrentLocation"] = stack_count + 1
        thread_list = view.of("ThreadListEntry")
        self.m.memory.put_ptr(thread_list, thread_list)
        self.m.memory.put_ptr(thread_list + self._step, thread_list)
        view["CurrentStackLocation"] = address + self.irp_layout.size + stack_count * self.stack_layout.size

    def free(self, irp: Irp) -> None:
        """IoFreeIrp, with the buffers the I/O manager attached."""
        self.live.pop(irp.address, None)
        release_buffers(self.m, irp)
        self.m.pool.free(irp.address, _TAG_IRP)

    def view(self, irp: Irp) -> View:
        """The IRP in guest memory."""
        return self.irp_layout.at(self.m.memory, irp.address)

    def next_location(self, irp: Irp) -> View:
        """The stack location the next IoCallDriver will make current."""
        current = self.view(irp)["CurrentStackLocation"]
        return self.stack_layout.at(self.m.memory, current - self.stack_layout.size)

    # -- sending -----------------------------------------------------------------------------------------

    def dispatch_routine(self, device: KernelObject, major: int) -> int:
        """The address of the routine that the device's driver serves requests of a major function with."""
        driver = self.driver_layout.at(self.m.memory, device.body.driver.address)
        return self.m.memory.ptr(driver.of("MajorFunction") + major * self._step)

    def call_driver(self, device: KernelObject, address: int) -> int:
        """IofCallDriver: make the next location current and call the dispatch routine."""
        m = self.m
        view = self.irp_layout.at(m.memory, address)
        if view["Type"] != _IO_TYPE_IRP:
            m.bugcheck(0xC9, 0x03, address, 0, 0, reason="IoCallDriver got something that is no IRP")
        if m.cpu.irql > DISPATCH_LEVEL:
            m.bugcheck(0xC9, 0x10, m.cpu.irql, 0, 0, reason="IoCallDriver above DISPATCH_LEVEL")
        if view["CurrentLocation"] <= 1:
            m.bugcheck(
                0x35, address, 0, 0, 0, reason="the IRP has no stack location left for the next driver"
            )
        view["CurrentLocation"] = view["CurrentLocation"] - 1
        current = view["CurrentStackLocation"] - self.stack_layout.size
        view["CurrentStackLocation"] = current
        location = self.stack_layout.at(m.memory, current)
        location["DeviceObject"] = device.address
        major = location["MajorFunction"]
        routine = self.dispatch_routine(device, major)
        before = m.cpu.irql
        disabled = m.current.body.combined_apc_disable
        status = m.cpu.call(routine, device.address, address, any_irql=True) & 0xFFFFFFFF
        if m.cpu.irql != before:
            m.bugcheck(
                0xC9,
                0x05,
                device.address,
                before,
                m.cpu.irql,
                driver=device.body.driver.body.module,
                stack=(routine, *m.stacks.addresses()),
                reason=f"the dispatch routine for major function {major:#x} was called at "
                f"{irql_name(before)} "
                f"and returned at {irql_name(m.cpu.irql)}",
            )
        if m.current.body.combined_apc_disable != disabled:
            m.bugcheck(
                0xC4,
                0xC5,
                routine,
                m.current.body.combined_apc_disable,
                disabled,
                driver=device.body.driver.body.module,
                stack=(routine, *m.stacks.addresses()),
                reason="a dispatch routine changed the thread's APC disable count (critical region or mutex)",
            )
        return status

    # -- completing --------------------------------------------------------------------------------------

    def complete(self, address: int) -> None:
        """IofCompleteRequest: completion routines from the current location upwards, then the result."""
        m = self.m
        irp = self.live.get(address)
        if irp is None or irp.finished:
            m.bugcheck(0x44, address, 0, 0, 0, reason="the request was completed already")
        view = self.view(irp)
        if view["Type"] != _IO_TYPE_IRP or view["CurrentLocation"] > view["StackCount"] + 1:
            m.bugcheck(0x44, address, 0, 0, 0, reason="the request was completed already")
        status = view["Status"] & 0xFFFFFFFF
        if status in (NTSTATUS.PENDING, 0xFFFFFFFF):
            m.bugcheck(0xC9, 0x06, status, address, 0, reason="IoCompleteRequest with a pending status")
        if view["CancelRoutine"]:
            m.bugcheck(
                0xC9,
                0x07,
                view["CancelRoutine"],
                address,
                0,
                reason="completed while the cancel routine is set",
            )
        if m.cpu.irql > DISPATCH_LEVEL:
            m.bugcheck(0xC4, 0xE5, m.cpu.irql, 0, 0, reason="IoCompleteRequest above DISPATCH_LEVEL")
        self._unwind_stack(irp, view)

    def _unwind_stack(self, irp: Irp, view: View) -> None:
        m = self.m
        size = self.stack_layout.size
        while view["CurrentLocation"] <= view["StackCount"]:
            location = self.stack_layout.at(m.memory, view["CurrentStackLocation"])
            control = location["Control"]
            routine, context = location["CompletionRoutine"], location["Context"]
            view["PendingReturned"] = int(control & SL_PENDING_RETURNED != 0)
            view["CurrentLocation"] = view["CurrentLocation"] + 1
            view["CurrentStackLocation"] = view["CurrentStackLocation"] + size
            status = view["Status"] & 0xFFFFFFFF
            wanted = SL_INVOKE_ON_SUCCESS if status < 0x80000000 else SL_INVOKE_ON_ERROR
            invoke = control & wanted or (control & SL_INVOKE_ON_CANCEL and view["Cancel"])
            if routine and invoke:
                device = 0
                if view["CurrentLocation"] <= view["StackCount"]:
                    device = self.stack_layout.at(m.memory, view["CurrentStackLocation"])["DeviceObject"]
                irql = m.cpu.irql
                answer = m.cpu.call(routine, device, irp.address, context, any_irql=True) & 0xFFFFFFFF
                if m.cpu.irql != irql:
                    m.bugcheck(
                        0xC4, 0xFA, routine, irql, m.cpu.irql, reason="a completion routine changed the IRQL"
                    )
                if answer == NTSTATUS.MORE_PROCESSING_REQUIRED:
                    return
            elif view["PendingReturned"] and view["CurrentLocation"] <= view["StackCount"]:
                above = self.stack_layout.at(m.memory, view["CurrentStackLocation"])
                above["Control"] = above["Control"] | SL_PENDING_RETURNED
        self._deliver(irp, view)

    def _deliver(self, irp: Irp, view: View) -> None:
        """The stack is done: buffers back, status block, event."""
        m = self.m
        irp.status = view["Status"] & 0xFFFFFFFF
        irp.information = view["Information"]
        irp.finished = True
        copy_back(m, irp)
        if view["UserIosb"]:
            m.memory.put_u32(view["UserIosb"], irp.status)
            m.memory.put_ptr(view["UserIosb"] + self._step, irp.information)
        if view["UserEvent"]:
            m.kernel.scheduler.signal(view["UserEvent"])
        if irp.threaded:
            self.free(irp)
