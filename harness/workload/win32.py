"""Win32 calls in a program: `p.win32.create_key` is RegCreateKeyExW, where `p.create_key` is NtCreateKey.

    with registry.program() as p:
        key = p.win32.create_key(p.test_root / "app")
        write = p.win32.set_value(key, "name", "text")
    assert write.win32_error == 0

Needs the capability "win32-calls": a reference guest has no Win32 layer. Native calls and these mix in one
program.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from harness.errors import UsageError
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.paths import MACHINE, USER, RegistryPath
from harness.workload.files import REG_PROCESS_APPKEY
from harness.workload.opcodes import Opcode
from harness.workload.values import RegistryValue, encode_value

if TYPE_CHECKING:
    from harness.workload.builder import ProgramBuilder
    from harness.workload.files import Cleanup
    from harness.workload.recorder import Expected, Handle, Key
    from harness.workload.step import Step

__all__ = ["HKEY_LOCAL_MACHINE", "HKEY_USERS", "Win32Operations"]

HKEY_LOCAL_MACHINE: Final = 0x8000_0002
HKEY_USERS: Final = 0x8000_0003

_DEFAULT_LENGTH: Final = 2048
#: RRF_RT_ANY: any type of value.
_ANY_TYPE: Final = 0xFFFF
_PREDEFINED: Final = ((MACHINE, HKEY_LOCAL_MACHINE), (USER, HKEY_USERS))


class Win32Operations:
    """One method for each Win32 call. `expect=` takes statuses: 0, or `0xC0070000 | error`."""

    def __init__(self, program: ProgramBuilder, cleanup: Cleanup) -> None:
        self._program = program
        self._cleanup = cleanup

    # -- keys -----------------------------------------------------------------------------------------

    def create_key(
        self,
        key: Key,
        *,
        root: Handle | None = None,
        access: int = KEY_ALL_ACCESS,
        options: int | None = None,
        class_name: str | None = None,
        sddl: str | None = None,
        null_disposition: bool = False,
        transaction: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """RegCreateKeyExW, or RegCreateKeyTransactedW with `transaction`.

        `key` is an absolute path below HKLM or HKU, or a name below `root`.
        """
        base, path = self._base(key, root)
        step = self._program.record(
            Opcode.WIN32_CREATE_KEY,
            out=self._program.new_slot(),
            access=access,
            options=options,
            class_name=class_name,
            sddl=sddl,
            null_result=null_disposition,
            transaction=self._program.buffer_of(transaction),
            expect=expect,
            path=path,
            **base,
        )
        self._program.note_key(path)
        return step

    def open_key(
        self,
        key: Key,
        *,
        root: Handle | None = None,
        access: int = KEY_ALL_ACCESS,
        options: int | None = None,
        transaction: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """RegOpenKeyExW, or RegOpenKeyTransactedW with `transaction`."""
        base, path = self._base(key, root)
        return self._program.record(
            Opcode.WIN32_OPEN_KEY,
            out=self._program.new_slot(),
            access=access,
            options=options,
            transaction=self._program.buffer_of(transaction),
            expect=expect,
            path=path,
            **base,
        )

    def close_key(self, key: Handle, *, expect: Expected = None) -> Step:
        """RegCloseKey."""
        return self._on(Opcode.WIN32_CLOSE_KEY, key, expect)

    def delete_key(
        self,
        key: Key,
        *,
        root: Handle | None = None,
        access: int = 0,
        transaction: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """RegDeleteKeyW; RegDeleteKeyExW with a view (KEY_WOW64_xxx) as `access`; RegDeleteKeyTransactedW."""
        base, _ = self._base(key, root)
        return self._program.record(
            Opcode.WIN32_DELETE_KEY,
            access=access,
            transaction=self._program.buffer_of(transaction),
            expect=expect,
            **base,
        )

    def delete_tree(self, key: Handle, *, subkey: str | None = None, expect: Expected = None) -> Step:
        """RegDeleteTreeW: what is below the key, or its `subkey` with all of it."""
        return self._on(Opcode.WIN32_DELETE_TREE, key, expect, name=subkey)

    def copy_tree(
        self, key: Handle, target: Handle, *, subkey: str | None = None, expect: Expected = None
    ) -> Step:
        """RegCopyTreeW."""
        return self._on(
            Opcode.WIN32_COPY_TREE, key, expect, low_handle=self._program.slot_of(target), name=subkey
        )

    def notify_change_key(
        self, key: Handle, event: Handle, changes: int = 0xF, *, expect: Expected = None
    ) -> Step:
        """RegNotifyChangeKeyValue, asynchronous, of the key alone."""
        return self._on(
            Opcode.WIN32_NOTIFY_CHANGE_KEY, key, expect, event=self._program.slot_of(event), flags=changes
        )

    def rename_key(
        self, key: Handle, new_name: str, *, subkey: str | None = None, expect: Expected = None
    ) -> Step:
        """RegRenameKey of the key, or of its `subkey`."""
        return self._on(Opcode.WIN32_RENAME_KEY, key, expect, new_name=new_name, name=subkey)

    def enumerate_key(self, key: Handle, index: int, *, expect: Expected = None) -> Step:
        """RegEnumKeyExW; `.name` and `.key_information` decode it."""
        return self._on(Opcode.WIN32_ENUMERATE_KEY, key, expect, index=index)

    def query_key(self, key: Handle, *, expect: Expected = None) -> Step:
        """RegQueryInfoKeyW; `.key_information` has counts and longest names, in bytes."""
        return self._on(Opcode.WIN32_QUERY_KEY, key, expect)

    def flush_key(self, key: Handle, *, expect: Expected = None) -> Step:
        """RegFlushKey."""
        return self._on(Opcode.WIN32_FLUSH_KEY, key, expect)

    # -- values ---------------------------------------------------------------------------------------

    def set_value(
        self,
        key: Handle,
        name: str | None,
        value: RegistryValue,
        *,
        type: int | None = None,
        expect: Expected = None,
    ) -> Step:
        """RegSetValueExW. `value` as in `harness.workload.values`."""
        typed = encode_value(value, type)
        return self._on(
            Opcode.WIN32_SET_VALUE, key, expect, value_name=name, type=int(typed.type), data=typed.data
        )

    def delete_value(self, key: Handle, name: str | None, *, expect: Expected = None) -> Step:
        """RegDeleteValueW."""
        return self._on(Opcode.WIN32_DELETE_VALUE, key, expect, value_name=name)

    def query_value(
        self, key: Handle, name: str | None, *, length: int = _DEFAULT_LENGTH, expect: Expected = None
    ) -> Step:
        """RegQueryValueExW; `.value`, `.text`, `.dword`, `.data` decode it, `.result_length` is the size."""
        return self._on(Opcode.WIN32_QUERY_VALUE, key, expect, value_name=name, length=length)

    def get_value(
        self,
        key: Handle,
        name: str | None,
        *,
        subkey: str | None = None,
        flags: int = _ANY_TYPE,
        length: int = _DEFAULT_LENGTH,
        expect: Expected = None,
    ) -> Step:
        """RegGetValueW; `flags` are RRF_xxx."""
        return self._on(
            Opcode.WIN32_GET_VALUE, key, expect, value_name=name, name=subkey, flags=flags, length=length
        )

    def enumerate_value(
        self, key: Handle, index: int, *, length: int = _DEFAULT_LENGTH, expect: Expected = None
    ) -> Step:
        """RegEnumValueW; `.name` and `.value` decode it."""
        return self._on(Opcode.WIN32_ENUMERATE_VALUE, key, expect, index=index, length=length)

    def query_multiple(
        self,
        key: Handle,
        names: Iterable[str],
        *,
        length: int = _DEFAULT_LENGTH,
        expect: Expected = None,
    ) -> Step:
        """RegQueryMultipleValuesW; `.values` decodes it."""
        return self._on(Opcode.WIN32_QUERY_MULTIPLE, key, expect, value_names=tuple(names), length=length)

    # -- security -------------------------------------------------------------------------------------

    def get_security(
        self,
        key: Handle,
        security_information: int,
        *,
        length: int = _DEFAULT_LENGTH,
        expect: Expected = None,
    ) -> Step:
        """RegGetKeySecurity; `.output` is the self-relative descriptor."""
        return self._on(
            Opcode.WIN32_GET_SECURITY,
            key,
            expect,
            security_information=int(security_information),
            length=length,
        )

    def set_security(
        self,
        key: Handle,
        security_information: int,
        *,
        sddl: str | None = None,
        security: bytes | None = None,
        expect: Expected = None,
    ) -> Step:
        """RegSetKeySecurity."""
        return self._on(
            Opcode.WIN32_SET_SECURITY,
            key,
            expect,
            security_information=int(security_information),
            sddl=sddl,
            security=security,
        )

    # -- hives ----------------------------------------------------------------------------------------

    def load_app_key(
        self, file: str, *, access: int = KEY_ALL_ACCESS, exclusive: bool = False, expect: Expected = None
    ) -> Step:
        """RegLoadAppKeyW; `exclusive` is REG_PROCESS_APPKEY."""
        return self._program.record(
            Opcode.WIN32_LOAD_APP_KEY,
            out=self._program.new_slot(),
            file=self._cleanup.file(file),
            access=access,
            options=REG_PROCESS_APPKEY if exclusive else None,
            expect=expect,
        )

    def load_key(self, key: Key, file: str, *, expect: Expected = None) -> Step:
        """RegLoadKeyW: mount `file` right below HKLM or HKU."""
        base, path = self._base(key, None)
        step = self._program.record(
            Opcode.WIN32_LOAD_KEY, file=self._cleanup.file(file), expect=expect, **base
        )
        if path is not None:
            self._cleanup.note_mount(path)
        return step

    def unload_key(self, key: Key, *, expect: Expected = None) -> Step:
        """RegUnLoadKeyW."""
        base, _ = self._base(key, None)
        return self._program.record(Opcode.WIN32_UNLOAD_KEY, expect=expect, **base)

    def save_key(self, key: Handle, file: str, *, format: int | None = None, expect: Expected = None) -> Step:
        """RegSaveKeyW, or RegSaveKeyExW with `format`."""
        return self._on(Opcode.WIN32_SAVE_KEY, key, expect, file=self._cleanup.file(file), format=format)

    def restore_key(self, key: Handle, file: str, *, flags: int = 0, expect: Expected = None) -> Step:
        """RegRestoreKeyW."""
        return self._on(Opcode.WIN32_RESTORE_KEY, key, expect, file=self._cleanup.file(file), flags=flags)

    def replace_key(
        self,
        key: Handle,
        new_file: str,
        old_file: str,
        *,
        subkey: str | None = None,
        expect: Expected = None,
    ) -> Step:
        """RegReplaceKeyW."""
        return self._on(
            Opcode.WIN32_REPLACE_KEY,
            key,
            expect,
            file=self._cleanup.file(new_file),
            old_file=self._cleanup.file(old_file),
            name=subkey,
        )

    # -- what they share ------------------------------------------------------------------------------

    def _on(self, opcode: Opcode, key: Handle, expect: Expected, **fields: Any) -> Step:
        return self._program.record(opcode, handle=self._program.slot_of(key), expect=expect, **fields)

    def _base(self, key: Key, root: Handle | None) -> tuple[dict[str, Any], RegistryPath | None]:
        """The fields that name a key, and its path where that can be known."""
        slot, name, path = self._program.name_of(key, root)
        if slot is not None:
            return {"root": slot, "name": name}, path
        if path is None:
            raise UsageError(f"{key!r} names no key for a Win32 call; use an absolute path or root=")
        for base, predefined in _PREDEFINED:
            if base.contains(path):
                below = "\\".join(path.names[len(base.names) :])
                return {"predefined": predefined, "name": below}, path
        raise UsageError(f"{path} lies neither below HKLM nor below HKU; Win32 calls reach nothing else")
