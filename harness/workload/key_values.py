"""Operations on the values of a key: set, delete, query, enumerate."""

from __future__ import annotations

from collections.abc import Iterable

from harness.registry.infoclasses import KeyValueInformationClass
from harness.workload.keys import DEFAULT_LENGTH, Enumeration, OperationsOnKeys
from harness.workload.opcodes import Opcode
from harness.workload.recorder import Expected, Handle
from harness.workload.step import Step
from harness.workload.values import RegistryValue, encode_value

__all__ = ["OperationsOnValues"]


class OperationsOnValues(OperationsOnKeys):
    """The part of `ProgramBuilder` for values."""

    def set_value(
        self,
        key: Handle,
        name: str | None,
        value: RegistryValue,
        *,
        type: int | None = None,
        data_size: int | None = None,
        title_index: int = 0,
        name_maximum: int | None = None,
        address: int | None = None,
        buffer: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtSetValueKey. `value` as in `harness.workload.values`; None passes a NULL pointer."""
        typed = encode_value(value, type)
        return self.record(
            Opcode.SET_VALUE,
            handle=self.slot_of(key),
            value_name=name,
            type=int(typed.type),
            data=typed.data,
            data_size=data_size,
            title_index=title_index,
            name_maximum=name_maximum,
            address=address,
            buffer=self.buffer_of(buffer),
            expect=expect,
        )

    def delete_value(
        self, key: Handle, name: str | None, *, name_maximum: int | None = None, expect: Expected = None
    ) -> Step:
        """NtDeleteValueKey."""
        return self.record(
            Opcode.DELETE_VALUE,
            handle=self.slot_of(key),
            value_name=name,
            name_maximum=name_maximum,
            expect=expect,
        )

    def query_value(
        self,
        key: Handle,
        name: str | None,
        info_class: int = KeyValueInformationClass.PARTIAL,
        *,
        length: int = DEFAULT_LENGTH,
        name_maximum: int | None = None,
        address: int | None = None,
        buffer: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtQueryValueKey; `.value`, `.text`, `.dword`, `.data` and `.value_information` decode it."""
        return self.record(
            Opcode.QUERY_VALUE,
            handle=self.slot_of(key),
            value_name=name,
            info_class=int(info_class),
            length=length,
            name_maximum=name_maximum,
            address=address,
            buffer=self.buffer_of(buffer),
            expect=expect,
        )

    def enumerate_value(
        self,
        key: Handle,
        index: int,
        info_class: int = KeyValueInformationClass.FULL,
        *,
        length: int = DEFAULT_LENGTH,
        address: int | None = None,
        buffer: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtEnumerateValueKey."""
        return self.record(
            Opcode.ENUMERATE_VALUE,
            handle=self.slot_of(key),
            index=index,
            info_class=int(info_class),
            length=length,
            address=address,
            buffer=self.buffer_of(buffer),
            expect=expect,
        )

    def enumerate_values(self, key: Handle, count: int) -> Enumeration:
        """NtEnumerateValueKey for the indexes 0 to `count` - 1; `.names` lists what was there."""
        return Enumeration(self.enumerate_value(key, index) for index in range(count))

    def query_multiple(
        self,
        key: Handle,
        names: Iterable[str],
        *,
        length: int = DEFAULT_LENGTH,
        null_required: bool = False,
        buffer: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtQueryMultipleValueKey; `.values` decodes it."""
        return self.record(
            Opcode.QUERY_MULTIPLE,
            handle=self.slot_of(key),
            value_names=tuple(names),
            length=length,
            null_result=null_required,
            buffer=self.buffer_of(buffer),
            expect=expect,
        )
