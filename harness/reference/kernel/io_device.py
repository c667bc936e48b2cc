"""Device objects, names, driver registration and the requests drivers send themselves.

Sources: nf-wdm-iocreatedevice, nf-wdmsec-wdmlibiocreatedevicesecure, nf-wdm-iocreatesymboliclink,
nf-wdm-ioattachdevicetodevicestack, nf-wdm-iogetdeviceobjectpointer, nf-wdm-ioregistershutdownnotification,
nf-wdm-iovalidatedeviceiocontrolaccess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.exports import export
from harness.reference.faults import MemoryExhausted
from harness.reference.kernel.checks import APC_LEVEL, INTERNAL, need_irql
from harness.reference.kernel.objects import KernelObject
from harness.reference.kernel.rtl_strings import string_text
from harness.reference.kernel.security import parse_sddl
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.kernel.layouts import View
    from harness.reference.machine import Machine

__all__ = ["device_or_bugcheck"]


def device_or_bugcheck(m: Machine, address: int, routine: str) -> KernelObject:
    """The device object at an address a driver passed; bugcheck 0xC9 (4) for anything else."""
    obj = m.kernel.io.device_at(address)
    if obj is None:
        m.bugcheck(0xC9, 0x04, address, 0, 0, reason=f"{routine} got something that is no device object")
    return obj


def _driver(m: Machine, address: int, routine: str) -> KernelObject:
    obj = m.objects.at(address)
    if obj is None or obj.type is not m.kernel.io.driver_type:
        m.bugcheck(0xC9, 0x04, address, 0, 0, reason=f"{routine} got something that is no driver object")
    return obj


def _view(m: Machine, device: int) -> View:
    return m.kernel.io.device_layout.at(m.memory, device)


@export("IopInvalidDeviceRequest", args="ptr, ptr", modules=INTERNAL)
def iop_invalid_device_request(m: Machine, device: int, irp: int) -> int:
    """What every entry of MajorFunction is until the driver sets it
    (kernel/writing-a-driverentry-routine)."""
    view = m.kernel.io.irps.irp_layout.at(m.memory, irp)
    view["Status"] = NTSTATUS.INVALID_DEVICE_REQUEST
    view["Information"] = 0
    m.kernel.io.irps.complete(irp)
    return NTSTATUS.INVALID_DEVICE_REQUEST


def _create(
    m: Machine,
    routine: str,
    driver: int,
    extension: int,
    name: int,
    kind: int,
    characteristics: int,
    exclusive: int,
    out: int,
    sddl: str | None = None,
) -> int:
    need_irql(m, APC_LEVEL, routine, f"nf-wdm-{routine.lower()}")
    owner = _driver(m, driver, routine)
    security = None
    if sddl is not None:
        try:
            security = parse_sddl(sddl)
        except ValueError:
            return NTSTATUS.INVALID_PARAMETER
    text = string_text(m, name) if name else None
    made = m.kernel.io.create_device(
        owner,
        extension=extension,
        name=text or None,
        kind=kind,
        characteristics=characteristics,
        exclusive=bool(exclusive & 0xFF),
        security=security,
    )
    if isinstance(made, int):
        return made
    m.memory.put_ptr(out, made.address)
    return NTSTATUS.SUCCESS


@export("IoCreateDevice", args="ptr, ulong, ptr, ulong, ulong, uchar, ptr")
def io_create_device(
    m: Machine,
    driver: int,
    extension: int,
    name: int,
    kind: int,
    characteristics: int,
    exclusive: int,
    out: int,
) -> int:
    return _create(m, "IoCreateDevice", driver, extension, name, kind, characteristics, exclusive, out)


@export("IoCreateDeviceSecure", args="ptr, ulong, ptr, ulong, ulong, uchar, ptr, ptr, ptr", since=(5, 2))
@export(
    "WdmlibIoCreateDeviceSecure", args="ptr, ulong, ptr, ulong, ulong, uchar, ptr, ptr, ptr", since=(10, 0)
)
def io_create_device_secure(
    m: Machine,
    driver: int,
    extension: int,
    name: int,
    kind: int,
    characteristics: int,
    exclusive: int,
    sddl: int,
    guid: int,
    out: int,
) -> int:
    """The default SDDL string counts: the model has no class GUID overrides in the registry."""
    text = string_text(m, sddl)
    return _create(
        m, "IoCreateDeviceSecure", driver, extension, name, kind, characteristics, exclusive, out, text
    )


@export("IoDeleteDevice", args="ptr")
def io_delete_device(m: Machine, device: int) -> None:
    need_irql(m, APC_LEVEL, "IoDeleteDevice", "nf-wdm-iodeletedevice")
    m.kernel.io.delete_device(device_or_bugcheck(m, device, "IoDeleteDevice"))


@export("IoCreateSymbolicLink", args="ptr, ptr")
@export("IoCreateUnprotectedSymbolicLink", args="ptr, ptr")
def io_create_symbolic_link(m: Machine, link: int, target: int) -> int:
    need_irql(m, 0, "IoCreateSymbolicLink", "nf-wdm-iocreatesymboliclink")
    made = m.kernel.namespace.create_link(string_text(m, link), string_text(m, target))
    if isinstance(made, int):
        return made
    owner = m.driver_at(m.caller())
    m.kernel.symbolic_links[made.address] = (made, owner)
    return NTSTATUS.SUCCESS


@export("IoDeleteSymbolicLink", args="ptr")
def io_delete_symbolic_link(m: Machine, link: int) -> int:
    need_irql(m, 0, "IoDeleteSymbolicLink", "nf-wdm-iodeletesymboliclink")
    found = m.kernel.namespace.find(string_text(m, link), follow_last=False)
    if isinstance(found, int):
        return found
    if found.object.type is not m.kernel.namespace.link_type or found.rest:
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    m.kernel.symbolic_links.pop(found.object.address, None)
    m.kernel.namespace.remove(found.object)
    found.object.permanent = False
    m.objects.dereference(found.object)
    return NTSTATUS.SUCCESS


@export("IoGetDeviceObjectPointer", args="ptr, ulong, ptr, ptr")
def io_get_device_object_pointer(m: Machine, name: int, access: int, file_out: int, device_out: int) -> int:
    need_irql(m, 0, "IoGetDeviceObjectPointer", "nf-wdm-iogetdeviceobjectpointer")
    found = m.kernel.namespace.find(string_text(m, name))
    if isinstance(found, int):
        return found
    io = m.kernel.io
    if found.object.type is not io.device_type:
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    file = io.open_device(found.object, found.rest, access, mode=0)
    if isinstance(file, int):
        return file
    m.memory.put_ptr(file_out, file.address)
    m.memory.put_ptr(device_out, io.top_of_stack(found.object).address)
    return NTSTATUS.SUCCESS


def _attach(m: Machine, source: int, target: int) -> int:
    io = m.kernel.io
    top = io.top_of_stack(device_or_bugcheck(m, target, "IoAttachDeviceToDeviceStack"))
    if top.body.delete_pending:
        return 0
    source_view, top_view = _view(m, source), _view(m, top.address)
    top_view["AttachedDevice"] = source
    source_view["StackSize"] = top_view["StackSize"] + 1
    source_view["AlignmentRequirement"] = top_view["AlignmentRequirement"]
    return top.address


@export("IoAttachDeviceToDeviceStack", args="ptr, ptr")
def io_attach_device_to_device_stack(m: Machine, source: int, target: int) -> int:
    return _attach(m, source, target)


@export("IoAttachDeviceToDeviceStackSafe", args="ptr, ptr, ptr")
def io_attach_device_to_device_stack_safe(m: Machine, source: int, target: int, out: int) -> int:
    lower = _attach(m, source, target)
    m.memory.put_ptr(out, lower)
    return NTSTATUS.SUCCESS if lower else NTSTATUS.NO_SUCH_DEVICE


@export("IoAttachDevice", args="ptr, ptr, ptr")
def io_attach_device(m: Machine, source: int, target: int, out: int) -> int:
    found = m.kernel.namespace.find(string_text(m, target))
    if isinstance(found, int):
        return found
    if found.object.type is not m.kernel.io.device_type:
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    m.memory.put_ptr(out, _attach(m, source, found.object.address))
    return NTSTATUS.SUCCESS


@export("IoDetachDevice", args="ptr")
def io_detach_device(m: Machine, target: int) -> None:
    view = _view(m, device_or_bugcheck(m, target, "IoDetachDevice").address)
    if not view["AttachedDevice"]:
        m.bugcheck(
            0xC9,
            0x202,
            m.cpu.current_pc(),
            0,
            target,
            reason="IoDetachDevice of a device nothing is attached to",
        )
    view["AttachedDevice"] = 0


@export("IoGetAttachedDevice", args="ptr")
def io_get_attached_device(m: Machine, device: int) -> int:
    return m.kernel.io.top_of_stack(device_or_bugcheck(m, device, "IoGetAttachedDevice")).address


@export("IoGetAttachedDeviceReference", args="ptr")
def io_get_attached_device_reference(m: Machine, device: int) -> int:
    top = m.kernel.io.top_of_stack(device_or_bugcheck(m, device, "IoGetAttachedDeviceReference"))
    m.objects.reference(top)
    return top.address


@export("IoGetRelatedDeviceObject", args="ptr")
def io_get_related_device_object(m: Machine, file: int) -> int:
    obj = m.objects.at(file)
    if obj is None or obj.type is not m.kernel.io.file_type or obj.body.device is None:
        return 0
    return m.kernel.io.top_of_stack(obj.body.device).address


@export("IoRegisterShutdownNotification", args="ptr")
@export("IoRegisterLastChanceShutdownNotification", args="ptr")
def io_register_shutdown_notification(m: Machine, device: int) -> int:
    device_or_bugcheck(m, device, "IoRegisterShutdownNotification").body.shutdown = True
    return NTSTATUS.SUCCESS


@export("IoUnregisterShutdownNotification", args="ptr")
def io_unregister_shutdown_notification(m: Machine, device: int) -> None:
    device_or_bugcheck(m, device, "IoUnregisterShutdownNotification").body.shutdown = False


@export("IoRegisterDriverReinitialization", args="ptr, ptr, ptr")
@export("IoRegisterBootDriverReinitialization", args="ptr, ptr, ptr")
def io_register_driver_reinitialization(m: Machine, driver: int, routine: int, context: int) -> None:
    owner = _driver(m, driver, "IoRegisterDriverReinitialization")
    owner.body.reinitialize.append((routine, context))


@export("IoAllocateDriverObjectExtension", args="ptr, ptr, ulong, ptr")
def io_allocate_driver_object_extension(m: Machine, driver: int, identifier: int, size: int, out: int) -> int:
    extensions = m.kernel.driver_extensions.setdefault(driver, {})
    if identifier in extensions:
        m.memory.put_ptr(out, 0)
        return NTSTATUS.OBJECT_NAME_COLLISION
    try:
        extensions[identifier] = m.objects.heap.alloc(max(size, 1))
    except MemoryExhausted:
        return NTSTATUS.INSUFFICIENT_RESOURCES
    m.memory.put_ptr(out, extensions[identifier])
    return NTSTATUS.SUCCESS


@export("IoGetDriverObjectExtension", args="ptr, ptr")
def io_get_driver_object_extension(m: Machine, driver: int, identifier: int) -> int:
    return m.kernel.driver_extensions.get(driver, {}).get(identifier, 0)


@export("IoValidateDeviceIoControlAccess", args="ptr, ulong", since=(5, 2))
def io_validate_device_io_control_access(m: Machine, irp: int, access: int) -> int:
    """FILE_READ_ACCESS 1, FILE_WRITE_ACCESS 2, against what the file object was opened with."""
    if access & ~3 or not access:
        return NTSTATUS.INVALID_PARAMETER
    engine = m.kernel.io.irps
    view = engine.irp_layout.at(m.memory, irp)
    location = engine.stack_layout.at(m.memory, view["CurrentStackLocation"])
    if not view["RequestorMode"]:
        return NTSTATUS.SUCCESS
    file = m.kernel.io.file_layout.at(m.memory, location["FileObject"])
    have = (1 if file["ReadAccess"] else 0) | (2 if file["WriteAccess"] else 0)
    return NTSTATUS.SUCCESS if access & ~have == 0 else NTSTATUS.ACCESS_DENIED


@export("IoCheckShareAccess", args="ulong, ulong, ptr, ptr, uchar")
def io_check_share_access(m: Machine, access: int, share: int, file: int, record: int, update: int) -> int:
    return NTSTATUS.SUCCESS


@export("IoSetDeviceToVerify", args="ptr, ptr")
def io_set_device_to_verify(m: Machine, thread: int, device: int) -> None:
    return None
