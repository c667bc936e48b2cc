"""File services: create, open, read, write, query, set, delete; device control from kernel mode.

Sources: nf-ntifs-ntcreatefile, nf-wdm-zwreadfile, nf-wdm-zwwritefile, nf-wdm-zwqueryinformationfile,
nf-wdm-zwsetinformationfile, nf-ntifs-zwdeletefile, nf-ntifs-zwdeviceiocontrolfile.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import need_zw
from harness.reference.kernel.file_information import file_information
from harness.reference.kernel.files import OPEN
from harness.reference.kernel.io_manager import FileBody
from harness.reference.kernel.irp_buffers import Control
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.objects import KernelObject
from harness.reference.kernel.rtl_strings import string_text
from harness.reference.kernel.text import wide_encode
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_USE_CURRENT: Final = 0xFFFFFFFFFFFFFFFE
_TO_END: Final = 0xFFFFFFFFFFFFFFFF
_DELETE: Final = 0x10000


def _path(m: Machine, attributes: int) -> str | int:
    """The object path OBJECT_ATTRIBUTES name, through a root directory handle where one is given."""
    view = layout("OBJECT_ATTRIBUTES", m.memory.pointer_size).at(m.memory, attributes)
    name = string_text(m, view["ObjectName"]) if view["ObjectName"] else ""
    root = view["RootDirectory"]
    if not root:
        return name
    found = m.objects.resolve(root)
    if isinstance(found, int):
        return found
    if isinstance(found.body, FileBody) and found.body.device is None:
        return f"{found.body.path}\\{name}"
    above = found.type.query_name(found) if found.type.query_name is not None else None
    return NTSTATUS.OBJECT_PATH_SYNTAX_BAD if above is None else f"{above}\\{name}"


def _status_block(m: Machine, iosb: int, status: int, information: int) -> int:
    if iosb:
        m.memory.put_u32(iosb, status & 0xFFFFFFFF)
        m.memory.put_ptr(iosb + m.memory.pointer_size, information)
    return status


def _open(
    m: Machine, out: int, access: int, attributes: int, iosb: int, share: int, disposition: int, options: int
) -> int:
    path = _path(m, attributes)
    if isinstance(path, int):
        return path
    view = layout("OBJECT_ATTRIBUTES", m.memory.pointer_size).at(m.memory, attributes)
    flags = view["Attributes"]
    found = m.kernel.namespace.find(path)
    information = 1
    if not isinstance(found, int) and found.object.type is m.kernel.io.device_type:
        made = m.kernel.io.open_device(found.object, found.rest, access, options=options, share=share, mode=0)
        if isinstance(made, int):
            return made
        file = made
    else:
        status, information, opened = m.kernel.files.open(
            path, m.kernel.io.file_type.mapping.apply(access), disposition, options
        )
        if opened is None:
            return _status_block(m, iosb, status, information)
        file = opened
    table = m.objects.table_for(flags)
    m.memory.put_ptr(out, m.objects.open_handle(file, access, table=table, attributes=flags))
    m.objects.dereference(file)
    return _status_block(m, iosb, NTSTATUS.SUCCESS, information)


@export("ZwCreateFile", args="ptr, ulong, ptr, ptr, ptr, ulong, ulong, ulong, ulong, ptr, ulong")
@export("NtCreateFile", args="ptr, ulong, ptr, ptr, ptr, ulong, ulong, ulong, ulong, ptr, ulong")
@export(
    "IoCreateFile",
    args="ptr, ulong, ptr, ptr, ptr, ulong, ulong, ulong, ulong, ptr, ulong, ulong, ptr, ulong",
)
def zw_create_file(
    m: Machine,
    out: int,
    access: int,
    attributes: int,
    iosb: int,
    size: int,
    file_attributes: int,
    share: int,
    disposition: int,
    options: int,
    ea: int,
    ea_length: int,
    *more: int,
) -> int:
    need_zw(m, "ZwCreateFile")
    return _open(m, out, access, attributes, iosb, share, disposition, options)


@export("ZwOpenFile", args="ptr, ulong, ptr, ptr, ulong, ulong")
@export("NtOpenFile", args="ptr, ulong, ptr, ptr, ulong, ulong")
def zw_open_file(
    m: Machine, out: int, access: int, attributes: int, iosb: int, share: int, options: int
) -> int:
    need_zw(m, "ZwOpenFile")
    return _open(m, out, access, attributes, iosb, share, OPEN, options)


def _file(m: Machine, handle: int) -> KernelObject | int:
    return m.objects.resolve(handle, m.kernel.io.file_type)


def _device_only(m: Machine, what: str) -> int:
    m.kernel.debug.note(f"{what} on a device is not modelled from kernel mode: STATUS_NOT_SUPPORTED")
    return NTSTATUS.NOT_SUPPORTED


def _offset(m: Machine, address: int) -> int | None:
    if not address:
        return None
    value = m.memory.u64(address)
    if value == _USE_CURRENT:
        return None
    return -1 if value == _TO_END else value


def _done(m: Machine, iosb: int, event: int, status: int, information: int) -> int:
    if event:
        found = m.objects.resolve(event)
        if not isinstance(found, int):
            m.kernel.scheduler.signal(found.address)
    return _status_block(m, iosb, status, information)


@export("ZwReadFile", args="handle, handle, ptr, ptr, ptr, ptr, ulong, ptr, ptr")
@export("NtReadFile", args="handle, handle, ptr, ptr, ptr, ptr, ulong, ptr, ptr")
def zw_read_file(
    m: Machine,
    handle: int,
    event: int,
    apc: int,
    context: int,
    iosb: int,
    buffer: int,
    length: int,
    at: int,
    key: int,
) -> int:
    need_zw(m, "ZwReadFile")
    file = _file(m, handle)
    if isinstance(file, int):
        return file
    if file.body.device is not None:
        return _device_only(m, "ZwReadFile")
    status, data = m.kernel.files.read(file.body, _offset(m, at), length)
    if data:
        m.memory.write(buffer, data)
    return _done(m, iosb, event, status, len(data))


@export("ZwWriteFile", args="handle, handle, ptr, ptr, ptr, ptr, ulong, ptr, ptr")
@export("NtWriteFile", args="handle, handle, ptr, ptr, ptr, ptr, ulong, ptr, ptr")
def zw_write_file(
    m: Machine,
    handle: int,
    event: int,
    apc: int,
    context: int,
    iosb: int,
    buffer: int,
    length: int,
    at: int,
    key: int,
) -> int:
    need_zw(m, "ZwWriteFile")
    file = _file(m, handle)
    if isinstance(file, int):
        return file
    if file.body.device is not None:
        return _device_only(m, "ZwWriteFile")
    data = m.memory.read(buffer, length) if length else b""
    status = m.kernel.files.write(file.body, _offset(m, at), data)
    return _done(m, iosb, event, status, 0 if status else length)


@export("ZwFlushBuffersFile", args="handle, ptr")
def zw_flush_buffers_file(m: Machine, handle: int, iosb: int) -> int:
    file = _file(m, handle)
    return file if isinstance(file, int) else _status_block(m, iosb, NTSTATUS.SUCCESS, 0)


@export("ZwQueryInformationFile", args="handle, ptr, ptr, ulong, ulong")
@export("NtQueryInformationFile", args="handle, ptr, ptr, ulong, ulong")
def zw_query_information_file(m: Machine, handle: int, iosb: int, buffer: int, length: int, kind: int) -> int:
    """The classes of `file_information`; a name that does not fit is cut, anything else refused."""
    need_zw(m, "ZwQueryInformationFile")
    file = _file(m, handle)
    if isinstance(file, int):
        return file
    if file.body.device is not None:
        return _device_only(m, "ZwQueryInformationFile")
    told = file_information(m, file.body, kind)
    if told is None:
        return NTSTATUS.INVALID_INFO_CLASS
    if length < told.at_least:
        return _status_block(m, iosb, NTSTATUS.INFO_LENGTH_MISMATCH, 0)
    m.memory.write(buffer, told.data[:length])
    if length < len(told.data):
        return _status_block(m, iosb, NTSTATUS.BUFFER_OVERFLOW, length)
    return _status_block(m, iosb, NTSTATUS.SUCCESS, len(told.data))


@export("ZwSetInformationFile", args="handle, ptr, ptr, ulong, ulong")
@export("NtSetInformationFile", args="handle, ptr, ptr, ulong, ulong")
def zw_set_information_file(m: Machine, handle: int, iosb: int, buffer: int, length: int, kind: int) -> int:
    """Basic (4, accepted), rename (10), disposition (13), position (14), allocation (19, accepted) and end of
    file (20) information."""
    need_zw(m, "ZwSetInformationFile")
    file = _file(m, handle)
    if isinstance(file, int):
        return file
    body: FileBody = file.body
    if body.device is not None:
        return _device_only(m, "ZwSetInformationFile")
    if kind in (10, 13) and not m.objects.granted(handle) & _DELETE:
        return NTSTATUS.ACCESS_DENIED
    if kind == 10:
        if status := m.kernel.files.rename(body, buffer):
            return status
    elif kind == 13:
        body.delete_on_close = bool(m.memory.u8(buffer))
    elif kind == 14:
        body.position = m.memory.u64(buffer)
    elif kind == 20:
        store = m.kernel.files.store
        size = m.memory.u64(buffer)
        store.write(body.path, store.read(body.path)[:size].ljust(size, b"\0"))
    elif kind not in (4, 19):
        return NTSTATUS.INVALID_INFO_CLASS
    return _status_block(m, iosb, NTSTATUS.SUCCESS, 0)


@export("ZwDeleteFile", args="ptr")
@export("NtDeleteFile", args="ptr")
def zw_delete_file(m: Machine, attributes: int) -> int:
    need_zw(m, "ZwDeleteFile")
    path = _path(m, attributes)
    if isinstance(path, int):
        return path
    status, _information, file = m.kernel.files.open(path, 0x10000, OPEN, 0x1000)
    if file is not None:
        m.objects.dereference(file)
    return status


@export("ZwQueryAttributesFile", args="ptr, ptr")
@export("NtQueryAttributesFile", args="ptr, ptr")
def zw_query_attributes_file(m: Machine, attributes: int, out: int) -> int:
    path = _path(m, attributes)
    if isinstance(path, int):
        return path
    if not m.kernel.files.store.exists(path):
        return NTSTATUS.OBJECT_NAME_NOT_FOUND
    now = m.system_time()
    m.memory.write(out, struct.pack("<QQQQI4x", now, now, now, now, 0x20))
    return NTSTATUS.SUCCESS


@export("ZwDeviceIoControlFile", args="handle, handle, ptr, ptr, ptr, ulong, ptr, ulong, ptr, ulong")
@export("NtDeviceIoControlFile", args="handle, handle, ptr, ptr, ptr, ulong, ptr, ulong, ptr, ulong")
def zw_device_io_control_file(
    m: Machine,
    handle: int,
    event: int,
    apc: int,
    context: int,
    iosb: int,
    code: int,
    source: int,
    source_length: int,
    target: int,
    target_length: int,
) -> int:
    need_zw(m, "ZwDeviceIoControlFile")
    file = _file(m, handle)
    if isinstance(file, int):
        return file
    if file.body.device is None:
        return NTSTATUS.INVALID_DEVICE_REQUEST
    io = m.kernel.io
    device = io.top_of_stack(file.body.device)
    control = Control(code, source, source_length, target, target_length)
    result = io.synchronous.control(device, file, control, mode=0)
    return _done(m, iosb, event, result.status, result.information)


@export("IoQueryFileDosDeviceName", args="ptr, ptr")
def io_query_file_dos_device_name(m: Machine, file: int, out: int) -> int:
    """OBJECT_NAME_INFORMATION with the DOS path, in pool the caller frees."""
    obj = m.objects.at(file)
    if obj is None or not isinstance(obj.body, FileBody) or obj.body.device is not None:
        return NTSTATUS.INVALID_PARAMETER
    raw = wide_encode(obj.body.path)
    head = m.memory.unicode_string_size
    address = m.pool.alloc(head + len(raw) + 2, int.from_bytes(b"IoNm", "little"), paged=True, zero=True)
    m.memory.write(address + head, raw)
    m.memory.put_unicode_string(address, len(raw), len(raw) + 2, address + head)
    m.memory.put_ptr(out, address)
    return NTSTATUS.SUCCESS


@export("IoVolumeDeviceToDosName", args="ptr, ptr")
@export("RtlVolumeDeviceToDosName", args="ptr, ptr")
def io_volume_device_to_dos_name(m: Machine, device: int, out: int) -> int:
    raw = wide_encode("C:")
    address = m.pool.alloc(len(raw) + 2, int.from_bytes(b"IoNm", "little"), paged=True, zero=True)
    m.memory.write(address, raw)
    m.memory.put_unicode_string(out, len(raw), len(raw) + 2, address)
    return NTSTATUS.SUCCESS
