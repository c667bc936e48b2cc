"""The system service that reads several values at once: NtQueryMultipleValueKey.

Source: nf-winternl-ntquerymultiplevaluekey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.filtering.request import Requester, ServiceFailure, service
from harness.registry.access import KEY_QUERY_VALUE
from harness.registry.notify import Operation
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.filtering.engine import FilterEngine

__all__ = ["query_multiple_value_key"]

_MAX_VALUES: Final = 0x10000


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
        """Describe the data of one value: its length and offset in bytes, and its REG_ type."""
        at = self.shown_entries + index * self._size + self._pointer
        for offset, value in ((0, data_length), (4, data_offset), (8, type_)):
            self._memory.put_u32(at + offset, value)

    def put_length(self, value: int) -> None:
        """Set *BufferLength to the bytes that were returned."""
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
    with who.holding(handle, KEY_QUERY_VALUE) as key:
        if count > _MAX_VALUES:
            raise ServiceFailure(NTSTATUS.INSUFFICIENT_RESOURCES)
        query = _MultipleQuery(who, entries_at, count, length_at)
        who.probe_write(buffer, query.length, 4)
        if required_at:
            who.probe_write(required_at, 4, 4)

        def head(_: Scratch) -> tuple[int, ...]:
            return key.address, query.shown_entries, count, buffer, query.shown_length, required_at

        @who.fault_is_status
        def perform() -> int:
            names = [name.text for name in query.names]
            result = engine.cm.query_multiple_values(
                key.key, names, query.length, transaction=key.transaction
            )
            for index, entry in enumerate(result.entries):
                query.put(index, entry.data_length, entry.data_offset, entry.type)
            if result.data:
                engine.memory.write(buffer, result.data)
            if result.status in (NTSTATUS.SUCCESS, NTSTATUS.BUFFER_OVERFLOW):
                query.put_length(len(result.data))
                who.write_u32(required_at, result.required)
            return result.status

        with engine.memory.scratch() as scratch:  # the copies outlive the notifications
            if engine.template(Operation.QUERY_MULTIPLE_VALUE_KEY) is not None:
                query.show(scratch)
            status = engine.run(Operation.QUERY_MULTIPLE_VALUE_KEY, key, head, perform)
            query.copy_back()
            return status
