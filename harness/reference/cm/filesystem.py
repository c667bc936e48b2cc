"""The files of a reference guest: hive files, drivers, whatever the harness puts there.

Paths are compared without case and in any of the forms the kernel meets. Directories exist by implication.
"""

from __future__ import annotations

from typing import Final

from harness.registry.paths import upcase
from harness.registry.status import NTSTATUS, status_name

__all__ = ["FileError", "FileSystem", "dos_path"]

#: Prefixes of NT paths and what they stand for in DOS form.
_PREFIXES: Final = (
    ("\\??\\", ""),
    ("\\\\?\\", ""),
    ("\\\\.\\", ""),
    ("\\DosDevices\\", ""),
    ("\\GLOBAL??\\", ""),
    ("\\SystemRoot\\", "C:\\Windows\\"),
    ("\\Device\\HarddiskVolume1\\", "C:\\"),
)


class FileError(Exception):
    """A file operation failed; `status` is the NTSTATUS a caller gets."""

    def __init__(self, status: int, path: str) -> None:
        super().__init__(f"{status_name(status)}: {path}")
        self.status = status


def dos_path(path: str) -> str:
    """The DOS form, `C:\\...`, of an NT or DOS path; raises FileError for anything else."""
    for prefix, replacement in _PREFIXES:
        if upcase(path).startswith(upcase(prefix)):
            path = replacement + path[len(prefix) :]
            break
    path = path.replace("/", "\\")
    if len(path) < 4 or path[1:3] != ":\\" or not path[0].isascii() or not path[0].isalpha() or "\0" in path:
        raise FileError(NTSTATUS.OBJECT_PATH_SYNTAX_BAD, path)
    names: list[str] = []
    for name in path[3:].split("\\"):
        if name == "..":
            del names[-1:]
        elif name not in ("", "."):
            names.append(name)
    if not names:
        raise FileError(NTSTATUS.FILE_IS_A_DIRECTORY, path)
    return f"{path[0].upper()}:\\" + "\\".join(names)


class FileSystem:
    """Files by path. A file can be held by an owner (a loaded hive): nobody else may touch it then."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, bytes]] = {}
        self._holders: dict[str, object] = {}

    def _key(self, path: str) -> str:
        return upcase(dos_path(path))

    def _check(self, key: str, path: str, owner: object | None) -> None:
        holder = self._holders.get(key)
        if holder is not None and holder is not owner:
            raise FileError(NTSTATUS.SHARING_VIOLATION, path)

    def exists(self, path: str) -> bool:
        """Whether there is such a file; False also for a malformed path."""
        try:
            return self._key(path) in self._files
        except FileError:
            return False

    def read(self, path: str, *, owner: object | None = None) -> bytes:
        """The whole content; raises FileError when missing or held by another."""
        key = self._key(path)
        self._check(key, path, owner)
        if key not in self._files:
            raise FileError(NTSTATUS.OBJECT_NAME_NOT_FOUND, path)
        return self._files[key][1]

    def write(self, path: str, data: bytes, *, owner: object | None = None) -> None:
        """Create or replace; raises FileError when held by another."""
        key = self._key(path)
        self._check(key, path, owner)
        self._files[key] = (dos_path(path), bytes(data))

    def delete(self, path: str) -> None:
        """Remove; raises FileError when missing or held."""
        self.read(path)
        del self._files[self._key(path)]

    def hold(self, path: str, owner: object) -> None:
        """Keep everybody else from a file until `release`."""
        key = self._key(path)
        self._check(key, path, owner)
        self._holders[key] = owner

    def release(self, path: str, owner: object) -> None:
        """Let go of a file; nothing happens when `owner` does not hold it."""
        key = self._key(path)
        if self._holders.get(key) is owner:
            del self._holders[key]

    def holder(self, path: str) -> object | None:
        """Who holds the file."""
        return self._holders.get(self._key(path))

    def paths(self) -> tuple[str, ...]:
        """Every file's path as it was spelled when created, in order of creation."""
        return tuple(path for path, _ in self._files.values())
