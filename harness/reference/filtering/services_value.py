"""System services on values: set, delete, query, enumerate, query several.

Sources: nf-wdm-zwsetvaluekey, nf-wdm-zwdeletevaluekey, nf-wdm-zwqueryvaluekey, nf-wdm-zwenumeratevaluekey,
nf-winternl-ntquerymultiplevaluekey; statuses of short buffers are the configuration manager's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.faults import GuestFault
from harness.reference.filtering.request import Requester, ServiceFailure, service
from harness.registry.access import KEY_QUERY_VALUE, KEY_SET_VALUE
from harness.registry.infoclasses import KeyValueInformationClass
from harness.registry.notify import Operation
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.cm.manager import QueryResult
    from harness.reference.filtering.engine import FilterEngine

__all__ = [
    "delete_value_key",
    "enumerate_value_key",
    "put_query_result",
    "query_multiple_value_key",
    "query_value_key",
    "set_value_key",
]

_MAX_VALUES: Final = 0x10000
_LAST_CLASS: Final = max(KeyValueInformationClass)


def put_query_result(who: Requester, result: QueryResult, buffer: int, result_length: int) -> int:
    """Give a query's outcome to the requester; returns the operation's status.

    A buffer that went away after it was probed is the requester's fault, not the operation's end: the
    callbacks still get their post with STATUS_ACCESS_VIOLATION.
    """
    try:
        if result.data:
            who.memory.write(buffer, result.data)
        if result_length and (result.status == NTSTATUS.SUCCESS or result.result_length):
            who.memory.put_u32(result_length, result.result_length)
    except GuestFault:
        if not who.user:
            raise
        return NTSTATUS.ACCESS_VIOLATION
    return result.status


@service
def set_value_key(
    engine: FilterEngine, handle: int, name_at: int, title_index: int, type_: int, data_at: int, size: int
) -> int:
    """NtSetValueKey. Data is the one member Windows 7 leaves in the requester's memory (B-CAP-04)."""
    who = Requester(engine)
    key = who.key(handle, KEY_SET_VALUE)
    try:
        name = who.string(name_at)
        who.probe_read(data_at, size)
        data = engine.memory.read(data_at, size) if who.captures else None

        def head(scratch: Scratch) -> tuple[int, ...]:
            shown = who.show_string(scratch, name, captured=True)
            return key.address, shown, title_index, type_, who.show_data(scratch, data_at, data), size

        def perform() -> int:
            try:
                raw = engine.memory.read(data_at, size) if data is None else data
            except GuestFault:
                if not who.user:
                    raise
                return NTSTATUS.ACCESS_VIOLATION
            return engine.cm.set_value(key.key, name.text, type_, raw, transaction=key.transaction)

        return engine.run(Operation.SET_VALUE_KEY, key, head, perform)
    finally:
        engine.keys.release(key)


@service
def delete_value_key(engine: FilterEngine, handle: int, name_at: int) -> int:
    """NtDeleteValueKey."""
    who = Requester(engine)
    key = who.key(handle, KEY_SET_VALUE)
    try:
        name = who.string(name_at)

        def head(scratch: Scratch) -> tuple[int, ...]:
            return key.address, who.show_string(scratch, name, captured=False)

        def perform() -> int:
            return engine.cm.delete_value(key.key, name.text, transaction=key.transaction)

        return engine.run(Operation.DELETE_VALUE_KEY, key, head, perform)
    finally:
        engine.keys.release(key)


@service
def query_value_key(
    engine: FilterEngine,
    handle: int,
    name_at: int,
    info_class: int,
    buffer: int,
    length: int,
    result_length: int,
) -> int:
    """NtQueryValueKey."""
    who = Requester(engine)
    key = who.key(handle, KEY_QUERY_VALUE)
    try:
        if info_class > _LAST_CLASS:
            return NTSTATUS.INVALID_PARAMETER
        who.probe_write(buffer, length, 4)
        who.probe_write(result_length, 4, 4)
        name = who.string(name_at)

        def head(scratch: Scratch) -> tuple[int, ...]:
            shown = who.show_string(scratch, name, captured=False)
            return key.address, shown, info_class, buffer, length, result_length

        def perform() -> int:
            result = engine.cm.query_value(
                key.key, name.text, info_class, length, transaction=key.transaction
            )
            return put_query_result(who, result, buffer, result_length)

        return engine.run(Operation.QUERY_VALUE_KEY, key, head, perform)
    finally:
        engine.keys.release(key)


@service
def enumerate_value_key(
    engine: FilterEngine,
    handle: int,
    index: int,
    info_class: int,
    buffer: int,
    length: int,
    result_length: int,
) -> int:
    """NtEnumerateValueKey."""
    who = Requester(engine)
    key = who.key(handle, KEY_QUERY_VALUE)
    try:
        if info_class > _LAST_CLASS:
            return NTSTATUS.INVALID_PARAMETER
        who.probe_write(buffer, length, 4)
        who.probe_write(result_length, 4, 4)

        def head(scratch: Scratch) -> tuple[int, ...]:
            return key.address, index, info_class, buffer, length, result_length

        def perform() -> int:
            result = engine.cm.enumerate_value(
                key.key, index, info_class, length, transaction=key.transaction
            )
            return put_query_result(who, result, buffer, result_length)

        return engine.run(Operation.ENUMERATE_VALUE_KEY, key, head, perform)
    finally:
        engine.keys.release(key)


class _MultipleQuery:
    """The arrays of NtQueryMultipleValueKey: the requester's, and the copies that callbacks are shown.

    Where input is captured, callbacks see a kernel copy of the entries and of *BufferLength; what is in the
    copies at the end is what the requester gets, whether the operation or a bypassing callback wrote it.
    """

    def __init__(self, who: Requester, entries_at: int, count: int, length_at: int) -> None:
        self._who = who
        self._memory = who.memory
        pointer = who.memory.pointer_size
        self._size = pointer + 4 * (4 if pointer == 8 else 3)  # x64 pads KEY_VALUE_ENTRY to 0x18
        self._pointer = pointer
        self._entries_at = entries_at
        self._length_at = length_at
        self.count = count
        who.probe_write(entries_at, count * self._size, pointer)
        who.probe_write(length_at, 4, 4)
        self.names = [who.string(who.memory.ptr(entries_at + index * self._size)) for index in range(count)]
        self.length = who.memory.u32(length_at)
        self.shown_entries = entries_at
        self.shown_length = length_at

    def show(self, scratch: Scratch) -> None:
        """Make the copies a version that captures shows."""
        if not self._who.captures:
            return
        memory = self._memory
        self.shown_entries = scratch.bytes(memory.read(self._entries_at, self.count * self._size))
        for index, name in enumerate(self.names):
            memory.put_ptr(
                self.shown_entries + index * self._size, self._who.show_string(scratch, name, captured=True)
            )
        self.shown_length = scratch.pointer(self.length)

    def put(self, index: int, data_length: int, data_offset: int, type_: int) -> None:
        at = self.shown_entries + index * self._size + self._pointer
        for offset, value in ((0, data_length), (4, data_offset), (8, type_)):
            self._memory.put_u32(at + offset, value)

    def put_length(self, value: int) -> None:
        self._memory.put_u32(self.shown_length, value)

    def copy_back(self) -> None:
        """The results of the copies become the requester's; its own name pointers stay."""
        if self.shown_entries == self._entries_at:
            return
        memory = self._memory
        for index in range(self.count):
            at = index * self._size + self._pointer
            memory.write(self._entries_at + at, memory.read(self.shown_entries + at, 12))
        memory.put_u32(self._length_at, memory.u32(self.shown_length))


@service
def query_multiple_value_key(
    engine: FilterEngine,
    handle: int,
    entries_at: int,
    count: int,
    buffer: int,
    length_at: int,
    required_at: int,
) -> int:
    """NtQueryMultipleValueKey. RequiredBufferLength may be NULL."""
    who = Requester(engine)
    key = who.key(handle, KEY_QUERY_VALUE)
    try:
        if count > _MAX_VALUES:
            raise ServiceFailure(NTSTATUS.INSUFFICIENT_RESOURCES)
        query = _MultipleQuery(who, entries_at, count, length_at)
        who.probe_write(buffer, query.length, 4)
        if required_at:
            who.probe_write(required_at, 4, 4)

        def head(_: Scratch) -> tuple[int, ...]:
            return key.address, query.shown_entries, count, buffer, query.shown_length, required_at

        def perform() -> int:
            names = [name.text for name in query.names]
            result = engine.cm.query_multiple_values(
                key.key, names, query.length, transaction=key.transaction
            )
            try:
                for index, entry in enumerate(result.entries):
                    query.put(index, entry.data_length, entry.data_offset, entry.type)
                if result.data:
                    engine.memory.write(buffer, result.data)
                if result.status in (NTSTATUS.SUCCESS, NTSTATUS.BUFFER_OVERFLOW):
                    query.put_length(len(result.data))
                    who.write_u32(required_at, result.required)
            except GuestFault:
                if not who.user:
                    raise
                return NTSTATUS.ACCESS_VIOLATION
            return result.status

        with engine.memory.scratch() as scratch:  # the copies outlive the notifications
            if engine.template(Operation.QUERY_MULTIPLE_VALUE_KEY) is not None:
                query.show(scratch)
            status = engine.run(Operation.QUERY_MULTIPLE_VALUE_KEY, key, head, perform)
            query.copy_back()
            return status
    finally:
        engine.keys.release(key)
