"""Registry calls the kernel makes for a driver: the Rtl routines, the service database, the harness itself.

They are ordinary system services from kernel mode, with all their notifications (B-NOT-33).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.filtering.services_open import create_key, open_key
from harness.reference.filtering.services_query import enumerate_value_key, query_value_key
from harness.reference.filtering.services_value import delete_value_key, set_value_key
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.objects import KERNEL_MODE
from harness.registry.access import KEY_ALL_ACCESS, KEY_READ, ObjectAttributes
from harness.registry.infoclasses import KeyValueInformationClass
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.filtering.engine import FilterEngine

__all__ = ["KernelCalls", "ValueData"]

_ATTRIBUTES: Final = int(ObjectAttributes.CASE_INSENSITIVE | ObjectAttributes.KERNEL_HANDLE)
_FIRST_BUFFER: Final = 256
_FULL: Final = int(KeyValueInformationClass.FULL)


@dataclass(frozen=True, slots=True)
class ValueData:
    """A value as it was read; on failure only `status` means anything."""

    status: int
    name: str = ""
    type: int = 0
    data: bytes = b""


class KernelCalls:
    """Zw-like calls with Python values. Handles are kernel handles of the caller."""

    def __init__(self, engine: FilterEngine) -> None:
        self._engine = engine
        self._memory = engine.memory

    def _kernel_mode(self) -> AbstractContextManager[None]:
        return self._engine.machine.previous_mode(KERNEL_MODE)

    def open(self, name: str, *, root: int = 0, access: int = KEY_READ) -> tuple[int, int]:
        """(status, handle) of ZwOpenKey."""
        with self._kernel_mode(), self._memory.scratch() as scratch:
            attributes = self._attributes(scratch, name, root)
            handle_at = scratch.pointer()
            status = open_key(self._engine, handle_at, access, attributes)
            return status, self._memory.ptr(handle_at)

    def create(self, name: str, *, root: int = 0, access: int = KEY_ALL_ACCESS) -> tuple[int, int]:
        """(status, handle) of ZwCreateKey."""
        with self._kernel_mode(), self._memory.scratch() as scratch:
            attributes = self._attributes(scratch, name, root)
            handle_at = scratch.pointer()
            status = create_key(self._engine, handle_at, access, attributes, 0, 0, 0, 0)
            return status, self._memory.ptr(handle_at)

    def _attributes(self, scratch: Scratch, name: str, root: int) -> int:
        """OBJECT_ATTRIBUTES in the scratch memory of the call under way."""
        memory = self._memory
        shape = layout("OBJECT_ATTRIBUTES", memory.pointer_size)
        address = scratch.alloc(shape.size)
        view = shape.at(memory, address)
        view["Length"] = shape.size
        view["RootDirectory"] = root
        view["ObjectName"] = scratch.unicode(name)
        view["Attributes"] = _ATTRIBUTES
        return address

    def close(self, handle: int) -> None:
        """ZwClose."""
        with self._kernel_mode():
            self._engine.objects.close(handle, KERNEL_MODE)

    def query(self, handle: int, name: str) -> ValueData:
        """ZwQueryValueKey with KeyValueFullInformation, again with a larger buffer where needed."""
        with self._kernel_mode(), self._memory.scratch() as scratch:
            name_at = scratch.unicode(name)
            size = _FIRST_BUFFER
            while True:
                buffer, length_at = scratch.alloc(size), scratch.pointer()
                status = query_value_key(self._engine, handle, name_at, _FULL, buffer, size, length_at)
                needed = self._memory.u32(length_at)
                if status in (NTSTATUS.BUFFER_OVERFLOW, NTSTATUS.BUFFER_TOO_SMALL) and needed > size:
                    size = needed
                    continue
                return ValueData(status) if status else self._full(buffer)

    def enumerate(self, handle: int, index: int) -> ValueData:
        """ZwEnumerateValueKey with KeyValueFullInformation."""
        with self._kernel_mode(), self._memory.scratch() as scratch:
            size = _FIRST_BUFFER
            while True:
                buffer, length_at = scratch.alloc(size), scratch.pointer()
                status = enumerate_value_key(self._engine, handle, index, _FULL, buffer, size, length_at)
                needed = self._memory.u32(length_at)
                if status in (NTSTATUS.BUFFER_OVERFLOW, NTSTATUS.BUFFER_TOO_SMALL) and needed > size:
                    size = needed
                    continue
                return ValueData(status) if status else self._full(buffer)

    def _full(self, buffer: int) -> ValueData:
        """Decode KEY_VALUE_FULL_INFORMATION: TitleIndex, Type, DataOffset, DataLength, NameLength, Name."""
        memory = self._memory
        type_, offset, length, name_length = (memory.u32(buffer + 4 * index) for index in range(1, 5))
        name = memory.read(buffer + 20, name_length).decode("utf-16-le", "surrogatepass")
        return ValueData(NTSTATUS.SUCCESS, name, type_, memory.read(buffer + offset, length))

    def set(self, handle: int, name: str, type_: int, data: bytes) -> int:
        """ZwSetValueKey."""
        with self._kernel_mode(), self._memory.scratch() as scratch:
            data_at = scratch.bytes(data) if data else 0
            return set_value_key(self._engine, handle, scratch.unicode(name), 0, type_, data_at, len(data))

    def delete(self, handle: int, name: str) -> int:
        """ZwDeleteValueKey."""
        with self._kernel_mode(), self._memory.scratch() as scratch:
            return delete_value_key(self._engine, handle, scratch.unicode(name))
