"""Files as kernel objects: the model's file system behind file handles.

Contents are shared with `put` and `get` and with the hives of the configuration manager.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.cm.filesystem import FileError, FileSystem, dos_path
from harness.reference.kernel.io_manager import FileBody
from harness.reference.kernel.objects import KernelObject
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["Files"]

# Dispositions of NtCreateFile.
SUPERSEDE, OPEN, CREATE, OPEN_IF, OVERWRITE, OVERWRITE_IF = range(6)
# What IoStatus.Information says afterwards.
SUPERSEDED, OPENED, CREATED, OVERWRITTEN, EXISTS, DOES_NOT_EXIST = range(6)

_DIRECTORY_FILE: Final = 0x1
_DELETE_ON_CLOSE: Final = 0x1000
_FILE_WRITE_DATA: Final = 0x2
_FILE_APPEND_DATA: Final = 0x4
_VOLUME: Final = "\\Device\\HarddiskVolume1"


class Files:
    """Opens, reads and writes of the model's one volume."""

    def __init__(self, machine: Machine, store: FileSystem) -> None:
        self.m = machine
        self.store = store

    @staticmethod
    def object_name(path: str) -> str:
        """The object manager's name of a DOS path."""
        return _VOLUME + path[2:]

    def is_directory(self, path: str) -> bool:
        """Directories exist by implication: a prefix of some file, or the usual system folders."""
        prefix = path.rstrip("\\").lower() + "\\"
        known = ("c:\\", "c:\\windows\\", "c:\\windows\\system32\\", "c:\\windows\\temp\\", "c:\\harness\\")
        return prefix in known or any(each.lower().startswith(prefix) for each in self.store.paths())

    def file_object_of(self, path: str) -> KernelObject:
        """A file object for a path with one reference; the file need not exist."""
        body = FileBody(None, 0, name=path, opened=True, path=path)
        return self.m.objects.create(self.m.kernel.io.file_type, body)

    def open(
        self, path: str, access: int, disposition: int, options: int
    ) -> tuple[int, int, KernelObject | None]:
        """(status, information, file object with one reference) of NtCreateFile on a file of the volume."""
        try:
            dos = dos_path(path)
        except FileError as error:
            if error.status != NTSTATUS.FILE_IS_A_DIRECTORY:
                return error.status, 0, None
            dos = path
        if options & _DIRECTORY_FILE or (self.is_directory(dos) and not self.store.exists(dos)):
            if not options & _DIRECTORY_FILE and access & (_FILE_WRITE_DATA | _FILE_APPEND_DATA):
                return NTSTATUS.FILE_IS_A_DIRECTORY, 0, None
            if disposition == OPEN and not self.is_directory(dos):
                return NTSTATUS.OBJECT_NAME_NOT_FOUND, DOES_NOT_EXIST, None
            return NTSTATUS.SUCCESS, OPENED, self._object(dos, access, options)
        return self._open_file(dos, access, disposition, options)

    def _open_file(
        self, dos: str, access: int, disposition: int, options: int
    ) -> tuple[int, int, KernelObject | None]:
        present = self.store.exists(dos)
        if present and disposition == CREATE:
            return NTSTATUS.OBJECT_NAME_COLLISION, EXISTS, None
        if not present and disposition in (OPEN, OVERWRITE):
            return NTSTATUS.OBJECT_NAME_NOT_FOUND, DOES_NOT_EXIST, None
        try:
            if not present or disposition in (SUPERSEDE, OVERWRITE, OVERWRITE_IF):
                self.store.write(dos, b"")
            else:
                self.store.read(dos)
        except FileError as error:
            return error.status, 0, None
        information = CREATED if not present else OPENED
        if present and disposition == SUPERSEDE:
            information = SUPERSEDED
        elif present and disposition in (OVERWRITE, OVERWRITE_IF):
            information = OVERWRITTEN
        return NTSTATUS.SUCCESS, information, self._object(dos, access, options)

    def _object(self, dos: str, access: int, options: int) -> KernelObject:
        file = self.file_object_of(dos)
        body: FileBody = file.body
        body.access = access
        body.delete_on_close = bool(options & _DELETE_ON_CLOSE)
        body.append = bool(access & _FILE_APPEND_DATA) and not access & _FILE_WRITE_DATA
        return file

    def read(self, body: FileBody, offset: int | None, length: int) -> tuple[int, bytes]:
        """(status, data) at `offset`, or at the current position, which moves."""
        try:
            content = self.store.read(body.path)
        except FileError as error:
            return error.status, b""
        at = body.position if offset is None else offset
        data = content[at : at + length]
        if length and not data:
            return NTSTATUS.END_OF_FILE, b""
        body.position = at + len(data)
        return NTSTATUS.SUCCESS, data

    def write(self, body: FileBody, offset: int | None, data: bytes) -> int:
        """A status; writing beyond the end fills with zeros. `offset` -1 appends."""
        try:
            content = self.store.read(body.path)
            at = body.position if offset is None else offset
            if body.append or at < 0:
                at = len(content)
            content = content[:at].ljust(at, b"\0") + data + content[at + len(data) :]
            self.store.write(body.path, content)
        except FileError as error:
            return error.status
        body.position = at + len(data)
        return NTSTATUS.SUCCESS

    def size(self, body: FileBody) -> int:
        try:
            return len(self.store.read(body.path))
        except FileError:
            return 0

    def rename(self, body: FileBody, information: int) -> int:
        """Move a file as FILE_RENAME_INFORMATION at `information` says; everybody's handles go with it.

        A name without a path stays in the folder. RootDirectory is not modelled.
        """
        memory = self.m.memory
        replace = bool(memory.u8(information))
        length_at = information + 2 * memory.pointer_size
        name = memory.read(length_at + 4, memory.u32(length_at) & ~1)
        target = name.decode("utf-16-le", "surrogatepass")
        if "\\" not in target:
            target = body.path.rpartition("\\")[0] + "\\" + target
        try:
            moved = dos_path(target)
            if self.store.exists(moved) and not replace:
                return NTSTATUS.OBJECT_NAME_COLLISION
            self.store.write(moved, self.store.read(body.path))
            if moved != body.path:
                self.store.delete(body.path)
        except FileError as error:
            return error.status
        before = body.path
        for each in self.m.objects.of_type(self.m.kernel.io.file_type):
            if each.body.path == before:
                each.body.path = moved
        return NTSTATUS.SUCCESS

    def closed(self, body: FileBody) -> None:
        """The last reference of a file object is gone."""
        if body.delete_on_close and self.store.exists(body.path):
            self.store.delete(body.path)
