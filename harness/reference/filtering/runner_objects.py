"""Operations of a program on any handle: close, duplicate, names, security; events, devices, processes."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from harness.reference.cm.tokens import ADMINISTRATORS
from harness.reference.faults import GuestFault
from harness.reference.filtering.runner_state import Prepared, Run
from harness.reference.kernel.dispatcher import DispatcherType, initialise
from harness.reference.kernel.layouts import layout
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
    "allocate_memory",
    "close",
    "create_event",
    "device_control",
    "duplicate_handle",
    "free_memory",
    "impersonate",
    "query_object_basic",
    "query_object_name",
    "query_security",
    "revert",
    "set_event",
    "set_security",
    "terminate_process",
    "wait",
    "write_memory",
]

_BASIC: Final = struct.Struct("<4I2I3I3Iq")
_EVENT_ALL_ACCESS: Final = 0x1F0003
_EVENT_MODIFY_STATE: Final = 2
_SYNCHRONIZE: Final = 0x100000
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


def set_security(run: Run, operation: Operation, descriptor_at: int) -> Prepared:
    """NtSetSecurityObject."""
    value, information = run.handle(operation.handle), operation.security_information

    def call() -> int:
        handle = _lookup(run, value, _right(information, _WRITE_RIGHTS))
        if isinstance(handle, int):
            return handle
        procedure = handle.object.type.set_security
        if procedure is None:
            return NTSTATUS.INVALID_PARAMETER
        return procedure(handle.object, information, descriptor_at)

    return Prepared(call, input_at=descriptor_at)


def create_event(run: Run, operation: Operation) -> Prepared:
    """NtCreateEvent: a notification event that is not signalled."""
    objects, machine = run.engine.objects, run.engine.machine
    handle_at = run.memory.pointer_cell()

    def call() -> int:
        size = layout("KEVENT", machine.memory.pointer_size).size
        event = objects.create(objects.types["Event"], None)
        initialise(machine, event.address, DispatcherType.NOTIFICATION_EVENT, size, 0)
        table = machine.current.process.body.handles
        handle = objects.open_handle(event, _EVENT_ALL_ACCESS, table=table)
        objects.dereference(event)
        machine.memory.put_ptr(handle_at, handle)
        return NTSTATUS.SUCCESS

    return Prepared(call, handle_at=handle_at)


def _event(run: Run, operation: Operation, access: int) -> KernelObject | int:
    objects = run.engine.objects
    return objects.resolve(run.handle(operation.handle), objects.types["Event"], access, USER_MODE)


def set_event(run: Run, operation: Operation) -> Prepared:
    """NtSetEvent."""

    def call() -> int:
        event = _event(run, operation, _EVENT_MODIFY_STATE)
        if isinstance(event, int):
            return event
        run.engine.machine.kernel.scheduler.signal(event.address)
        return NTSTATUS.SUCCESS

    return Prepared(call)


def wait(run: Run, operation: Operation) -> Prepared:
    """NtWaitForSingleObject; the others run meanwhile."""
    machine = run.engine.machine

    def call() -> int:
        event = _event(run, operation, _SYNCHRONIZE)
        if isinstance(event, int):
            return event
        scheduler, limit = machine.kernel.scheduler, operation.milliseconds
        deadline = None if limit is None else scheduler.now + limit * 10_000
        what = "NtWaitForSingleObject"
        return scheduler.wait((event.address,), wait_all=False, deadline=deadline, what=what)

    return Prepared(call)


def impersonate(run: Run, operation: Operation) -> Prepared:
    """A token for the thread: its process' without privileges and without the group of administrators."""
    machine = run.engine.machine

    def call() -> int:
        own = machine.current.process.body.token
        less = replace(own, groups=own.groups - {ADMINISTRATORS}, privileges=frozenset(), owner=own.user)
        run.impersonate(machine.kernel.processes.create_token(less))
        return NTSTATUS.SUCCESS

    return Prepared(call)


def revert(run: Run, operation: Operation) -> Prepared:
    """The thread has no token of its own any more."""

    def call() -> int:
        run.impersonate(None)
        return NTSTATUS.SUCCESS

    return Prepared(call)


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


def terminate_process(run: Run, operation: Operation) -> Prepared:
    """NtTerminateProcess: the system closes the handles in the context of the ending process."""
    process = run.runners.process(operation.process)

    def call() -> int:
        run.terminated.add(process.pid)
        if operation.process not in run.standing:
            run.close_handles(operation.process)
        return NTSTATUS.SUCCESS

    return Prepared(call, after=lambda: run.ending.append(operation.process))


def allocate_memory(run: Run, operation: Operation) -> Prepared:
    """NtAllocateVirtualMemory; what is given is stored before the requester goes on."""
    data = operation.data or b""
    size = max(operation.length, len(data))
    handle_at = run.memory.pointer_cell()

    def call() -> int:
        if not size:
            return NTSTATUS.INVALID_PARAMETER
        address = run.memory.map(size)
        run.engine.memory.write(address, data)
        run.engine.memory.put_ptr(handle_at, address)
        return NTSTATUS.SUCCESS

    return Prepared(call, handle_at=handle_at, pages=size)


def write_memory(run: Run, operation: Operation) -> Prepared:
    """NtWriteVirtualMemory into the caller's own memory."""
    address = run.handle(operation.handle) + operation.index

    def call() -> int:
        try:
            run.engine.memory.user_write(address, operation.data or b"")
        except GuestFault:
            return NTSTATUS.PARTIAL_COPY
        return NTSTATUS.SUCCESS

    return Prepared(call)


def free_memory(run: Run, operation: Operation) -> Prepared:
    """NtFreeVirtualMemory of what `allocate_memory` gave."""
    address = run.handle(operation.handle)

    def call() -> int:
        slot = next((each for each in run.pages if run.slots[each] == address and each in run.open), None)
        if slot is None:
            return NTSTATUS.MEMORY_NOT_ALLOCATED
        run.memory.free(address, run.pages[slot])
        run.closed(address, operation.process, memory=True)
        return NTSTATUS.SUCCESS

    return Prepared(call)
