"""The filter manager, as far as registry filters that are minifilters besides need it to start.

Registrations and communication ports are accepted, work items run, filters are unloaded; no file operation is
ever filtered and no program ever connects to a port. The debug output says so. Sources:
nf-fltkernel-fltregisterfilter, ns-fltkernel-_flt_registration,
ifs/when-the-filterunloadcallback-routine-is-called, nf-fltkernel-fltcreatecommunicationport,
nf-fltkernel-fltsendmessage, nf-fltkernel-fltqueuegenericworkitem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import APC_LEVEL, PASSIVE_LEVEL, need_irql
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.rtl_strings import string_text
from harness.reference.kernel.scheduler import Task
from harness.reference.kernel.security import parse_sddl
from harness.reference.kernel.text import ansi_decode, read_ansi_z
from harness.reference.kernel.zw_file import zw_create_file
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.modules import Driver

__all__ = ["MiniFilter", "unload_calls"]

_FLT: Final = ("fltmgr.sys",)
_TAG_SECURITY: Final = int.from_bytes(b"FMsd", "little")
_TAG_WORK: Final = int.from_bytes(b"FMgw", "little")
_WORK_ITEM_SIZE: Final = 0x60
_PORT_DISCONNECTED: Final = 0xC0000037
#: FLT_REGISTRATION: the high byte of every FLT_REGISTRATION_VERSION, and its Flags.
_MAJOR_VERSION: Final = 2
_NO_SERVICE_STOP: Final = 1
_UNLOAD_MANDATORY: Final = 1


@dataclass(frozen=True, slots=True)
class MiniFilter:
    """One registration. `unload` is its FilterUnloadCallback, 0 for none."""

    driver: Driver | None
    unload: int
    flags: int


def unload_calls(m: Machine, driver: Driver) -> list[tuple[int, int]] | None:
    """What the filter manager calls when `driver`'s service stops: routines, each with its argument.

    None when a filter doesn't let services be stopped. What the routines return is of no account, because
    this kind of unload is mandatory.
    """
    mine = [each for each in m.kernel.minifilters.values() if each.driver is driver and each.unload]
    if any(each.flags & _NO_SERVICE_STOP for each in mine):
        m.kernel.debug.note(
            f"{driver.name} registered a minifilter with FLTFL_REGISTRATION_DO_NOT_SUPPORT_SERVICE_STOP: its "
            "service can't be stopped"
        )
        return None
    return [(each.unload, _UNLOAD_MANDATORY) for each in mine]


def _is_filter(m: Machine, handle: int, routine: str) -> None:
    if handle not in m.kernel.minifilters:
        m.bugcheck(0xC4, 0xE1, handle, 0, 0, reason=f"{routine} got something that is no filter")


@export("FltRegisterFilter", args="ptr, ptr, ptr", modules=_FLT)
def flt_register_filter(m: Machine, driver: int, registration: int, out: int) -> int:
    need_irql(m, PASSIVE_LEVEL, "FltRegisterFilter", "nf-fltkernel-fltregisterfilter")
    given = layout("FLT_REGISTRATION", m.memory.pointer_size).at(m.memory, registration)
    if given["Version"] >> 8 != _MAJOR_VERSION:
        return NTSTATUS.INVALID_PARAMETER
    handle = m.objects.heap.alloc(64)
    m.kernel.minifilters[handle] = MiniFilter(
        m.calling_driver(), given["FilterUnloadCallback"], given["Flags"]
    )
    m.memory.put_ptr(out, handle)
    m.kernel.debug.note("FltRegisterFilter was accepted; the model filters no file operations")
    return NTSTATUS.SUCCESS


@export("FltStartFiltering", args="ptr", modules=_FLT)
def flt_start_filtering(m: Machine, handle: int) -> int:
    return NTSTATUS.SUCCESS if handle in m.kernel.minifilters else NTSTATUS.INVALID_PARAMETER


@export("FltUnregisterFilter", args="ptr", modules=_FLT)
def flt_unregister_filter(m: Machine, handle: int) -> None:
    _is_filter(m, handle, "FltUnregisterFilter")
    del m.kernel.minifilters[handle]


@export("FltObjectReference", args="ptr", modules=_FLT)
def flt_object_reference(m: Machine, handle: int) -> int:
    _is_filter(m, handle, "FltObjectReference")
    return NTSTATUS.SUCCESS


@export("FltObjectDereference", args="ptr", modules=_FLT)
def flt_object_dereference(m: Machine, handle: int) -> None:
    _is_filter(m, handle, "FltObjectDereference")


@export("FltGetRoutineAddress", args="ptr", modules=_FLT)
def flt_get_routine_address(m: Machine, name: int) -> int:
    """A routine of the filter manager by its ANSI name; NULL for what it lacks."""
    text = ansi_decode(read_ansi_z(m.memory, name))
    found = m.exports.find("fltmgr.sys", text)
    if found is None:
        m.kernel.note_unresolved(text)
        return 0
    return m.exports.address_of(text)


# -- communication ports -----------------------------------------------------------------------------------


@export("FltBuildDefaultSecurityDescriptor", args="ptr, ulong", modules=_FLT)
def flt_build_default_security_descriptor(m: Machine, out: int, access: int) -> int:
    """`access` for the system and for administrators."""
    raw = parse_sddl(f"O:BAG:SYD:(A;;{access:#x};;;SY)(A;;{access:#x};;;BA)").encode()
    address = m.pool.alloc(len(raw), _TAG_SECURITY, paged=True)
    m.memory.write(address, raw)
    m.memory.put_ptr(out, address)
    return NTSTATUS.SUCCESS


@export("FltFreeSecurityDescriptor", args="ptr", modules=_FLT)
def flt_free_security_descriptor(m: Machine, descriptor: int) -> None:
    m.pool.free(descriptor, _TAG_SECURITY)


@export("FltCreateCommunicationPort", args="ptr, ptr, ptr, ptr, ptr, ptr, ptr, long", modules=_FLT)
def flt_create_communication_port(
    m: Machine,
    filter_: int,
    out: int,
    attributes: int,
    cookie: int,
    connect: int,
    disconnect: int,
    message: int,
    limit: int,
) -> int:
    need_irql(m, PASSIVE_LEVEL, "FltCreateCommunicationPort", "nf-fltkernel-fltcreatecommunicationport")
    _is_filter(m, filter_, "FltCreateCommunicationPort")
    m.memory.put_ptr(out, 0)
    view = layout("OBJECT_ATTRIBUTES", m.memory.pointer_size).at(m.memory, attributes)
    if not view["ObjectName"] or not connect:
        return NTSTATUS.INVALID_PARAMETER
    port = m.objects.create(m.objects.types["FilterConnectionPort"], m.calling_driver())
    name = string_text(m, view["ObjectName"])
    status = m.kernel.namespace.insert(name, port)
    if status:
        m.objects.dereference(port)
        return status
    m.memory.put_ptr(out, port.address)
    m.kernel.debug.note(f"communication port {name}: no program of this guest connects to it")
    return NTSTATUS.SUCCESS


@export("FltCloseCommunicationPort", args="ptr", modules=_FLT)
def flt_close_communication_port(m: Machine, address: int) -> None:
    port = m.objects.at(address)
    if port is None or port.type.name != "FilterConnectionPort":
        m.bugcheck(0xC4, 0xE1, address, 0, 0, reason="FltCloseCommunicationPort of something that is no port")
    m.kernel.namespace.remove(port)
    m.objects.dereference(port)


@export("FltCloseClientPort", args="ptr, ptr", modules=_FLT)
def flt_close_client_port(m: Machine, filter_: int, port: int) -> None:
    m.memory.put_ptr(port, 0)


@export("FltSendMessage", args="ptr, ptr, ptr, ulong, ptr, ptr, ptr", modules=_FLT)
def flt_send_message(
    m: Machine, filter_: int, port: int, buffer: int, size: int, reply: int, reply_size: int, timeout: int
) -> int:
    """Nobody is connected."""
    need_irql(m, APC_LEVEL, "FltSendMessage", "nf-fltkernel-fltsendmessage")
    return _PORT_DISCONNECTED


# -- what a minifilter may use outside of file operations --------------------------------------------------


@export("FltGetRequestorProcess", args="ptr", modules=_FLT)
def flt_get_requestor_process(m: Machine, data: int) -> int:
    return m.current.process.address


@export("FltGetRequestorProcessId", args="ptr", modules=_FLT)
def flt_get_requestor_process_id(m: Machine, data: int) -> int:
    return m.current.process.pid


@export(
    "FltCreateFile",
    args="ptr, ptr, ptr, ulong, ptr, ptr, ptr, ulong, ulong, ulong, ulong, ptr, ulong, ulong",
    modules=_FLT,
)
def flt_create_file(m: Machine, filter_: int, instance: int, out: int, *rest: int) -> int:
    _is_filter(m, filter_, "FltCreateFile")
    return zw_create_file(m, out, *rest)


_EX_ARGS: Final = "ptr, ptr, ptr, ptr, ulong, ptr, ptr, ptr, ulong, ulong, ulong, ulong, ptr, ulong, ulong"


@export("FltCreateFileEx", args=_EX_ARGS, modules=_FLT, since=(6, 0))
@export("FltCreateFileEx2", args=f"{_EX_ARGS}, ptr", modules=_FLT, since=(6, 0))
def flt_create_file_ex(m: Machine, filter_: int, instance: int, out: int, object_at: int, *rest: int) -> int:
    """As FltCreateFile; the file object, where it is asked for, comes with a reference."""
    status = flt_create_file(m, filter_, instance, out, *rest[:11])
    found = m.objects.resolve(m.memory.ptr(out)) if status == NTSTATUS.SUCCESS else status
    if object_at:
        m.memory.put_ptr(object_at, 0 if isinstance(found, int) else found.address)
    if object_at and not isinstance(found, int):
        m.objects.reference(found)
    return status


@export("FltClose", args="handle", modules=_FLT)
def flt_close(m: Machine, handle: int) -> int:
    return m.objects.close(handle)


@export("FltAllocateGenericWorkItem", args="", modules=_FLT)
def flt_allocate_generic_work_item(m: Machine) -> int:
    return m.pool.alloc(_WORK_ITEM_SIZE, _TAG_WORK, paged=False, zero=True)


@export("FltFreeGenericWorkItem", args="ptr", modules=_FLT)
def flt_free_generic_work_item(m: Machine, item: int) -> None:
    m.pool.free(item, _TAG_WORK)


@export("FltQueueGenericWorkItem", args="ptr, ptr, ptr, ulong, ptr", modules=_FLT)
def flt_queue_generic_work_item(
    m: Machine, item: int, object_: int, routine: int, queue: int, context: int
) -> int:
    _is_filter(m, object_, "FltQueueGenericWorkItem")
    task = Task(
        m.kernel.worker_thread(),
        routine,
        (item, object_, context),
        "a generic work item routine",
        m.driver_at(routine),
        on_worker=True,
    )
    task.ended = lambda _status: m.kernel.return_worker(task.thread)
    m.kernel.scheduler.add(task)
    return NTSTATUS.SUCCESS
