"""Requests that the I/O manager makes itself and waits for: create, read, write, device control, close.

Sources: kernel/handling-irps, kernel/irp-mj-create, nf-ntifs-ntdeviceiocontrolfile, and bugcheck page 0xC9
(0x226).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NoReturn

from harness.errors import GuestHung
from harness.reference.kernel.irp_buffers import Control, attach_control, attach_transfer
from harness.reference.kernel.irps import Irp, IrpEngine
from harness.reference.kernel.layouts import layout
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.kernel.layouts import View
    from harness.reference.kernel.objects import KernelObject
    from harness.reference.machine import Machine

__all__ = ["IoResult", "SynchronousRequests"]

_IRP_MJ_CREATE: Final = 0x00
_IRP_MJ_READ: Final = 0x03
_IRP_MJ_WRITE: Final = 0x04
_IRP_MJ_DEVICE_CONTROL: Final = 0x0E
_DISPOSITION_OPEN: Final = 1 << 24  # FILE_OPEN in the upper byte of Options
_FILE_ATTRIBUTE_NORMAL: Final = 0x80


@dataclass(frozen=True, slots=True)
class IoResult:
    """What the requester gets: NTSTATUS, IoStatus.Information, and the bytes written to its output buffer."""

    status: int
    information: int
    data: bytes = b""


class SynchronousRequests:
    """The I/O manager's own requests. `device` is always the top of its stack, `file` an open file object.

    Raises `GuestCrashed` for a driver that neither completes a request nor keeps it, `GuestHung` for one that
    keeps it for ever.
    """

    def __init__(self, machine: Machine, irps: IrpEngine) -> None:
        self._machine = machine
        self._irps = irps

    def create(
        self, device: KernelObject, file: KernelObject, access: int, options: int, share: int, mode: int
    ) -> int:
        """IRP_MJ_CREATE; returns its status. `mode` is KERNEL_MODE or USER_MODE."""
        m = self._machine
        pointer = m.memory.pointer_size
        irp, location = self._request(device, file, _IRP_MJ_CREATE, mode)
        with m.memory.scratch() as scratch:
            security = layout("IO_SECURITY_CONTEXT", pointer)
            state = layout("ACCESS_STATE", pointer)
            state_view = state.at(m.memory, scratch.alloc(state.size + 64))
            state_view["OriginalDesiredAccess"] = access
            state_view["PreviouslyGrantedAccess"] = access
            subject = layout("SECURITY_SUBJECT_CONTEXT", pointer)
            subject_view = subject.at(m.memory, state_view.of("SubjectSecurityContext"))
            subject_view["PrimaryToken"] = m.current.process.body.token_object.address
            context = security.at(m.memory, scratch.alloc(security.size))
            context["AccessState"] = state_view.address
            context["DesiredAccess"] = access
            context["FullCreateOptions"] = options | _DISPOSITION_OPEN
            at = location.of("Parameters")
            m.memory.put_ptr(at, context.address)
            m.memory.put_u32(at + pointer, options | _DISPOSITION_OPEN)
            m.memory.put_u16(at + 2 * pointer, _FILE_ATTRIBUTE_NORMAL)
            m.memory.put_u16(at + 2 * pointer + 2, share)
            return self._finish(irp, device).status

    def simple(self, device: KernelObject, file: KernelObject, major: int) -> int:
        """A request without parameters: cleanup, close, shutdown, flush."""
        irp, _location = self._request(device, file, major, 0)
        return self._finish(irp, device).status

    def read(self, device: KernelObject, file: KernelObject, buffer: int, length: int) -> IoResult:
        """IRP_MJ_READ of `length` bytes into a user buffer."""
        irp, location = self._request(device, file, _IRP_MJ_READ, 1)
        attach_transfer(self._machine, irp, location, self._flags(device), buffer, length, reads=True)
        return self._finish(irp, device)

    def write(self, device: KernelObject, file: KernelObject, buffer: int, length: int) -> IoResult:
        """IRP_MJ_WRITE of the `length` bytes in a user buffer."""
        irp, location = self._request(device, file, _IRP_MJ_WRITE, 1)
        attach_transfer(self._machine, irp, location, self._flags(device), buffer, length, reads=False)
        return self._finish(irp, device)

    def control(
        self, device: KernelObject, file: KernelObject, control: Control, *, mode: int = 1
    ) -> IoResult:
        """IRP_MJ_DEVICE_CONTROL with buffers by the method in its code."""
        irp, location = self._request(device, file, _IRP_MJ_DEVICE_CONTROL, mode)
        attach_control(self._machine, irp, location, control)
        return self._finish(irp, device)

    def _flags(self, device: KernelObject) -> int:
        return self._irps.device_layout.at(self._machine.memory, device.address)["Flags"]

    def _request(self, device: KernelObject, file: KernelObject, major: int, mode: int) -> tuple[Irp, View]:
        """A new IRP and the stack location that the driver will get."""
        m = self._machine
        count = self._irps.device_layout.at(m.memory, device.address)["StackSize"]
        irp = self._irps.allocate(max(count, 1))
        view = self._irps.view(irp)
        view["RequestorMode"] = mode
        view["Thread"] = m.current.address
        view["OriginalFileObject"] = file.address
        location = self._irps.next_location(irp)
        location["MajorFunction"] = major
        location["FileObject"] = file.address
        location["DeviceObject"] = device.address
        return irp, location

    def _finish(self, irp: Irp, device: KernelObject) -> IoResult:
        """Send and wait: what a synchronous requester does."""
        m = self._machine
        address = irp.address
        major = self._irps.next_location(irp)["MajorFunction"]
        m.kernel.objects.reference(device)
        try:
            status = self._irps.call_driver(device, address)
            if status == NTSTATUS.PENDING:
                m.kernel.scheduler.run_until(lambda: irp.finished, lambda: self._stuck(irp, device, major))
            elif not irp.finished:
                self._never_completed(irp, device, major, status)
            elif status != irp.status and major != _IRP_MJ_CREATE:
                m.kernel.debug.note(
                    f"{device.body.driver.body.name}: major function {major:#x} returned {status:#010x} "
                    f"but completed the request with {irp.status:#010x}"
                )
            return IoResult(irp.status, irp.information)
        finally:
            if address in self._irps.live and irp.finished:
                self._irps.free(irp)
            m.kernel.objects.dereference(device)

    def _never_completed(self, irp: Irp, device: KernelObject, major: int, status: int) -> NoReturn:
        routine = self._irps.dispatch_routine(device, major)
        self._machine.bugcheck(
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
        found = self._machine.describe_hang(
            f"the request with major function {major:#x} (IRP {irp.address:#x}) was left pending and nothing "
            "that could complete it is left to run (no work item, timer, DPC or thread)"
        )
        module = device.body.driver.body.module
        raise GuestHung(replace(found, driver=module.name if module is not None else ""))
