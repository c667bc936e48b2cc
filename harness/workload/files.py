"""Operations with hive files: load, unload, application hives, save, restore, replace."""

from __future__ import annotations

from typing import Protocol

from harness.registry.access import KEY_ALL_ACCESS, ObjectAttributes
from harness.registry.paths import RegistryPath
from harness.workload.opcodes import Opcode
from harness.workload.recorder import Expected, Handle, Key, Recorder, SupportsRun
from harness.workload.step import Step

__all__ = ["REG_PROCESS_APPKEY", "Cleanup", "OperationsOnHives"]

#: RegLoadAppKey option: the hive can't be loaded again while it is loaded (B-APP-13).
REG_PROCESS_APPKEY = 1


class Cleanup(Protocol):
    """Remembers what a program may leave behind; `harness.workload.Registry` is one."""

    @property
    def test_root(self) -> RegistryPath: ...

    def file(self, name: str) -> str:
        """Guest path for a file name; remembered for removal. A full path stays as it is."""
        ...

    def note_key(self, path: RegistryPath) -> None: ...

    def note_mount(self, path: RegistryPath) -> None: ...


class OperationsOnHives(Recorder):
    """The part of `ProgramBuilder` for hive files. File names without a drive are the test's own."""

    def __init__(self, guest: SupportsRun, cleanup: Cleanup) -> None:
        super().__init__(guest)
        self._cleanup = cleanup

    @property
    def test_root(self) -> RegistryPath:
        """The key below which the test has the registry for itself."""
        return self._cleanup.test_root

    def note_key(self, path: RegistryPath | None) -> None:
        """Remember a key that may need removal."""
        if path is not None:
            self._cleanup.note_key(path)

    def load_app_key(
        self,
        file: str,
        *,
        access: int = KEY_ALL_ACCESS,
        exclusive: bool = False,
        name: str | None = None,
        expect: Expected = None,
    ) -> Step:
        """Load an application hive as RegLoadAppKey does; a missing file becomes an empty hive (B-APP-12).

        `exclusive` is REG_PROCESS_APPKEY. `name` is the mount name below \\REGISTRY\\A; default a new GUID.
        """
        return self.record(
            Opcode.LOAD_APP_KEY,
            out=self.new_slot(),
            file=self._cleanup.file(file),
            access=access,
            options=REG_PROCESS_APPKEY if exclusive else None,
            name=name,
            expect=expect,
        )

    def load_key(
        self,
        key: Key,
        file: str,
        *,
        root: Handle | None = None,
        flags: int = 0,
        form: int | None = None,
        event: Handle | None = None,
        trust: Handle | None = None,
        access: int = 0,
        attributes: int = ObjectAttributes.CASE_INSENSITIVE,
        expect: Expected = None,
    ) -> Step:
        """NtLoadKey (form 1), NtLoadKey2 (2, by `flags`) or NtLoadKeyEx (3, by `event`, `trust`, `access`).

        Form 4 is NtLoadKey3. Forms 3 and 4 with `access` yield the root's handle.
        """
        if form is None:
            form = 3 if event is not None or trust is not None or access else 2 if flags else 1
        slot, name, path = self.name_of(key, root)
        step = self.record(
            Opcode.LOAD_KEY,
            out=self.new_slot() if form >= 3 and access else None,
            root=slot,
            name=name,
            file=self._cleanup.file(file),
            flags=flags,
            form=form,
            event=None if event is None else self.slot_of(event),
            trust=None if trust is None else self.slot_of(trust),
            access=access,
            attributes=int(attributes),
            expect=expect,
            path=path,
        )
        if path is not None:
            self._cleanup.note_mount(path)
        return step

    def unload_key(
        self,
        key: Key,
        *,
        root: Handle | None = None,
        flags: int = 0,
        form: int | None = None,
        event: Handle | None = None,
        expect: Expected = None,
    ) -> Step:
        """NtUnloadKey (form 1), NtUnloadKey2 (2, chosen by `flags`), NtUnloadKeyEx (3, by `event`)."""
        if form is None:
            form = 3 if event is not None else 2 if flags else 1
        slot, name, path = self.name_of(key, root)
        return self.record(
            Opcode.UNLOAD_KEY,
            root=slot,
            name=name,
            flags=flags,
            form=form,
            event=None if event is None else self.slot_of(event),
            expect=expect,
            path=path,
        )

    def save_key(self, key: Handle, file: str, *, format: int | None = None, expect: Expected = None) -> Step:
        """NtSaveKey, or NtSaveKeyEx with `format`. The file must not exist."""
        return self.record(
            Opcode.SAVE_KEY,
            handle=self.slot_of(key),
            file=self._cleanup.file(file),
            format=format,
            expect=expect,
        )

    def save_merged(self, high: Handle, low: Handle, file: str, *, expect: Expected = None) -> Step:
        """NtSaveMergedKeys; `high` takes precedence."""
        return self.record(
            Opcode.SAVE_MERGED,
            handle=self.slot_of(high),
            low_handle=self.slot_of(low),
            file=self._cleanup.file(file),
            expect=expect,
        )

    def restore_key(self, key: Handle, file: str, *, flags: int = 0, expect: Expected = None) -> Step:
        """NtRestoreKey."""
        return self.record(
            Opcode.RESTORE_KEY,
            handle=self.slot_of(key),
            file=self._cleanup.file(file),
            flags=flags,
            expect=expect,
        )

    def replace_key(self, key: Handle, new_file: str, old_file: str, *, expect: Expected = None) -> Step:
        """NtReplaceKey: `new_file` becomes the hive at the next boot, the old content goes to `old_file`."""
        return self.record(
            Opcode.REPLACE_KEY,
            handle=self.slot_of(key),
            file=self._cleanup.file(new_file),
            old_file=self._cleanup.file(old_file),
            expect=expect,
        )

    def delete_file(self, file: str, *, expect: Expected = None) -> Step:
        """NtDeleteFile."""
        return self.record(Opcode.DELETE_FILE, file=self._cleanup.file(file), expect=expect)
