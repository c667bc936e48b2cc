"""I/O request packets: building, sending, completing, and taking the result back to the requester.

Sources: kernel/methods-for-accessing-data-buffers (buffered, direct, neither), nf-wdm-iofcompleterequest,
nf-wdm-iofcalldriver, kernel/handling-irps, and bugcheck pages 0x35, 0x44, 0xC9, 0xC4 (0xC5).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NoReturn

from harness.errors import GuestHung
from harness.reference.kernel.checks import DISPATCH_LEVEL, irql_name
from harness.reference.kernel.heap import SYSTEM_OWNED
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.mdl import UserLock, build_user_mdl, release_user_mdl
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.kernel.layouts import View
    from harness.reference.kernel.objects import KernelObject
    from harness.reference.machine import Machine

__all__ = ["IoResult", "Irp", "IrpEngine"]

IRP_MJ_CREATE: Final = 0x00
IRP_MJ_READ: Final = 0x03
IRP_MJ_WRITE: Final = 0x04
IRP_MJ_DEVICE_CONTROL: Final = 0x0E
IRP_MJ_INTERNAL_DEVICE_CONTROL: Final = 0x0F

SL_PENDING_RETURNED: Final = 0x01
SL_INVOKE_ON_CANCEL: Final = 0x20
SL_INVOKE_ON_SUCCESS: Final = 0x40
SL_INVOKE_ON_ERROR: Final = 0x80

_DO_BUFFERED_IO: Final = 0x4
_DO_DIRECT_IO: Final = 0x10
_TAG_IRP: Final = int.from_bytes(b"Irp ", "little")
_TAG_BUFFER: Final = int.from_bytes(b"IoSB", "little")
_IO_TYPE_IRP: Final = 6


@dataclass(frozen=True, slots=True)
class IoResult:
    """What the requester gets: NTSTATUS, IoStatus.Information, and the bytes written to its output buffer."""

    status: int
    information: int
    data: bytes = b""


@dataclass(slots=True, eq=False)
class Irp:
    """The model's side of one IRP."""

    address: int
    stack_count: int
    #: The driver that made it with IoAllocateIrp, None for the I/O manager's.
    allocated_by: object = None
    #: The driver whose IoAllocateIrp made it, for the leak check.
    driver: object = None
    completed: bool = False
    #: The stack was unwound and the result handed over; nobody may touch it any more.
    finished: bool = False
    status: int = 0
    information: int = 0
    #: Copy-back of METHOD_BUFFERED: system buffer and where its bytes go.
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
        self._parameters = self.stack_layout.offset("Parameters")
        self._step = pointer

    # -- building ----------------------------------------------------------------------------------------

    def allocate(self, stack_count: int, owner: object = None) -> Irp:
        """An initialised IRP with `stack_count` locations and none current (IoAllocateIrp)."""
        size = self.irp_layout.size + stack_count * self.stack_layout.size
        address = self.m.pool.alloc(size, _TAG_IRP, paged=False, zero=True, owner=SYSTEM_OWNED)
        self.initialise(address, size, stack_count)
        irp = Irp(address, stack_count, owner)
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
        self.live.pop(irp.address, None)
        for buffer in irp.owned_buffers:
            self.m.pool.free(buffer, _TAG_BUFFER)
        irp.owned_buffers.clear()
        if irp.lock is not None:
            release_user_mdl(self.m, irp.lock)
            irp.lock = None
        self.m.pool.free(irp.address, _TAG_IRP)

    def view(self, irp: Irp) -> View:
        return self.irp_layout.at(self.m.memory, irp.address)

    def next_location(self, irp: Irp) -> View:
        """The stack location the next IoCallDriver will make current."""
        current = self.view(irp)["CurrentStackLocation"]
        return self.stack_layout.at(self.m.memory, current - self.stack_layout.size)

    def _request(
        self, device: KernelObject, file: KernelObject, major: int, mode: int
    ) -> tuple[Irp, View, View]:
        count = self.device_layout.at(self.m.memory, device.address)["StackSize"]
        irp = self.allocate(max(count, 1))
        view = self.view(irp)
        view["RequestorMode"] = mode
        view["Thread"] = self.m.current.address
        view["OriginalFileObject"] = file.address
        location = self.next_location(irp)
        location["MajorFunction"] = major
        location["FileObject"] = file.address
        location["DeviceObject"] = device.address
        return irp, view, location

    def _put_parameters(self, location: View, *values: int) -> None:
        """Write Parameters.Others: pointer-aligned members in order."""
        for index, value in enumerate(values):
            self.m.memory.put_ptr(location.address + self._parameters + index * self._step, value)

    # -- the requests the model itself makes -----------------------------------------------------------------

    def create(
        self, device: KernelObject, file: KernelObject, access: int, options: int, share: int, mode: int
    ) -> int:
        """IRP_MJ_CREATE; returns its status."""
        m = self.m
        irp, _view, location = self._request(device, file, IRP_MJ_CREATE, mode)
        with m.memory.scratch() as scratch:
            security = layout("IO_SECURITY_CONTEXT", m.memory.pointer_size)
            state = layout("ACCESS_STATE", m.memory.pointer_size)
            state_view = state.at(m.memory, scratch.alloc(state.size + 64))
            state_view["OriginalDesiredAccess"] = access
            state_view["PreviouslyGrantedAccess"] = access
            subject = layout("SECURITY_SUBJECT_CONTEXT", m.memory.pointer_size)
            subject_view = subject.at(m.memory, state_view.of("SubjectSecurityContext"))
            subject_view["PrimaryToken"] = m.current.process.body.token_object.address
            context = security.at(m.memory, scratch.alloc(security.size))
            context["AccessState"] = state_view.address
            context["DesiredAccess"] = access
            context["FullCreateOptions"] = options | 1 << 24  # disposition FILE_OPEN
            at = location.address + self._parameters
            m.memory.put_ptr(at, context.address)
            m.memory.put_u32(at + self._step, options | 1 << 24)
            m.memory.put_u16(at + 2 * self._step, 0x80)
            m.memory.put_u16(at + 2 * self._step + 2, share)
            return self._finish(irp, device).status

    def simple(self, device: KernelObject, file: KernelObject, major: int) -> int:
        """A request without parameters: cleanup, close, shutdown, flush."""
        irp, _view, _location = self._request(device, file, major, 0)
        return self._finish(irp, device).status

    def transfer(
        self, device: KernelObject, file: KernelObject, major: int, buffer: int, length: int
    ) -> IoResult:
        """IRP_MJ_READ or IRP_MJ_WRITE of a user buffer, by the device's buffering flags."""
        irp, view, location = self._request(device, file, major, 1)
        flags = self.device_layout.at(self.m.memory, device.address)["Flags"]
        writes = major == IRP_MJ_READ  # the driver writes what is read
        view["UserBuffer"] = buffer
        if flags & _DO_BUFFERED_IO:
            self._system_buffer(irp, view, length, b"" if writes else self.m.memory.read(buffer, length))
            if writes:
                irp.copy_to, irp.copy_limit = buffer, length
        elif flags & _DO_DIRECT_IO and length:
            irp.lock = build_user_mdl(self.m, buffer, length, write=writes)
            view["MdlAddress"] = irp.lock.mdl
        at = location.address + self._parameters
        self.m.memory.put_u32(at, length)
        self.m.memory.put_u64(at + 2 * self._step, 0)
        return self._finish(irp, device)

    def control(
        self,
        device: KernelObject,
        file: KernelObject,
        code: int,
        source: int,
        source_length: int,
        target: int,
        target_length: int,
        *,
        mode: int = 1,
        internal: bool = False,
    ) -> IoResult:
        """IRP_MJ_DEVICE_CONTROL with buffers by the method in `code`."""
        major = IRP_MJ_INTERNAL_DEVICE_CONTROL if internal else IRP_MJ_DEVICE_CONTROL
        irp, view, location = self._request(device, file, major, mode)
        self.fill_control(irp, view, location, code, source, source_length, target, target_length)
        return self._finish(irp, device)

    def fill_control(
        self,
        irp: Irp,
        view: View,
        location: View,
        code: int,
        source: int,
        source_length: int,
        target: int,
        target_length: int,
    ) -> None:
        """Buffers and parameters of a device control request."""
        m = self.m
        method = code & 3
        type3 = 0
        if method == 0:
            raw = m.memory.read(source, source_length) if source_length else b""
            self._system_buffer(irp, view, max(source_length, target_length), raw)
            view["UserBuffer"] = target
            irp.copy_to, irp.copy_limit = target, target_length
        elif method == 3:
            type3 = source
            view["UserBuffer"] = target
        else:
            raw = m.memory.read(source, source_length) if source_length else b""
            self._system_buffer(irp, view, source_length, raw)
            if target_length:
                irp.lock = build_user_mdl(m, target, target_length, write=method == 2)
                view["MdlAddress"] = irp.lock.mdl
        at = location.address + self._parameters
        m.memory.put_u32(at, target_length)
        m.memory.put_u32(at + self._step, source_length)
        m.memory.put_u32(at + 2 * self._step, code)
        m.memory.put_ptr(at + 3 * self._step, type3)

    def _system_buffer(self, irp: Irp, view: View, size: int, raw: bytes) -> None:
        if not size:
            return
        buffer = self.m.pool.alloc(size, _TAG_BUFFER, paged=False, zero=True, owner=SYSTEM_OWNED)
        if raw:
            self.m.memory.write(buffer, raw)
        irp.owned_buffers.append(buffer)
        irp.system_buffer = buffer
        view["SystemBuffer"] = buffer

    # -- sending -----------------------------------------------------------------------------------------

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
        driver = self.driver_layout.at(m.memory, device.body.driver.address)
        major = location["MajorFunction"]
        routine = m.memory.ptr(driver.of("MajorFunction") + major * self._step)
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

    def _finish(self, irp: Irp, device: KernelObject) -> IoResult:
        """Send and wait: what a synchronous requester does."""
        m = self.m
        address = irp.address
        major = self.next_location(irp)["MajorFunction"]
        m.kernel.objects.reference(device)
        try:
            status = self.call_driver(device, address)
            if status == NTSTATUS.PENDING:
                m.kernel.scheduler.run_until(lambda: irp.finished, lambda: self._stuck(irp, device, major))
            elif not irp.finished:
                self._never_completed(irp, device, major, status)
            elif status != irp.status and major != IRP_MJ_CREATE:
                m.kernel.debug.note(
                    f"{device.body.driver.body.name}: major function {major:#x} returned {status:#010x} "
                    f"but completed the request with {irp.status:#010x}"
                )
            return IoResult(irp.status, irp.information)
        finally:
            if address in self.live and irp.finished:
                self.free(irp)
            m.kernel.objects.dereference(device)

    def _never_completed(self, irp: Irp, device: KernelObject, major: int, status: int) -> None:
        m = self.m
        table = self.driver_layout.at(m.memory, device.body.driver.address).of("MajorFunction")
        routine = m.memory.ptr(table + major * self._step)
        m.bugcheck(
            0xC9,
            0x226,
            routine,
            irp.address,
            status,
            driver=device.body.driver.body.module,
            stack=(routine,),
            reason=f"the dispatch routine for major function {major:#x} returned {status:#010x} without "
            "completing the request, passing it down or returning STATUS_PENDING",
        )

    def _stuck(self, irp: Irp, device: KernelObject, major: int) -> NoReturn:
        found = self.m.describe_hang(
            f"the request with major function {major:#x} (IRP {irp.address:#x}) was left pending and nothing "
            "that could complete it is left to run (no work item, timer, DPC or thread)"
        )
        module = device.body.driver.body.module
        raise GuestHung(replace(found, driver=module.name if module is not None else ""))

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
        irp.completed = irp.finished = True
        if irp.copy_to and irp.status & 0xC0000000 != 0xC0000000 and irp.information:
            # The I/O manager trusts Information: more than the system buffer holds is read beyond its end.
            if irp.information > irp.copy_limit:
                m.kernel.debug.note(
                    f"IoStatus.Information is {irp.information}, the output buffer has {irp.copy_limit} bytes"
                )
            size = min(irp.information, irp.copy_limit)
            m.memory.write(irp.copy_to, m.memory.read(irp.system_buffer, size))
        if irp.lock is not None:
            release_user_mdl(m, irp.lock)
            irp.lock = None
        if view["UserIosb"]:
            m.memory.put_u32(view["UserIosb"], irp.status)
            m.memory.put_ptr(view["UserIosb"] + self._step, irp.information)
        if view["UserEvent"]:
            m.kernel.scheduler.signal(view["UserEvent"])
        if irp.allocated_by is not None:  # a threaded IRP of IoBuild*: the I/O manager frees it
            self.free(irp)
