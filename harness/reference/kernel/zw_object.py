"""Services on named objects: events opened and pulsed, directories and links made and listed, waits for
several.

Sources: nf-ntifs-zwopenevent (ZwOpenEvent, named in ntifs.h), nf-wdm-zwcreatedirectoryobject,
devnotes/ntquerydirectoryobject, nf-ntifs-zwwaitformultipleobjects, winternl/ntqueryinformationthread.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import need_zw
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.namespace import Directory, SymbolicLink
from harness.reference.kernel.objects import KernelObject
from harness.reference.kernel.rtl_strings import string_text
from harness.reference.kernel.text import wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_NO_YIELD_PERFORMED: Final = 0x40000024
_OPEN_IF: Final = 0x80  # OBJ_OPENIF
_PERMANENT: Final = 0x10
_WAITABLE: Final = ("Event", "Process", "Thread", "Mutant", "Semaphore")


def _handle(m: Machine, out: int, obj: KernelObject, access: int, flags: int) -> int:
    table = m.objects.table_for(flags)
    m.memory.put_ptr(out, m.objects.open_handle(obj, access, table=table, attributes=flags))
    return NTSTATUS.SUCCESS


def _attributes(m: Machine, address: int) -> tuple[str, int]:
    """Name and flags of OBJECT_ATTRIBUTES, below the directory they may name."""
    view = layout("OBJECT_ATTRIBUTES", m.memory.pointer_size).at(m.memory, address)
    name = string_text(m, view["ObjectName"]) if view["ObjectName"] else ""
    if view["RootDirectory"]:
        root = m.objects.resolve(view["RootDirectory"], m.kernel.namespace.directory_type)
        if not isinstance(root, int):
            above = m.kernel.namespace.full_name(root) or ""
            name = f"{above.rstrip(chr(92))}\\{name}"
    return name, view["Attributes"]


# -- events ------------------------------------------------------------------------------------------------


@export("ZwOpenEvent", args="ptr, ulong, ptr")
@export("NtOpenEvent", args="ptr, ulong, ptr")
def zw_open_event(m: Machine, out: int, access: int, attributes: int) -> int:
    need_zw(m, "ZwOpenEvent")
    name, flags = _attributes(m, attributes)
    found = m.kernel.namespace.find(name)
    if isinstance(found, int):
        return found
    if found.rest or found.object.type is not m.objects.types["Event"]:
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    return _handle(m, out, found.object, access, flags)


@export("ZwPulseEvent", args="handle, ptr")
@export("NtPulseEvent", args="handle, ptr")
def zw_pulse_event(m: Machine, handle: int, previous: int) -> int:
    """Threads take turns: whoever waits looks when it runs next, and the event is reset by then."""
    found = m.objects.resolve(handle, m.objects.types["Event"])
    if isinstance(found, int):
        return found
    if previous:
        m.memory.put_u32(previous, m.memory.u32(found.address + 4))
    m.kernel.scheduler.signal(found.address)
    m.kernel.scheduler.step()
    m.memory.put_u32(found.address + 4, 0)
    return NTSTATUS.SUCCESS


@export("ZwWaitForMultipleObjects", args="ulong, ptr, ulong, uchar, ptr")
@export("NtWaitForMultipleObjects", args="ulong, ptr, ulong, uchar, ptr")
def zw_wait_for_multiple_objects(
    m: Machine, count: int, handles: int, kind: int, alertable: int, timeout: int
) -> int:
    """`kind`: WaitAll (0) or WaitAny (1)."""
    need_zw(m, "ZwWaitForMultipleObjects")
    if not 1 <= count <= 64:
        return NTSTATUS.INVALID_PARAMETER
    addresses = []
    for index in range(count):
        found = m.objects.resolve(m.memory.ptr(handles + index * m.memory.pointer_size))
        if isinstance(found, int):
            return found
        if found.type.name not in _WAITABLE:
            return NTSTATUS.OBJECT_TYPE_MISMATCH
        addresses.append(found.address)
    scheduler = m.kernel.scheduler
    deadline = scheduler.due_time(timeout)
    what = "ZwWaitForMultipleObjects"
    return scheduler.wait(tuple(addresses), wait_all=kind == 0, deadline=deadline, what=what)


@export("ZwYieldExecution", args="")
@export("NtYieldExecution", args="")
def zw_yield_execution(m: Machine) -> int:
    return NTSTATUS.SUCCESS if m.kernel.scheduler.step() else _NO_YIELD_PERFORMED


# -- directories and links ---------------------------------------------------------------------------------


def _create(m: Machine, out: int, access: int, attributes: int, body: Directory | SymbolicLink) -> int:
    space = m.kernel.namespace
    kind = space.directory_type if isinstance(body, Directory) else space.link_type
    name, flags = _attributes(m, attributes)
    if name and flags & _OPEN_IF:
        found = space.find(name, follow_last=False)
        if not isinstance(found, int) and not found.rest and found.object.type is kind:
            _handle(m, out, found.object, access, flags)
            return NTSTATUS.OBJECT_NAME_EXISTS
    obj = m.objects.create(kind, body)
    if name:
        status = space.insert(name, obj)
        if status:
            m.objects.dereference(obj)
            return status
        obj.permanent = bool(flags & _PERMANENT)
    _handle(m, out, obj, access, flags)
    m.objects.dereference(obj)
    return NTSTATUS.SUCCESS


@export("ZwCreateDirectoryObject", args="ptr, ulong, ptr")
def zw_create_directory_object(m: Machine, out: int, access: int, attributes: int) -> int:
    need_zw(m, "ZwCreateDirectoryObject")
    return _create(m, out, access, attributes, Directory())


@export("ZwCreateSymbolicLinkObject", args="ptr, ulong, ptr, ptr")
def zw_create_symbolic_link_object(m: Machine, out: int, access: int, attributes: int, target: int) -> int:
    need_zw(m, "ZwCreateSymbolicLinkObject")
    return _create(m, out, access, attributes, SymbolicLink(string_text(m, target)))


@export("ZwQueryDirectoryObject", args="handle, ptr, ulong, uchar, uchar, ptr, ptr")
@export("NtQueryDirectoryObject", args="handle, ptr, ulong, uchar, uchar, ptr, ptr")
def zw_query_directory_object(
    m: Machine, handle: int, buffer: int, length: int, single: int, restart: int, context: int, needed: int
) -> int:
    """OBJECT_DIRECTORY_INFORMATION: name and type as strings, an empty entry last, the text behind."""
    need_zw(m, "ZwQueryDirectoryObject")
    found = m.objects.resolve(handle, m.kernel.namespace.directory_type)
    if isinstance(found, int):
        return found
    names = [(each.name or "", each.type.name) for each in found.body.entries.values()]
    start = 0 if restart & 0xFF else m.memory.u32(context)
    head = 2 * m.memory.unicode_string_size
    taken: list[tuple[bytes, bytes]] = []
    size = head
    for name, kind in names[start:]:
        raw = (wide_encode(name), wide_encode(kind))
        more = head + len(raw[0]) + len(raw[1]) + 4
        if size + more > length:
            if not taken:
                if needed:
                    m.memory.put_u32(needed, size + more)
                return NTSTATUS.BUFFER_TOO_SMALL
            break
        size += more
        taken.append(raw)
        if single & 0xFF:
            break
    if not taken:
        return NTSTATUS.NO_MORE_ENTRIES
    m.memory.write(buffer, bytes(size))
    text = buffer + head * (len(taken) + 1)
    for index, entry in enumerate(taken):
        for place, part in enumerate(entry):
            at = buffer + head * index + place * m.memory.unicode_string_size
            m.memory.write(text, part)
            m.memory.put_unicode_string(at, len(part), len(part) + 2, text)
            text += len(part) + 2
    m.memory.put_u32(context, start + len(taken))
    if needed:
        m.memory.put_u32(needed, size)
    complete = bool(single & 0xFF) or start + len(taken) == len(names)
    return NTSTATUS.SUCCESS if complete else NTSTATUS.MORE_ENTRIES


# -- threads -----------------------------------------------------------------------------------------------


@export("ZwQueryInformationThread", args="handle, ulong, ptr, ulong, ptr")
@export("NtQueryInformationThread", args="handle, ulong, ptr, ulong, ptr")
def zw_query_information_thread(
    m: Machine, handle: int, kind: int, buffer: int, length: int, needed: int
) -> int:
    """Basic (0), times (1) and start address (9) information."""
    need_zw(m, "ZwQueryInformationThread")
    found = m.objects.resolve(handle, m.kernel.processes.thread_type)
    if isinstance(found, int):
        return found
    thread, body = found.body.thread, found.body
    wide = m.memory.pointer_size == 8
    if kind == 0:
        status = 0x103 if body.exit_status is None else body.exit_status
        form = "<I4xQQQQii" if wide else "<IIIIIii"
        raw = struct.pack(form, status, 0, thread.process.pid, thread.tid, 1, 8, 8)
    elif kind == 1:
        raw = struct.pack("<QQQQ", thread.process.body.create_time, 0, 0, 0)
    elif kind == 9:
        raw = struct.pack("<Q" if wide else "<I", body.start)
    else:
        m.kernel.debug.note(
            f"ZwQueryInformationThread class {kind} is not modelled: STATUS_INVALID_INFO_CLASS"
        )
        return NTSTATUS.INVALID_INFO_CLASS
    if needed:
        m.memory.put_u32(needed, len(raw))
    if length < len(raw):
        return NTSTATUS.INFO_LENGTH_MISMATCH
    m.memory.write(buffer, raw)
    return NTSTATUS.SUCCESS
