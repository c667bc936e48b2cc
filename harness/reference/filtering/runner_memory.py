"""User memory of the runner: buffers of a native call and what the call left in them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from harness.reference.faults import GuestFault
from harness.reference.kernel.layouts import layout
from harness.workload.opcodes import FILL_BYTE

if TYPE_CHECKING:
    from harness.reference.memory import Memory

__all__ = ["UserMemory"]

#: OBJECT_ATTRIBUTES by pointer size: Length, RootDirectory, ObjectName, Attributes, SecurityDescriptor, ...
_OBJECT_ATTRIBUTES: Final = {4: struct.Struct("<6I"), 8: struct.Struct("<I4xQQI4xQQ")}
_UNWRITTEN: Final = FILL_BYTE * 0x01010101


class UserMemory:
    """Allocations live until the program ends."""

    __slots__ = ("_attributes", "_memory", "_shape", "pointer_size")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.pointer_size = memory.pointer_size
        self._shape = layout("OBJECT_ATTRIBUTES", memory.pointer_size)
        self._attributes = _OBJECT_ATTRIBUTES[memory.pointer_size]

    def store(self, data: bytes) -> int:
        """The address of a copy; a valid address for no bytes too."""
        address = self._memory.alloc_user(max(len(data), 1))
        self._memory.write(address, data)
        return address

    def data(self, data: bytes | None) -> int:
        """An input buffer; NULL for None."""
        return 0 if data is None else self.store(data)

    def buffer(self, size: int) -> int:
        """An output buffer full of FILL_BYTE; NULL for no bytes."""
        return self.store(bytes((FILL_BYTE,)) * size) if size else 0

    def cell(self) -> int:
        """A ULONG or pointer output, not written yet."""
        return self.store(bytes((FILL_BYTE,)) * 8)

    def ulong_cell(self, value: int) -> int:
        """A ULONG input and output."""
        return self.store(value.to_bytes(8, "little"))

    def pointer_cell(self) -> int:
        """A HANDLE output that starts as NULL."""
        return self.store(bytes(8))

    def map(self, size: int) -> int:
        """Pages of their own."""
        return self._memory.map_user(size)

    def free(self, address: int, size: int) -> None:
        """Take such pages away."""
        self._memory.unmap_user(address, size)

    def string(self, text: str | None, maximum: int | None = None) -> tuple[int, int]:
        """Addresses of a UNICODE_STRING and of its characters; a NULL buffer for None."""
        raw = b"" if text is None else text.encode("utf-16-le", "surrogatepass")
        size = self._memory.unicode_string_size
        address = self.store(bytes(size) + raw + b"\0\0")
        buffer = 0 if text is None else address + size
        limit = len(raw) if maximum is None else maximum
        self._memory.put_unicode_string(address, len(raw), limit, buffer)
        return address, buffer

    def attributes(self, name_at: int, *, root: int = 0, attributes: int = 0, descriptor_at: int = 0) -> int:
        """OBJECT_ATTRIBUTES."""
        size = self._shape.size
        given = (size, root, name_at, attributes, descriptor_at, 0)
        return self.store(self._attributes.pack(*given))

    def output(self, address: int, size: int) -> bytes:
        """An output buffer without the trailing bytes that still are FILL_BYTE; empty when it is gone."""
        if not address or not size:
            return b""
        try:
            return self._memory.read(address, size).rstrip(bytes((FILL_BYTE,)))
        except GuestFault:
            return b""

    def ulong(self, address: int) -> int | None:
        """A ULONG output; None when there is none or it was not written."""
        if not address:
            return None
        value = self._memory.u32(address)
        return None if value == _UNWRITTEN else value

    def pointer(self, address: int) -> int:
        return self._memory.ptr(address)

    def entries(self, address: int, count: int) -> list[tuple[int, int, int]]:
        """DataLength, DataOffset and Type of an array of KEY_VALUE_ENTRY."""
        size = self.entry_size
        found = []
        for index in range(count):
            at = address + index * size + self.pointer_size
            found.append((self._memory.u32(at), self._memory.u32(at + 4), self._memory.u32(at + 8)))
        return found

    @property
    def entry_size(self) -> int:
        """Bytes of a KEY_VALUE_ENTRY."""
        return 24 if self.pointer_size == 8 else 16

    def entry_array(self, names: list[int]) -> int:
        """An array of KEY_VALUE_ENTRY whose outputs are 0."""
        size = self.entry_size
        address = self._memory.alloc_user(max(size * len(names), 1))
        for index, name in enumerate(names):
            self._memory.put_ptr(address + index * size, name)
        return address
