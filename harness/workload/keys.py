"""Operations on keys: create, open, delete, rename, query, enumerate, flush, watch."""

from __future__ import annotations

from harness.registry.access import KEY_ALL_ACCESS, ObjectAttributes
from harness.registry.infoclasses import KeyInformationClass
from harness.workload.files import OperationsOnHives
from harness.workload.opcodes import Opcode
from harness.workload.recorder import Expected, Handle, Key
from harness.workload.step import Step

__all__ = ["DEFAULT_LENGTH", "Enumeration", "OperationsOnKeys"]

#: Bytes of an output buffer where the caller does not say.
DEFAULT_LENGTH = 2048


class Enumeration(tuple[Step, ...]):
    """The steps of an enumeration, index 0 and on."""

    __slots__ = ()

    @property
    def names(self) -> list[str]:
        """Names of the entries that were there, in order."""
        return [step.name for step in self if step.output]


class OperationsOnKeys(OperationsOnHives):
    """The part of `ProgramBuilder` for keys."""

    def create_key(
        self,
        key: Key,
        *,
        root: Handle | None = None,
        access: int = KEY_ALL_ACCESS,
        options: int | None = None,
        class_name: str | None = None,
        attributes: int = ObjectAttributes.CASE_INSENSITIVE,
        sddl: str | None = None,
        security: bytes | None = None,
        title_index: int = 0,
        name_maximum: int | None = None,
        null_disposition: bool = False,
        transaction: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtCreateKey, or NtCreateKeyTransacted with `transaction`."""
        slot, name, path = self.name_of(key, root)
        step = self.record(
            Opcode.CREATE_KEY if transaction is None else Opcode.CREATE_KEY_TRANSACTED,
            out=self.new_slot(),
            root=slot,
            name=name,
            access=access,
            options=options,
            class_name=class_name,
            attributes=int(attributes),
            sddl=sddl,
            security=security,
            title_index=title_index,
            name_maximum=name_maximum,
            null_result=null_disposition,
            transaction=None if transaction is None else self.slot_of(transaction),
            expect=expect,
            path=path,
        )
        self.note_key(path)
        return step

    def open_key(
        self,
        key: Key,
        *,
        root: Handle | None = None,
        access: int = KEY_ALL_ACCESS,
        options: int | None = None,
        attributes: int = ObjectAttributes.CASE_INSENSITIVE,
        sddl: str | None = None,
        security: bytes | None = None,
        name_maximum: int | None = None,
        transaction: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtOpenKey, NtOpenKeyEx with `options`, the transacted forms with `transaction`."""
        slot, name, path = self.name_of(key, root)
        return self.record(
            Opcode.OPEN_KEY if transaction is None else Opcode.OPEN_KEY_TRANSACTED,
            out=self.new_slot(),
            root=slot,
            name=name,
            access=access,
            options=options,
            attributes=int(attributes),
            sddl=sddl,
            security=security,
            name_maximum=name_maximum,
            transaction=None if transaction is None else self.slot_of(transaction),
            expect=expect,
            path=path,
        )

    def close(self, handle: Handle, *, expect: Expected = None) -> Step:
        """NtClose."""
        return self.record(Opcode.CLOSE, handle=self.slot_of(handle), expect=expect)

    def delete_key(self, key: Handle, *, expect: Expected = None) -> Step:
        """NtDeleteKey; the handle needs DELETE."""
        return self.record(Opcode.DELETE_KEY, handle=self.slot_of(key), expect=expect)

    def rename_key(
        self, key: Handle, new_name: str, *, name_maximum: int | None = None, expect: Expected = None
    ) -> Step:
        """NtRenameKey: `new_name` replaces the last component."""
        path = key.path if isinstance(key, Step) else None
        if path is not None and new_name:
            self.note_key(path.parent / new_name)
        return self.record(
            Opcode.RENAME_KEY,
            handle=self.slot_of(key),
            new_name=new_name,
            name_maximum=name_maximum,
            expect=expect,
        )

    def query_key(
        self,
        key: Handle,
        info_class: int = KeyInformationClass.FULL,
        *,
        length: int = DEFAULT_LENGTH,
        address: int | None = None,
        buffer: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtQueryKey; `.key_information` decodes it."""
        return self.record(
            Opcode.QUERY_KEY,
            handle=self.slot_of(key),
            info_class=int(info_class),
            length=length,
            address=address,
            buffer=self.buffer_of(buffer),
            expect=expect,
        )

    def enumerate_key(
        self,
        key: Handle,
        index: int,
        info_class: int = KeyInformationClass.BASIC,
        *,
        length: int = DEFAULT_LENGTH,
        address: int | None = None,
        buffer: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtEnumerateKey."""
        return self.record(
            Opcode.ENUMERATE_KEY,
            handle=self.slot_of(key),
            index=index,
            info_class=int(info_class),
            length=length,
            address=address,
            buffer=self.buffer_of(buffer),
            expect=expect,
        )

    def enumerate_keys(self, key: Handle, count: int) -> Enumeration:
        """NtEnumerateKey for the indexes 0 to `count` - 1; `.names` lists what was there."""
        return Enumeration(self.enumerate_key(key, index) for index in range(count))

    def set_information_key(
        self,
        key: Handle,
        info_class: int,
        data: bytes | None,
        *,
        data_size: int | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtSetInformationKey; class 0 with 8 bytes sets the last write time."""
        return self.record(
            Opcode.SET_INFORMATION_KEY,
            handle=self.slot_of(key),
            info_class=int(info_class),
            data=data,
            data_size=data_size,
            expect=expect,
        )

    def flush_key(self, key: Handle, *, expect: Expected = None) -> Step:
        """NtFlushKey."""
        return self.record(Opcode.FLUSH_KEY, handle=self.slot_of(key), expect=expect)

    def notify_change_key(
        self, key: Handle, event: Handle, completion_filter: int = 0xF, *, expect: Expected = None
    ) -> Step:
        """NtNotifyChangeKey, asynchronous; completes by signalling `event`."""
        return self.record(
            Opcode.NOTIFY_CHANGE_KEY,
            handle=self.slot_of(key),
            event=self.slot_of(event),
            flags=completion_filter,
            expect=expect,
        )
