"""Evidence by its content: ``ab/abcdef...``, named by SHA-256, each content once, never written again.

A file gets in by a hard link to the one in the run's folder, so that nothing is copied and that folder stays
as it is; from another file system it is copied. Only a writer of the database adds or removes files, and
there is one at a time: nothing is removed that somebody is about to refer to.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError, UsageError

__all__ = ["EvidenceStore", "SourceFile", "source_file"]

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: What says that there is no file of that name.
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_INCOMING: Final = "incoming-"
#: What says that a file can't have two names here: another file system, none that can, one that is full of
#: names, or a file of another user.
_NO_LINK: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES})


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of evidence in a run's folder, and its state when its content was read."""

    path: Path
    digest: str
    size: int
    inode: int
    written_ns: int


def source_file(folder: Path, name: str) -> SourceFile | None:
    """Read the file `name` of a run's folder; None where there is no such file.

    Names come from rows and are not trusted: one that leads out of the folder, or to anything but a file, is
    no file either. Raises `InfrastructureError` for a file that can't be read.
    """
    path = folder / name
    try:
        place = folder.resolve()
        found = path.resolve(strict=True)
        if found != place / os.path.normpath(name) or not found.is_relative_to(place) or not path.is_file():
            return None
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (ValueError, RuntimeError):  # a NUL in the name, a loop of links
        return None
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise InfrastructureError(f"{path} can't be read: {error.strerror}; nothing was stored") from error
    return SourceFile(path, digest, status.st_size, status.st_ino, status.st_mtime_ns)


class EvidenceStore:
    """The folder of evidence beside a database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where the content with that SHA-256 belongs."""
        if not _DIGEST.fullmatch(digest):
            raise UsageError(f"{digest[:80]!r} is no SHA-256")
        return self.folder / digest[:2] / digest

    def find(self, digest: str) -> Path | None:
        """The file with that content, None where it isn't here."""
        path = self.path(digest)
        return path if path.is_file() else None

    def add(self, files: Iterable[SourceFile]) -> int:
        """Bring in what isn't there, and have it on the disk before this returns; how many files were new.

        Raises `InfrastructureError` for a file that changed since it was read, and for a disk that fails.
        """
        added = 0
        folders: set[Path] = set()
        for file in files:
            place = self.path(file.digest)
            with contextlib.suppress(FileNotFoundError):
                if place.stat().st_size == file.size:
                    continue
                place.unlink()  # cut off by a disk that was full or a host that went down
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                _bring(file, place)
            except OSError as error:
                raise InfrastructureError(
                    f"{file.path} can't be kept in {place.parent}: {error.strerror or error}; nothing was "
                    "stored, so ingest it again once that is mended"
                ) from error
            folders |= {place.parent, self.folder}
            added += 1
        for folder in folders:
            _to_disk(folder)
        return added

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """SHA-256 and size in bytes of everything here."""
        for path in self._files():
            if _DIGEST.fullmatch(path.name):
                yield path.name, path.stat().st_size

    def remove(self, digests: Iterable[str]) -> None:
        for digest in digests:
            self.path(digest).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a killed writer had not finished. For the one writer."""
        for path in self._files():
            if path.name.startswith(_INCOMING):
                path.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        return (path for path in self.folder.glob("??/*") if path.is_file())


def _bring(file: SourceFile, place: Path) -> None:
    """Put one file at its place, whole or not at all. Raises `InfrastructureError` where it changed."""
    new = place.with_name(f"{_INCOMING}{secrets.token_hex(8)}")
    try:
        try:
            os.link(file.path, new, follow_symlinks=False)
            new.chmod(0o444)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            new.unlink(missing_ok=True)
            shutil.copyfile(file.path, new, follow_symlinks=False)
            new.chmod(0o444)
        _to_disk(new)
        now = file.path.lstat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (file.inode, file.size, file.written_ns):
            raise InfrastructureError(f"{file.path} changed while it was stored; ingest its run again")
        new.replace(place)
    finally:
        new.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
