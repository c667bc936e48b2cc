"""What the object manager asks of key objects: their security, their names, a handle by pointer.

Sources: nf-ntifs-ntquerysecurityobject, nf-ntifs-ntsetsecurityobject, nf-ntifs-obquerynamestring,
nf-wdm-obopenobjectbypointer, ns-wdm-_reg_query_key_security_information, ns-wdm-_reg_query_key_name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.filtering.descriptors import read_descriptor
from harness.reference.filtering.request import Requester, service
from harness.reference.kernel.objects import KernelObject
from harness.registry.notify import Operation
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.filtering.keyobject import KeyObject

__all__ = ["check_open", "query_name_string", "query_security", "set_security"]

_MAX_NAME: Final = 0xFFFE


@service
def query_security(
    engine: FilterEngine, obj: KernelObject, information: int, buffer: int, length: int, needed_at: int
) -> int:
    """The query part of NtQuerySecurityObject; rights of the handle were checked by the caller.

    Length of the structure points at a kernel cell: the buffer's size on entry, what is needed on return
    (B-HIV-17).
    """
    who = Requester(engine)
    key: KeyObject = obj.body
    who.probe_write(buffer, length, 4)
    who.probe_write(needed_at, 4, 4)
    needed = 0
    with engine.memory.scratch() as outer:
        length_cell = outer.pointer(length)

        def head(scratch: Scratch) -> tuple[int, ...]:
            return key.address, scratch.pointer(information), buffer, length_cell

        @who.fault_is_status
        def perform() -> int:
            result = engine.cm.query_security(key.key, information, length)
            engine.memory.put_u32(length_cell, result.result_length)
            if result.data:
                engine.memory.write(buffer, result.data)
            return result.status

        status = engine.run(Operation.QUERY_KEY_SECURITY, key, head, perform)
        needed = engine.memory.u32(length_cell)
    if status in (NTSTATUS.SUCCESS, NTSTATUS.BUFFER_TOO_SMALL):
        who.write_u32(needed_at, needed)
    return status


@service
def set_security(engine: FilterEngine, obj: KernelObject, information: int, descriptor_at: int) -> int:
    """The change part of NtSetSecurityObject; a user-mode descriptor is captured on every version."""
    who = Requester(engine)
    key: KeyObject = obj.body
    descriptor = read_descriptor(who, descriptor_at)

    def head(scratch: Scratch) -> tuple[int, ...]:
        shown = scratch.bytes(descriptor) if who.user else descriptor_at
        return key.address, scratch.pointer(information), shown

    def perform() -> int:
        return engine.cm.set_security(key.key, information, descriptor, caller=who.caller())

    return engine.run(Operation.SET_KEY_SECURITY, key, head, perform)


@service
def query_name_string(
    engine: FilterEngine, obj: KernelObject, buffer: int, length: int, needed_at: int
) -> int:
    """ObQueryNameString, NtQueryObject(ObjectNameInformation) on a key; notified from Windows 10 (B-HIV-18).

    A short buffer gets STATUS_INFO_LENGTH_MISMATCH, from build 17133 on STATUS_SUCCESS with a return length
    beyond the buffer (B-HIV-20).
    """
    who = Requester(engine)
    key: KeyObject = obj.body
    who.probe_write(buffer, length, engine.memory.pointer_size)
    if needed_at:
        who.probe_write(needed_at, 4, 4)

    def head(_: Scratch) -> tuple[int, ...]:
        return key.address, buffer, length, needed_at

    @who.fault_is_status
    def perform() -> int:
        memory = engine.memory
        raw = engine.keys.raw_path(key)
        header = memory.unicode_string_size
        if len(raw) > _MAX_NAME - 2:
            return NTSTATUS.NAME_TOO_LONG
        needed = header + len(raw) + 2
        who.write_u32(needed_at, needed)
        if length < needed:
            if length >= header and engine.version.short_name_query_succeeds:
                memory.put_unicode_string(buffer, 0, 0, 0)
                return NTSTATUS.SUCCESS
            return NTSTATUS.INFO_LENGTH_MISMATCH
        memory.write(buffer + header, raw + b"\0\0")
        memory.put_unicode_string(buffer, len(raw), len(raw) + 2, buffer + header)
        return NTSTATUS.SUCCESS

    return engine.run(Operation.QUERY_KEY_NAME, key, head, perform)


def check_open(engine: FilterEngine, obj: KernelObject, access: int, mode: int) -> int:
    """ObOpenObjectByPointer on a key object: a status.

    From Windows 8.1 on the object of a create or open post can't be opened (B-OBJ-11); the page promises no
    status, the model's is STATUS_ACCESS_DENIED.
    """
    key: KeyObject = obj.body
    if key.in_post_open and not engine.version.can_open_post_object:
        return NTSTATUS.ACCESS_DENIED
    return NTSTATUS.SUCCESS
