"""Operations of a program on objects of any kind: close, duplicate, names, security; a device's requests."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.faults import GuestFault
from harness.reference.filtering.runner_arguments import descriptor_of
from harness.reference.filtering.runner_state import Prepared, Run
from harness.reference.kernel.objects import USER_MODE, Handle, KernelObject
from harness.registry.access import (
    ACCESS_SYSTEM_SECURITY,
    READ_CONTROL,
    WRITE_DAC,
    WRITE_OWNER,
    SecurityInformation,
)
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.workload.program import Operation

__all__ = [
    "close",
    "device_control",
    "duplicate_handle",
    "query_object_basic",
    "query_object_name",
    "query_security",
    "set_security",
]

_BASIC: Final = struct.Struct("<4I2I3I3Iq")
_FAILURE_BIT: Final = 0x80000000


def close(run: Run, operation: Operation) -> Prepared:
    """NtClose."""
    value = run.handle(operation.handle)

    def call() -> int:
        status = run.engine.objects.close(value, USER_MODE)
        if not status & _FAILURE_BIT:
            run.closed(value, operation.process)
        return status

    return Prepared(call)


def duplicate_handle(run: Run, operation: Operation) -> Prepared:
    """NtDuplicateObject into a process' table; no access means DUPLICATE_SAME_ACCESS."""
    objects = run.engine.objects
    value = run.handle(operation.handle)
    target = run.runners.process(operation.target_process)
    handle_at = run.memory.pointer_cell()

    def call() -> int:
        source = objects.lookup(value, USER_MODE)
        if source is None:
            return NTSTATUS.INVALID_HANDLE
        access = operation.access or source.access
        new = objects.duplicate(source, target.body.handles, access, source.attributes)
        run.engine.memory.put_ptr(handle_at, new)
        return NTSTATUS.SUCCESS

    return Prepared(call, handle_at=handle_at)


def _lookup(run: Run, value: int, access: int) -> Handle | int:
    handle = run.engine.objects.lookup(value, USER_MODE)
    if handle is None:
        return NTSTATUS.INVALID_HANDLE
    return NTSTATUS.ACCESS_DENIED if access & ~handle.access else handle


def query_object_name(run: Run, operation: Operation) -> Prepared:
    """NtQueryObject(ObjectNameInformation)."""
    value = run.handle(operation.handle)
    output = run.output(operation)
    length_at = run.memory.cell()

    def call() -> int:
        handle = _lookup(run, value, 0)
        if isinstance(handle, int):
            return handle
        obj = handle.object
        if obj.type.query_name_string is not None:
            return obj.type.query_name_string(obj, output, operation.length, length_at)
        return _plain_name(run, obj, output, operation.length, length_at)

    return Prepared(call, output_at=output, output_size=operation.length, result_length_at=length_at)


def _plain_name(run: Run, obj: KernelObject, output: int, length: int, length_at: int) -> int:
    """The name of an object without a procedure of its own for it."""
    memory = run.engine.memory
    name = obj.type.query_name(obj) if obj.type.query_name is not None else None
    raw = (name or "").encode("utf-16-le", "surrogatepass")
    header = memory.unicode_string_size
    needed = header + (len(raw) + 2 if raw else 0)
    memory.put_u32(length_at, needed)
    if length < needed:
        return NTSTATUS.INFO_LENGTH_MISMATCH
    try:
        if raw:
            memory.write(output + header, raw + b"\0\0")
        memory.put_unicode_string(output, len(raw), len(raw) + 2 if raw else 0, output + header if raw else 0)
    except GuestFault:
        return NTSTATUS.ACCESS_VIOLATION
    return NTSTATUS.SUCCESS


def query_object_basic(run: Run, operation: Operation) -> Prepared:
    """NtQueryObject(ObjectBasicInformation): attributes, granted access and counts."""
    value = run.handle(operation.handle)
    output = run.memory.buffer(operation.length)
    length_at = run.memory.cell()

    def call() -> int:
        handle = _lookup(run, value, 0)
        if isinstance(handle, int):
            return handle
        run.engine.memory.put_u32(length_at, _BASIC.size)
        if operation.length < _BASIC.size:
            return NTSTATUS.INFO_LENGTH_MISMATCH
        obj = handle.object
        raw = _BASIC.pack(
            handle.attributes, handle.access, obj.handles, obj.references, 0, 0, 0, 0, 0, 0, 0, 0, 0
        )
        run.engine.memory.write(output, raw)
        return NTSTATUS.SUCCESS

    return Prepared(call, output_at=output, output_size=operation.length, result_length_at=length_at)


_READ_RIGHTS: Final = ((0x1F, READ_CONTROL),)
_WRITE_RIGHTS: Final = (
    (int(SecurityInformation.OWNER | SecurityInformation.GROUP | SecurityInformation.LABEL), WRITE_OWNER),
    (int(SecurityInformation.DACL), WRITE_DAC),
)


def _right(information: int, rights: tuple[tuple[int, int], ...]) -> int:
    """The access a handle needs for these parts of a descriptor (SecAuthZ/security-information)."""
    access = ACCESS_SYSTEM_SECURITY if information & SecurityInformation.SACL else 0
    for parts, right in rights:
        if information & parts & ~SecurityInformation.SACL:
            access |= right
    return access


def query_security(run: Run, operation: Operation) -> Prepared:
    """NtQuerySecurityObject."""
    value, information = run.handle(operation.handle), operation.security_information
    output = run.output(operation)
    length_at = run.memory.cell()

    def call() -> int:
        handle = _lookup(run, value, _right(information, _READ_RIGHTS))
        if isinstance(handle, int):
            return handle
        procedure = handle.object.type.query_security
        if procedure is None:
            return NTSTATUS.INVALID_PARAMETER
        return procedure(handle.object, information, output, operation.length, length_at)

    return Prepared(call, output_at=output, output_size=operation.length, result_length_at=length_at)


def set_security(run: Run, operation: Operation) -> Prepared:
    """NtSetSecurityObject."""
    value, information = run.handle(operation.handle), operation.security_information
    descriptor_at = descriptor_of(run, operation)

    def call() -> int:
        handle = _lookup(run, value, _right(information, _WRITE_RIGHTS))
        if isinstance(handle, int):
            return handle
        procedure = handle.object.type.set_security
        if procedure is None:
            return NTSTATUS.INVALID_PARAMETER
        return procedure(handle.object, information, descriptor_at)

    return Prepared(call, input_at=descriptor_at)


def device_control(run: Run, operation: Operation) -> Prepared:
    """NtDeviceIoControlFile on a device opened for this one request."""
    data = bytearray(operation.data or b"")
    for offset, slot in operation.patches:
        data[offset : offset + 8] = run.slots[slot].to_bytes(8, "little")
    outcome: list[tuple[bytes, int]] = []

    def call() -> int:
        result = run.engine.machine.kernel.device_control(
            operation.device or "", operation.code, bytes(data), operation.length
        )
        outcome.append((result.data, result.information))
        return result.status

    def direct() -> tuple[bytes, int]:
        return outcome[0] if outcome else (b"", 0)

    return Prepared(call, direct=direct)
