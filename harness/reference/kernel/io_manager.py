"""The I/O manager's state: devices, file objects and opening a device by name.

Sources: kernel/controlling-device-access, kernel/device-object-types (FILE_DEVICE_SECURE_OPEN),
nf-wdm-iocreatedevice, nf-wdmsec-wdmlibiocreatedevicesecure, kernel/irp-mj-create.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from harness.reference.cm.security import SecurityDescriptor, SecurityError
from harness.reference.kernel.heap import SYSTEM_OWNED
from harness.reference.kernel.irps import IrpEngine
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.objects import GenericMapping, KernelObject
from harness.reference.kernel.security import (
    FILE_MAPPING,
    access_check,
    capture_descriptor,
    parse_sddl,
    token_of,
)
from harness.reference.kernel.synchronous import SynchronousRequests
from harness.reference.kernel.text import wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["Device", "DriverBody", "FileBody", "IoManager"]

DO_EXCLUSIVE: Final = 0x8
DO_DEVICE_INITIALIZING: Final = 0x80
FILE_DEVICE_SECURE_OPEN: Final = 0x100
IRP_MJ_CLOSE: Final = 2
IRP_MJ_CLEANUP: Final = 0x12
IRP_MJ_MAXIMUM_FUNCTION: Final = 0x1B
IO_TYPE_DEVICE: Final = 3
IO_TYPE_DRIVER: Final = 4
IO_TYPE_FILE: Final = 5

_TAG_DEVICE: Final = int.from_bytes(b"Devi", "little")
_TAG_DRIVER: Final = int.from_bytes(b"Driv", "little")
_TAG_FILE: Final = int.from_bytes(b"File", "little")


@dataclass(slots=True, eq=False)
class DriverBody:
    """The I/O manager's side of a DRIVER_OBJECT. `module` is what the loader mapped, None for the
    system's."""

    name: str
    service: str
    module: Any = None
    devices: list[KernelObject] = field(default_factory=list)
    #: Routines to call once when every boot driver is there: (routine, context).
    reinitialize: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Device:
    driver: KernelObject
    characteristics: int
    exclusive: bool
    security: SecurityDescriptor
    extension_size: int
    delete_pending: bool = False
    files: int = 0
    shutdown: bool = False
    links: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class FileBody:
    """An open file object on a device, or on the model's own file system when `path` is set."""

    device: KernelObject | None
    access: int
    name: str = ""
    cleaned_up: bool = False
    opened: bool = False
    path: str = ""
    position: int = 0
    delete_on_close: bool = False
    append: bool = False


class IoManager:
    """Devices and files of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.m = machine
        objects = machine.kernel.objects
        pointer = machine.memory.pointer_size
        self.driver_type = objects.define_type("Driver", GenericMapping(0x20000, 0x20000, 0x20000, 0xF0000))
        self.device_type = objects.define_type("Device", FILE_MAPPING)
        self.file_type = objects.define_type("File", FILE_MAPPING)
        self.driver_type.query_name = machine.kernel.namespace.full_name
        self.device_type.query_name = machine.kernel.namespace.full_name
        self.device_type.delete = self._free_device
        self.device_type.query_security = self._query_security
        self.device_type.set_security = self._set_security
        self.file_type.close = self._handle_closed
        self.file_type.delete = self._delete_file
        self.file_type.query_name = self._file_name
        self.driver_layout = layout("DRIVER_OBJECT", pointer)
        self.device_layout = layout("DEVICE_OBJECT", pointer)
        self.file_layout = layout("FILE_OBJECT", pointer)
        self.irps = IrpEngine(machine)
        self.synchronous = SynchronousRequests(machine, self.irps)
        self.default_security = parse_sddl("D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GRGW;;;WD)(A;;GR;;;RC)")

    # -- driver objects ----------------------------------------------------------------------------------

    def create_driver(self, name: str, service: str, module: Any = None) -> KernelObject:
        """A DRIVER_OBJECT named \\Driver\\`name`. Every dispatch entry is the I/O manager's refusal."""
        m = self.m
        memory = m.memory
        pointer = memory.pointer_size
        extension = layout("DRIVER_EXTENSION", pointer)
        raw = wide_encode(f"\\Driver\\{name}")
        key = wide_encode(name)
        size = self.driver_layout.size + extension.size
        address = m.pool.alloc(
            size + len(raw) + len(key) + 8, _TAG_DRIVER, paged=False, zero=True, owner=SYSTEM_OWNED
        )
        body = DriverBody(name, service, module)
        obj = m.kernel.objects.create(self.driver_type, body, address=address)
        obj.permanent = True
        view = self.driver_layout.at(memory, address)
        view["Type"] = IO_TYPE_DRIVER
        view["Size"] = self.driver_layout.size
        view["Flags"] = 0x12  # DRVO_LEGACY_DRIVER is set for drivers without AddDevice
        view["DriverExtension"] = address + self.driver_layout.size
        text = address + size
        memory.write(text, raw + b"\0\0" + key)
        memory.put_unicode_string(view.of("DriverName"), len(raw), len(raw), text)
        view["HardwareDatabase"] = 0
        refuse = m.exports.address_of("IopInvalidDeviceRequest")
        for index in range(IRP_MJ_MAXIMUM_FUNCTION + 1):
            memory.put_ptr(view.of("MajorFunction") + index * pointer, refuse)
        extra = extension.at(memory, view["DriverExtension"])
        extra["DriverObject"] = address
        memory.put_unicode_string(extra.of("ServiceKeyName"), len(key), len(key), text + len(raw) + 2)
        m.kernel.namespace.insert(f"\\Driver\\{name}", obj)
        return obj

    def free_driver(self, obj: KernelObject) -> None:
        self.m.kernel.namespace.remove(obj)
        self.m.kernel.objects.forget(obj)
        self.m.pool.free(obj.address, _TAG_DRIVER)

    # -- devices -----------------------------------------------------------------------------------------

    def create_device(
        self,
        driver: KernelObject,
        *,
        extension: int,
        name: str | None,
        kind: int,
        characteristics: int,
        exclusive: bool,
        security: SecurityDescriptor | None = None,
    ) -> KernelObject | int:
        """IoCreateDevice: a device object, or the status why not."""
        m = self.m
        size = self.device_layout.size
        rounded = (size + 15) & ~15
        address = m.pool.alloc(rounded + extension, _TAG_DEVICE, paged=False, zero=True, owner=SYSTEM_OWNED)
        if not address:
            return int(NTSTATUS.INSUFFICIENT_RESOURCES)
        body = Device(driver, characteristics, exclusive, security or self.default_security, extension)
        obj = m.kernel.objects.create(self.device_type, body, address=address)
        if name is not None:
            status = m.kernel.namespace.insert(name, obj)
            if status:
                m.kernel.objects.forget(obj)
                m.pool.free(address, _TAG_DEVICE)
                return status
        obj.permanent = True
        view = self.device_layout.at(m.memory, address)
        view["Type"] = IO_TYPE_DEVICE
        view["Size"] = size + extension
        view["DriverObject"] = driver.address
        view["Flags"] = DO_DEVICE_INITIALIZING | (DO_EXCLUSIVE if exclusive else 0) | (0x40 if name else 0)
        view["Characteristics"] = characteristics
        view["DeviceExtension"] = address + rounded if extension else 0
        view["DeviceType"] = kind
        view["StackSize"] = 1
        driver_view = self.driver_layout.at(m.memory, driver.address)
        view["NextDevice"] = driver_view["DeviceObject"]
        driver_view["DeviceObject"] = address
        driver.body.devices.insert(0, obj)
        return obj

    def delete_device(self, obj: KernelObject) -> None:
        """IoDeleteDevice: out of the driver's list and the namespace at once, freed with the last
        reference."""
        m = self.m
        body: Device = obj.body
        if body.delete_pending:
            m.bugcheck(
                0xC9, 0x0E, obj.address, 0, 0, reason="IoDeleteDevice for a device that is deleted already"
            )
        body.delete_pending = True
        driver_view = self.driver_layout.at(m.memory, body.driver.address)
        following = self.device_layout.at(m.memory, obj.address)["NextDevice"]
        if driver_view["DeviceObject"] == obj.address:
            driver_view["DeviceObject"] = following
        else:
            for other in body.driver.body.devices:
                other_view = self.device_layout.at(m.memory, other.address)
                if other_view["NextDevice"] == obj.address:
                    other_view["NextDevice"] = following
        body.driver.body.devices.remove(obj)
        m.kernel.namespace.remove(obj)
        obj.permanent = False
        m.kernel.objects.dereference(obj)

    def _query_security(
        self, obj: KernelObject, information: int, buffer: int, length: int, needed: int
    ) -> int:
        """ZwQuerySecurityObject on a device."""
        memory = self.m.memory
        raw = obj.body.security.select(information).encode()
        if needed:
            memory.put_u32(needed, len(raw))
        if length < len(raw):
            return NTSTATUS.BUFFER_TOO_SMALL
        memory.write(buffer, raw)
        return NTSTATUS.SUCCESS

    def _set_security(self, obj: KernelObject, information: int, descriptor: int) -> int:
        """ZwSetSecurityObject on a device: what opens of it are checked against from now on."""
        try:
            given = SecurityDescriptor.decode(capture_descriptor(self.m, descriptor))
        except SecurityError:
            return NTSTATUS.INVALID_SECURITY_DESCR
        obj.body.security = obj.body.security.merge(given, information)
        return NTSTATUS.SUCCESS

    def _free_device(self, obj: KernelObject) -> None:
        self.m.kernel.objects.forget(obj)
        self.m.pool.free(obj.address, _TAG_DEVICE)

    def device_at(self, address: int) -> KernelObject | None:
        obj = self.m.kernel.objects.at(address)
        return obj if obj is not None and obj.type is self.device_type else None

    def top_of_stack(self, obj: KernelObject) -> KernelObject:
        """The highest device attached above `obj`."""
        while True:
            above = self.device_at(self.device_layout.at(self.m.memory, obj.address)["AttachedDevice"])
            if above is None:
                return obj
            obj = above

    # -- files -------------------------------------------------------------------------------------------

    def open_device(
        self, obj: KernelObject, rest: str, access: int, *, options: int = 0, share: int = 7, mode: int = 1
    ) -> KernelObject | int:
        """Open `obj` (with `rest` of the name behind it) as IRP_MJ_CREATE sees it: a file object or a status.

        Security: the device's descriptor is checked for the device itself, and for names behind it when the
        device has FILE_DEVICE_SECURE_OPEN (kernel/controlling-device-namespace-access).
        """
        m = self.m
        body: Device = obj.body
        view = self.device_layout.at(m.memory, obj.address)
        if body.delete_pending:
            return NTSTATUS.NO_SUCH_DEVICE
        if view["Flags"] & DO_DEVICE_INITIALIZING:
            return NTSTATUS.NO_SUCH_DEVICE
        granted = FILE_MAPPING.apply(access)
        if mode and (not rest or body.characteristics & FILE_DEVICE_SECURE_OPEN):
            status, granted = access_check(body.security, token_of(m), granted, FILE_MAPPING)
            if status:
                return status
        if body.exclusive and body.files:
            return NTSTATUS.ACCESS_DENIED
        file = self._new_file(obj, rest, granted)
        target = self.top_of_stack(obj)
        status = self.synchronous.create(target, file, granted, options, share, mode)
        if status >= 0x80000000:
            file.body.cleaned_up = True
            m.kernel.objects.dereference(file)
            return status
        file.body.opened = True
        return file

    def _new_file(self, device: KernelObject, rest: str, granted: int) -> KernelObject:
        m = self.m
        raw = wide_encode(rest)
        size = self.file_layout.size
        address = m.pool.alloc(size + len(raw) + 2, _TAG_FILE, paged=False, zero=True, owner=SYSTEM_OWNED)
        file = m.kernel.objects.create(self.file_type, FileBody(device, granted, rest), address=address)
        view = self.file_layout.at(m.memory, address)
        view["Type"] = IO_TYPE_FILE
        view["Size"] = size
        view["DeviceObject"] = device.address
        view["Flags"] = 0x2  # FO_SYNCHRONOUS_IO
        view["ReadAccess"] = int(granted & 1 != 0)
        view["WriteAccess"] = int(granted & 6 != 0)
        if raw:
            m.memory.write(address + size, raw)
            m.memory.put_unicode_string(view.of("FileName"), len(raw), len(raw) + 2, address + size)
        device.body.files += 1
        device_view = self.device_layout.at(m.memory, device.address)
        device_view["ReferenceCount"] = device_view["ReferenceCount"] + 1
        m.kernel.objects.reference(device)
        return file

    def _handle_closed(self, file: KernelObject, _handle: Any) -> None:
        if file.handles == 0:
            self.cleanup(file)

    def cleanup(self, file: KernelObject) -> None:
        """IRP_MJ_CLEANUP: the last handle is gone."""
        body: FileBody = file.body
        if body.cleaned_up or body.device is None or not body.opened:
            return
        body.cleaned_up = True
        self.synchronous.simple(self.top_of_stack(body.device), file, IRP_MJ_CLEANUP)

    def _delete_file(self, file: KernelObject) -> None:
        m = self.m
        body: FileBody = file.body
        if body.device is None:
            m.kernel.files.closed(body)
            return
        if body.opened:
            file.references += 1  # the driver may look at the object during IRP_MJ_CLOSE
            self.synchronous.simple(self.top_of_stack(body.device), file, IRP_MJ_CLOSE)
            file.references -= 1
        device_view = self.device_layout.at(m.memory, body.device.address)
        device_view["ReferenceCount"] = device_view["ReferenceCount"] - 1
        body.device.body.files -= 1
        m.kernel.objects.forget(file)
        m.pool.free(file.address, _TAG_FILE)
        m.kernel.objects.dereference(body.device)

    def _file_name(self, file: KernelObject) -> str | None:
        body: FileBody = file.body
        if body.device is None:
            return m_volume_path(body.path)
        name = self.m.kernel.namespace.full_name(body.device)
        return None if name is None else name + body.name


def m_volume_path(path: str) -> str:
    """The object name of a DOS path: the volume device, then the path."""
    return "\\Device\\HarddiskVolume1" + path[2:]
