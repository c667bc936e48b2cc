"""Object manager routines: references, handles, names, and the type variables.

Sources: nf-wdm-obreferenceobjectbyhandle, nf-wdm-obopenobjectbypointer, nf-ntifs-obquerynamestring,
nf-wdm-zwclose, nf-wdm-zwduplicateobject, nf-ntifs-obgetobjecttype, kernel/object-handles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.kernel.checks import APC_LEVEL, DISPATCH_LEVEL, need_irql, need_zw
from harness.reference.kernel.objects import KERNEL_MODE, KernelObject, ObjectType
from harness.reference.kernel.rtl_strings import string_text
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_DUPLICATE_CLOSE_SOURCE: Final = 1
_DUPLICATE_SAME_ACCESS: Final = 2
_OBJ_KERNEL_HANDLE: Final = 0x200


def _type(m: Machine, address: int) -> ObjectType | None:
    """The type a driver names by `*PsProcessType` and the like; None for NULL."""
    if not address:
        return None
    kind = m.objects.type_at(address)
    if kind is None:
        m.bugcheck(0xC4, 0xE1, address, 0, 0, reason="an object routine got something that is no object type")
    return kind


def _object(m: Machine, address: int, routine: str) -> KernelObject:
    obj = m.objects.at(address)
    if obj is None:
        m.bugcheck(0x18, 0, address, 1, 0, reason=f"{routine} got something that is no object")
    return obj


def _dying(m: Machine, obj: KernelObject, routine: str) -> None:
    """An object without references is being destroyed; only Cm routines may have it (B-OBJ-04)."""
    if obj.references <= 0:
        m.bugcheck(
            0x18,
            obj.type.address,
            obj.address,
            1,
            0,
            reason=f"{routine} got a {obj.type.name} object that is being destroyed (its reference "
            "count is 0)",
        )


@export("ObReferenceObjectByHandle", args="handle, ulong, ptr, uchar, ptr, ptr")
def ob_reference_object_by_handle(
    m: Machine, handle: int, access: int, kind: int, mode: int, out: int, information: int
) -> int:
    need_irql(m, 0, "ObReferenceObjectByHandle", "nf-wdm-obreferenceobjectbyhandle")
    mode &= 0xFF
    m.memory.put_ptr(out, 0)
    found = m.objects.resolve(handle, _type(m, kind), access, mode)
    if isinstance(found, int):
        return found
    m.objects.reference(found)
    m.memory.put_ptr(out, found.address)
    if information:
        entry = m.objects.lookup(handle, mode)
        m.memory.put_u32(information, entry.attributes & 7 if entry else 0)
        m.memory.put_u32(information + 4, m.objects.granted(handle, mode))
    return NTSTATUS.SUCCESS


@export("ObReferenceObjectByHandleWithTag", args="handle, ulong, ptr, uchar, ulong, ptr, ptr", since=(6, 1))
def ob_reference_object_by_handle_with_tag(
    m: Machine, handle: int, access: int, kind: int, mode: int, tag: int, out: int, information: int
) -> int:
    return ob_reference_object_by_handle(m, handle, access, kind, mode, out, information)


@export("ObReferenceObjectByPointer", args="ptr, ulong, ptr, uchar")
def ob_reference_object_by_pointer(m: Machine, address: int, access: int, kind: int, mode: int) -> int:
    obj = _object(m, address, "ObReferenceObjectByPointer")
    _dying(m, obj, "ObReferenceObjectByPointer")
    wanted = _type(m, kind)
    if wanted is not None and obj.type is not wanted:
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    m.objects.reference(obj)
    return NTSTATUS.SUCCESS


@export("ObReferenceObjectByPointerWithTag", args="ptr, ulong, ptr, uchar, ulong", since=(6, 1))
def ob_reference_object_by_pointer_with_tag(
    m: Machine, address: int, access: int, kind: int, mode: int, tag: int
) -> int:
    return ob_reference_object_by_pointer(m, address, access, kind, mode)


@export("ObfReferenceObject", args="ptr", cc="fastcall")
@export("ObReferenceObject", args="ptr", arches=("x86",))
def obf_reference_object(m: Machine, address: int) -> int:
    need_irql(m, DISPATCH_LEVEL, "ObReferenceObject", "nf-wdm-obfreferenceobject")
    obj = _object(m, address, "ObReferenceObject")
    _dying(m, obj, "ObReferenceObject")
    m.objects.reference(obj)
    return obj.references


@export("ObfReferenceObjectWithTag", args="ptr, ulong", cc="fastcall", since=(6, 1))
def obf_reference_object_with_tag(m: Machine, address: int, tag: int) -> int:
    return obf_reference_object(m, address)


@export("ObfDereferenceObject", args="ptr", cc="fastcall")
@export("ObDereferenceObject", args="ptr", arches=("x86",))
@export("ObDereferenceObjectDeferDelete", args="ptr", since=(6, 0))
def obf_dereference_object(m: Machine, address: int) -> int:
    obj = m.objects.at(address)
    count = obj.references if obj is not None else 0
    m.objects.dereference_address(address)
    return max(count - 1, 0)


@export("ObfDereferenceObjectWithTag", args="ptr, ulong", cc="fastcall", since=(6, 1))
def obf_dereference_object_with_tag(m: Machine, address: int, tag: int) -> int:
    return obf_dereference_object(m, address)


@export("ObOpenObjectByPointer", args="ptr, ulong, ptr, ulong, ptr, uchar, ptr")
def ob_open_object_by_pointer(
    m: Machine, address: int, attributes: int, state: int, access: int, kind: int, mode: int, out: int
) -> int:
    need_irql(m, 0, "ObOpenObjectByPointer", "nf-ntifs-obopenobjectbypointer")
    obj = _object(m, address, "ObOpenObjectByPointer")
    _dying(m, obj, "ObOpenObjectByPointer")
    wanted = _type(m, kind)
    if wanted is not None and obj.type is not wanted:
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    if obj.type.open_check is not None:
        status = obj.type.open_check(obj, access, mode & 0xFF)
        if status:
            return status
    table = None if attributes & _OBJ_KERNEL_HANDLE else m.current.process.body.handles
    granted = access
    if access & 0x02000000:
        granted |= obj.type.mapping.all
    m.memory.put_ptr(out, m.objects.open_handle(obj, granted, table=table, attributes=attributes))
    return NTSTATUS.SUCCESS


@export("ObOpenObjectByPointerWithTag", args="ptr, ulong, ptr, ulong, ptr, uchar, ulong, ptr", since=(6, 1))
def ob_open_object_by_pointer_with_tag(
    m: Machine,
    address: int,
    attributes: int,
    state: int,
    access: int,
    kind: int,
    mode: int,
    tag: int,
    out: int,
) -> int:
    return ob_open_object_by_pointer(m, address, attributes, state, access, kind, mode, out)


@export("ObReferenceObjectByName", args="ptr, ulong, ptr, ulong, ptr, uchar, ptr, ptr")
def ob_reference_object_by_name(
    m: Machine,
    name: int,
    attributes: int,
    state: int,
    access: int,
    kind: int,
    mode: int,
    parse: int,
    out: int,
) -> int:
    """Undocumented, used with IoDriverObjectType to look at other drivers."""
    found = m.kernel.namespace.find(string_text(m, name))
    if isinstance(found, int):
        return found
    wanted = _type(m, kind)
    if found.rest or (wanted is not None and found.object.type is not wanted):
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    m.objects.reference(found.object)
    m.memory.put_ptr(out, found.object.address)
    return NTSTATUS.SUCCESS


@export("ObOpenObjectByName", args="ptr, ptr, uchar, ptr, ulong, ptr, ptr")
def ob_open_object_by_name(
    m: Machine, attributes: int, kind: int, mode: int, state: int, access: int, parse: int, out: int
) -> int:
    size = m.memory.pointer_size
    found = m.kernel.namespace.find(string_text(m, m.memory.ptr(attributes + 2 * size)))
    if isinstance(found, int):
        return found
    wanted = _type(m, kind)
    if found.rest or (wanted is not None and found.object.type is not wanted):
        return NTSTATUS.OBJECT_TYPE_MISMATCH
    flags = m.memory.u32(attributes + 3 * size)
    table = None if flags & _OBJ_KERNEL_HANDLE else m.current.process.body.handles
    m.memory.put_ptr(out, m.objects.open_handle(found.object, access, table=table, attributes=flags))
    return NTSTATUS.SUCCESS


@export("ObGetObjectType", args="ptr", since=(6, 1))
def ob_get_object_type(m: Machine, address: int) -> int:
    return _object(m, address, "ObGetObjectType").type.address


@export("ObIsKernelHandle", args="handle", since=(6, 0))
def ob_is_kernel_handle(m: Machine, handle: int) -> int:
    return int(m.objects.is_kernel_handle(handle))


@export("ObQueryNameString", args="ptr, ptr, ulong, ptr")
def ob_query_name_string(m: Machine, address: int, buffer: int, length: int, needed_out: int) -> int:
    """OBJECT_NAME_INFORMATION: a UNICODE_STRING, then its zero-terminated text. Keys answer for
    themselves."""
    need_irql(m, 0, "ObQueryNameString", "nf-ntifs-obquerynamestring")
    obj = _object(m, address, "ObQueryNameString")
    _dying(m, obj, "ObQueryNameString")
    if obj.type.query_name_string is not None:
        with m.previous_mode(KERNEL_MODE):  # the buffer is the driver's, whoever's thread it runs in
            return obj.type.query_name_string(obj, buffer, length, needed_out)
    name = obj.type.query_name(obj) if obj.type.query_name is not None else None
    head = m.memory.unicode_string_size
    raw = b"" if name is None else name.encode("utf-16-le", "surrogatepass") + b"\0\0"
    if needed_out:
        m.memory.put_u32(needed_out, head + len(raw))
    if length < head + len(raw):
        return NTSTATUS.INFO_LENGTH_MISMATCH
    if raw:
        m.memory.write(buffer + head, raw)
        m.memory.put_unicode_string(buffer, len(raw) - 2, len(raw), buffer + head)
    else:
        m.memory.put_unicode_string(buffer, 0, 0, 0)
    return NTSTATUS.SUCCESS


@export("ObMakeTemporaryObject", args="ptr")
def ob_make_temporary_object(m: Machine, address: int) -> None:
    obj = _object(m, address, "ObMakeTemporaryObject")
    if obj.permanent:
        obj.permanent = False
        m.kernel.namespace.remove(obj)
        m.objects.dereference(obj)


@export("ObCloseHandle", args="handle, uchar", since=(6, 0))
def ob_close_handle(m: Machine, handle: int, mode: int) -> int:
    need_irql(m, 0, "ObCloseHandle", "nf-ntifs-obclosehandle")
    return m.objects.close(handle, mode & 0xFF)


def _close(m: Machine, handle: int, mode: int) -> int:
    return m.objects.close(handle, mode)


@export("ZwClose", args="handle")
def zw_close(m: Machine, handle: int) -> int:
    need_zw(m, "ZwClose")
    with m.previous_mode(KERNEL_MODE):
        return _close(m, handle, KERNEL_MODE)


@export("NtClose", args="handle")
def nt_close(m: Machine, handle: int) -> int:
    need_irql(m, APC_LEVEL, "NtClose", "nf-ntifs-ntclose")
    return _close(m, handle, m.current.previous_mode)


@export("ZwMakeTemporaryObject", args="handle")
def zw_make_temporary_object(m: Machine, handle: int) -> int:
    found = m.objects.resolve(handle)
    if isinstance(found, int):
        return found
    ob_make_temporary_object(m, found.address)
    return NTSTATUS.SUCCESS


@export("ZwDuplicateObject", args="handle, handle, handle, ptr, ulong, ulong, ulong")
@export("NtDuplicateObject", args="handle, handle, handle, ptr, ulong, ulong, ulong")
def zw_duplicate_object(
    m: Machine,
    source_process: int,
    source: int,
    target_process: int,
    out: int,
    access: int,
    attributes: int,
    options: int,
) -> int:
    need_zw(m, "ZwDuplicateObject")
    processes = m.kernel.processes
    owner = m.objects.resolve(source_process, processes.process_type)
    if isinstance(owner, int):
        return owner
    with m.kernel.in_process(owner.body.process):
        entry = m.objects.lookup(source)
        found = m.objects.resolve(source)
    if isinstance(found, int):
        return found
    if target_process:
        target = m.objects.resolve(target_process, processes.process_type)
        if isinstance(target, int):
            return target
        table = None if attributes & _OBJ_KERNEL_HANDLE else target.body.handles
        have = entry.access if entry is not None else found.type.mapping.all
        granted = have if options & _DUPLICATE_SAME_ACCESS else found.type.mapping.apply(access)
        value = m.objects.open_handle(found, granted, table=table, attributes=attributes)
        if entry is not None and entry.notes is not None:
            copy = m.objects.kernel_handles if table is None else table
            copy.entries[value].notes = entry.notes
        if out:
            m.memory.put_ptr(out, value)
    if options & _DUPLICATE_CLOSE_SOURCE:
        with m.kernel.in_process(owner.body.process):
            m.objects.close(source)
    return NTSTATUS.SUCCESS
