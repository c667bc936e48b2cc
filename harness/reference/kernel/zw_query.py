"""Queries about the system, processes and objects; opening processes, links and events.

Sources: nf-ntddk-zwqueryinformationprocess, nf-ntexapi-ntquerysysteminformation,
nf-ntddk-zwopenprocess, nf-wdm-zwopensymboliclinkobject, nf-ntifs-zwquerysecurityobject,
nf-ntifs-zwsetevent, nf-ntifs-zwcreateevent, nf-wdm-zwwaitforsingleobject (ntifs page).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from harness.reference.exports import export
from harness.reference.kernel.checks import need_zw
from harness.reference.kernel.dispatcher import DispatcherType, initialise
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.objects import KERNEL_MODE, KernelObject
from harness.reference.kernel.rtl_strings import string_text
from harness.reference.kernel.security import security_access
from harness.reference.kernel.text import wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.threads import Process

__all__: list[str] = []


def _answer(m: Machine, raw: bytes, buffer: int, length: int, needed: int) -> int:
    if needed:
        m.memory.put_u32(needed, len(raw))
    if length < len(raw):
        return NTSTATUS.INFO_LENGTH_MISMATCH
    if raw:
        m.memory.write(buffer, raw)
    return NTSTATUS.SUCCESS


# -- processes ---------------------------------------------------------------------------------------------


def _counted(m: Machine, text: str, buffer: int) -> bytes:
    """A UNICODE_STRING at `buffer` followed by its text."""
    raw = wide_encode(text)
    if m.memory.pointer_size == 8:
        head = struct.pack("<HH4xQ", len(raw), len(raw) + 2, buffer + 16)
    else:
        head = struct.pack("<HHI", len(raw), len(raw) + 2, buffer + 8)
    return head + raw + b"\0\0"


def _process_information(m: Machine, process: Process, kind: int, buffer: int) -> bytes | None:
    wide = m.memory.pointer_size == 8
    body = process.body
    if kind == 0:  # ProcessBasicInformation
        status = 0x103 if body.exit_status is None else body.exit_status
        form = "<I4xQQi4xQQ" if wide else "<IIIiII"
        return struct.pack(form, status, 0, 1, 8, process.pid, body.parent)
    if kind in (7, 26):  # ProcessDebugPort, ProcessWow64Information
        return bytes(m.memory.pointer_size)
    if kind == 24:  # ProcessSessionInformation
        return bytes(4)
    if kind == 27:  # ProcessImageFileName
        return _counted(m, m.kernel.files.object_name(body.image) if body.image else "", buffer)
    if kind == 43:  # ProcessImageFileNameWin32
        return _counted(m, body.image, buffer)
    if kind == 29:  # ProcessBreakOnTermination
        return bytes(4)
    if kind == 60:  # ProcessCommandLineInformation
        return _counted(m, body.command_line, buffer)
    return None


@export("ZwQueryInformationProcess", args="handle, ulong, ptr, ulong, ptr")
@export("NtQueryInformationProcess", args="handle, ulong, ptr, ulong, ptr")
def zw_query_information_process(
    m: Machine, handle: int, kind: int, buffer: int, length: int, needed: int
) -> int:
    need_zw(m, "ZwQueryInformationProcess")
    found = m.objects.resolve(handle, m.kernel.processes.process_type)
    if isinstance(found, int):
        return found
    raw = _process_information(m, found.body.process, kind, buffer)
    return NTSTATUS.INVALID_INFO_CLASS if raw is None else _answer(m, raw, buffer, length, needed)


@export("ZwSetInformationProcess", args="handle, ulong, ptr, ulong")
def zw_set_information_process(m: Machine, handle: int, kind: int, buffer: int, length: int) -> int:
    m.kernel.debug.note(f"ZwSetInformationProcess class {kind} is not modelled: STATUS_INVALID_INFO_CLASS")
    return NTSTATUS.INVALID_INFO_CLASS


@export("ZwOpenProcess", args="ptr, ulong, ptr, ptr")
@export("NtOpenProcess", args="ptr, ulong, ptr, ptr")
def zw_open_process(m: Machine, out: int, access: int, attributes: int, client: int) -> int:
    need_zw(m, "ZwOpenProcess")
    if not client:
        return NTSTATUS.INVALID_PARAMETER_MIX
    found = m.kernel.processes.by_pid.get(m.memory.ptr(client))
    if found is None:
        return NTSTATUS.INVALID_CID
    flags = layout("OBJECT_ATTRIBUTES", m.memory.pointer_size).at(m.memory, attributes)["Attributes"]
    table = m.objects.table_for(flags)
    m.memory.put_ptr(out, m.objects.open_handle(found.body.object, access, table=table, attributes=flags))
    return NTSTATUS.SUCCESS


@export("ZwOpenThread", args="ptr, ulong, ptr, ptr", since=(6, 0))
def zw_open_thread(m: Machine, out: int, access: int, attributes: int, client: int) -> int:
    found = m.kernel.processes.by_tid.get(m.memory.ptr(client + m.memory.pointer_size))
    if found is None:
        return NTSTATUS.INVALID_CID
    table = m.objects.table_for(m.memory.u32(attributes + 3 * m.memory.pointer_size))
    m.memory.put_ptr(out, m.objects.open_handle(found.body.object, access, table=table))
    return NTSTATUS.SUCCESS


@export("ZwTerminateProcess", args="handle, ulong")
def zw_terminate_process(m: Machine, handle: int, status: int) -> int:
    m.kernel.debug.note("ZwTerminateProcess is not modelled: STATUS_ACCESS_DENIED")
    return NTSTATUS.ACCESS_DENIED


# -- system information ------------------------------------------------------------------------------------


def _system_processes(m: Machine, buffer: int) -> bytes:
    """SYSTEM_PROCESS_INFORMATION for every process, without thread records."""
    wide = m.memory.pointer_size == 8
    head = 0x100 if wide else 0xB8
    out = bytearray()
    processes = list(m.kernel.processes.by_pid.values())
    for index, process in enumerate(processes):
        raw = wide_encode("" if process.system and process.pid == 0 else process.name)
        entry = bytearray(head + len(raw) + 2)
        size = -(-len(entry) // 8) * 8
        at = buffer + len(out)
        struct.pack_into("<II", entry, 0, size if index < len(processes) - 1 else 0, 0)
        struct.pack_into("<Q", entry, 0x20, process.body.create_time)
        if wide:
            struct.pack_into("<HH4xQ", entry, 0x38, len(raw), len(raw) + 2, at + head)
            struct.pack_into(
                "<i4xQQI", entry, 0x48, 8, process.pid, process.body.parent, len(process.body.handles.entries)
            )
        else:
            struct.pack_into("<HHI", entry, 0x38, len(raw), len(raw) + 2, at + head)
            struct.pack_into(
                "<iIII", entry, 0x40, 8, process.pid, process.body.parent, len(process.body.handles.entries)
            )
        entry[head : head + len(raw)] = raw
        out += entry.ljust(size, b"\0")
    return bytes(out)


def _system_modules(m: Machine) -> bytes:
    """RTL_PROCESS_MODULES: the kernel first, then the drivers."""
    wide = m.memory.pointer_size == 8
    where = m.memory.map.nt
    rows = [("\\SystemRoot\\system32\\ntoskrnl.exe", where.start, where.end - where.start)]
    rows += [(f"\\SystemRoot\\system32\\drivers\\{each.name}", each.base, each.size) for each in m.modules]
    out = bytearray(struct.pack("<I4x" if wide else "<I", len(rows)))
    for index, (path, base, size) in enumerate(rows):
        raw = path.encode("ascii", "replace")[:255]
        name = raw.rfind(b"\\") + 1
        form = "<QQQIIHHHH256s" if wide else "<IIIIIHHHH256s"
        out += struct.pack(form, 0, base, base, size, 0, index, index, 1, name, raw)
    return bytes(out)


@export("ZwQuerySystemInformation", args="ulong, ptr, ulong, ptr")
@export("NtQuerySystemInformation", args="ulong, ptr, ulong, ptr")
def zw_query_system_information(m: Machine, kind: int, buffer: int, length: int, needed: int) -> int:
    """Basic (0), time of day (3), processes (5), modules (11), code integrity (103)."""
    need_zw(m, "ZwQuerySystemInformation")
    wide = m.memory.pointer_size == 8
    if kind == 0:
        low, high = 0x10000, m.memory.map.user_limit - 0x10001
        form = "<IIIIIIIQQQB7x" if wide else "<IIIIIIIIIIIB3x"
        numbers = (0, 156250, 4096, 0x80000, 1, 0x7FFFF, 0x10000)
        raw = (
            struct.pack("<7I4x4QB7x", *numbers, low, high, 1, 1, 1)[:64]
            if wide
            else struct.pack("<7I4IB3x", *numbers, low, high, 1, 1, 1)[:44]
        )
        assert form
    elif kind == 3:
        now = m.system_time()
        raw = struct.pack("<QQQI4xQQ", now - m.interrupt_time(), now, 0, 0, 0, 0)
    elif kind == 5:
        raw = _system_processes(m, buffer)
    elif kind == 11:
        raw = _system_modules(m)
    elif kind == 103:
        if length < 8:
            return NTSTATUS.INFO_LENGTH_MISMATCH
        # CODEINTEGRITY_OPTION_ENABLED | CODEINTEGRITY_OPTION_TESTSIGN
        raw = struct.pack("<II", 8, 3)
    else:
        m.kernel.debug.note(
            f"ZwQuerySystemInformation class {kind} is not modelled: STATUS_INVALID_INFO_CLASS"
        )
        return NTSTATUS.INVALID_INFO_CLASS
    return _answer(m, raw, buffer, length, needed)


# -- symbolic links and directories ------------------------------------------------------------------------


def _named(m: Machine, attributes: int) -> str:
    return string_text(m, m.memory.ptr(attributes + 2 * m.memory.pointer_size))


@export("ZwOpenSymbolicLinkObject", args="ptr, ulong, ptr")
@export("NtOpenSymbolicLinkObject", args="ptr, ulong, ptr")
def zw_open_symbolic_link_object(m: Machine, out: int, access: int, attributes: int) -> int:
    need_zw(m, "ZwOpenSymbolicLinkObject")
    found = m.kernel.namespace.find(_named(m, attributes), follow_last=False)
    if isinstance(found, int):
        return found
    if found.object.type is not m.kernel.namespace.link_type or found.rest:
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    flags = m.memory.u32(attributes + 3 * m.memory.pointer_size)
    table = m.objects.table_for(flags)
    m.memory.put_ptr(out, m.objects.open_handle(found.object, access, table=table, attributes=flags))
    return NTSTATUS.SUCCESS


@export("ZwQuerySymbolicLinkObject", args="handle, ptr, ptr")
@export("NtQuerySymbolicLinkObject", args="handle, ptr, ptr")
def zw_query_symbolic_link_object(m: Machine, handle: int, target: int, needed: int) -> int:
    need_zw(m, "ZwQuerySymbolicLinkObject")
    found = m.objects.resolve(handle, m.kernel.namespace.link_type)
    if isinstance(found, int):
        return found
    raw = wide_encode(found.body.target)
    if needed:
        m.memory.put_u32(needed, len(raw))
    if len(raw) > m.memory.u16(target + 2):
        return NTSTATUS.BUFFER_TOO_SMALL
    if raw:
        m.memory.write(m.memory.ptr(target + m.memory.pointer_size), raw)
    m.memory.put_u16(target, len(raw))
    return NTSTATUS.SUCCESS


@export("ZwOpenDirectoryObject", args="ptr, ulong, ptr")
@export("NtOpenDirectoryObject", args="ptr, ulong, ptr")
def zw_open_directory_object(m: Machine, out: int, access: int, attributes: int) -> int:
    need_zw(m, "ZwOpenDirectoryObject")
    found = m.kernel.namespace.find(_named(m, attributes))
    if isinstance(found, int):
        return found
    if found.object.type is not m.kernel.namespace.directory_type or found.rest:
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    flags = m.memory.u32(attributes + 3 * m.memory.pointer_size)
    table = m.objects.table_for(flags)
    m.memory.put_ptr(out, m.objects.open_handle(found.object, access, table=table, attributes=flags))
    return NTSTATUS.SUCCESS


# -- security of objects: every type answers for itself ----------------------------------------------------


def _secured(m: Machine, handle: int, access: int) -> KernelObject | int:
    return m.objects.resolve(handle, None, access, m.current.previous_mode)


@export("NtQuerySecurityObject", args="handle, ulong, ptr, ulong, ptr")
def nt_query_security_object(
    m: Machine, handle: int, information: int, buffer: int, length: int, needed: int
) -> int:
    found = _secured(m, handle, security_access(information, setting=False))
    if isinstance(found, int):
        return found
    if found.type.query_security is None:
        return NTSTATUS.NOT_SUPPORTED
    return found.type.query_security(found, information, buffer, length, needed)


@export("ZwQuerySecurityObject", args="handle, ulong, ptr, ulong, ptr")
def zw_query_security_object(
    m: Machine, handle: int, information: int, buffer: int, length: int, needed: int
) -> int:
    need_zw(m, "ZwQuerySecurityObject")
    with m.previous_mode(KERNEL_MODE):
        return nt_query_security_object(m, handle, information, buffer, length, needed)


@export("NtSetSecurityObject", args="handle, ulong, ptr")
def nt_set_security_object(m: Machine, handle: int, information: int, descriptor: int) -> int:
    found = _secured(m, handle, security_access(information, setting=True))
    if isinstance(found, int):
        return found
    if found.type.set_security is None:
        return NTSTATUS.NOT_SUPPORTED
    return found.type.set_security(found, information, descriptor)


@export("ZwSetSecurityObject", args="handle, ulong, ptr")
def zw_set_security_object(m: Machine, handle: int, information: int, descriptor: int) -> int:
    need_zw(m, "ZwSetSecurityObject")
    with m.previous_mode(KERNEL_MODE):
        return nt_set_security_object(m, handle, information, descriptor)


# -- events ------------------------------------------------------------------------------------------------


@export("ZwCreateEvent", args="ptr, ulong, ptr, ulong, uchar")
@export("NtCreateEvent", args="ptr, ulong, ptr, ulong, uchar")
def zw_create_event(m: Machine, out: int, access: int, attributes: int, kind: int, state: int) -> int:
    need_zw(m, "ZwCreateEvent")
    flags, name = 0, ""
    if attributes:
        view = layout("OBJECT_ATTRIBUTES", m.memory.pointer_size).at(m.memory, attributes)
        flags = view["Attributes"]
        name = string_text(m, view["ObjectName"]) if view["ObjectName"] else ""
    event = m.objects.create(m.objects.types["Event"], None)
    size = layout("KEVENT", m.memory.pointer_size).size
    initialise(m, event.address, kind & 1, size, int(state & 0xFF != 0))
    if name:
        status = m.kernel.namespace.insert(name, event)
        if status:
            m.objects.dereference(event)
            return status
    m.memory.put_ptr(
        out, m.objects.open_handle(event, access, table=m.objects.table_for(flags), attributes=flags)
    )
    m.objects.dereference(event)
    return NTSTATUS.SUCCESS


@export("IoCreateNotificationEvent", args="ptr, ptr")
def io_create_notification_event(m: Machine, name: int, out: int) -> int:
    return _named_event(m, name, out, DispatcherType.NOTIFICATION_EVENT)


@export("IoCreateSynchronizationEvent", args="ptr, ptr")
def io_create_synchronization_event(m: Machine, name: int, out: int) -> int:
    return _named_event(m, name, out, DispatcherType.SYNCHRONIZATION_EVENT)


def _named_event(m: Machine, name: int, out: int, kind: int) -> int:
    found = m.kernel.namespace.find(string_text(m, name))
    if not isinstance(found, int) and found.object.type is m.objects.types["Event"]:
        m.memory.put_ptr(out, m.objects.open_handle(found.object, 0x1F0003))
        return found.object.address
    event = m.objects.create(m.objects.types["Event"], None)
    initialise(m, event.address, kind, layout("KEVENT", m.memory.pointer_size).size, 1)
    if m.kernel.namespace.insert(string_text(m, name), event):
        m.objects.dereference(event)
        return 0
    m.memory.put_ptr(out, m.objects.open_handle(event, 0x1F0003))
    m.objects.dereference(event)
    return event.address


@export("ZwSetEvent", args="handle, ptr")
@export("NtSetEvent", args="handle, ptr")
def zw_set_event(m: Machine, handle: int, previous: int) -> int:
    found = m.objects.resolve(handle, m.objects.types["Event"])
    if isinstance(found, int):
        return found
    before = m.kernel.scheduler.signal(found.address)
    if previous:
        m.memory.put_u32(previous, before)
    return NTSTATUS.SUCCESS


@export("ZwWaitForSingleObject", args="handle, uchar, ptr")
@export("NtWaitForSingleObject", args="handle, uchar, ptr")
def zw_wait_for_single_object(m: Machine, handle: int, alertable: int, timeout: int) -> int:
    found = m.objects.resolve(handle)
    if isinstance(found, int):
        return found
    if found.type.name not in ("Event", "Process", "Thread", "Mutant", "Semaphore"):
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    scheduler = m.kernel.scheduler
    deadline = scheduler.due_time(timeout)
    return scheduler.wait((found.address,), wait_all=False, deadline=deadline, what="ZwWaitForSingleObject")
