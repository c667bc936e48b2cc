"""Zip files that come from elsewhere: read member by member, within limits.

Nothing is ever extracted by the names that stand in the file. A member is read by name, as bytes or into a
file that the caller chose, and its real size counts, not the one its header claims.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from os import SEEK_CUR
from pathlib import Path, PurePosixPath
from typing import Final

from harness.cleanup import Closing
from harness.errors import UsageError

__all__ = ["MAX_MEMBER", "MAX_MEMBERS", "MAX_TOTAL", "Archive", "write_archive"]

#: Members, their bytes, and the bytes of all of them together.
MAX_MEMBERS: Final = 20_000
MAX_MEMBER: Final = 256 * 1024 * 1024
MAX_TOTAL: Final = 1024 * 1024 * 1024
_CHUNK: Final = 1 << 20
#: What reading a member of a damaged zip raises.
_DAMAGED: Final = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError)
#: The same bytes for the same content: the time zip's epoch begins.
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class Archive(Closing):
    """An open zip; a context manager. Everything wrong with it is a `UsageError` naming file and member."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise UsageError(f"{file} is no zip file that can be read: {error}") from error
        try:
            self._members = self._checked()
        except BaseException:
            self._zip.close()
            raise
        self._left = MAX_TOTAL

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        listed = self._zip.infolist()
        if len(listed) > MAX_MEMBERS:
            raise UsageError(f"{self.file} has {len(listed)} members; a bundle has at most {MAX_MEMBERS}")
        found: dict[str, zipfile.ZipInfo] = {}
        for info in listed:
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in info.filename or ":" in info.filename:
                raise UsageError(f"{self.file}: member {info.filename[:80]!r} points outside the bundle")
            if info.filename in found:
                raise UsageError(f"{self.file}: member {info.filename[:80]!r} is there twice")
            if info.flag_bits & 1:
                raise UsageError(f"{self.file}: member {info.filename[:80]!r} is encrypted")
            found[info.filename] = info
        return found

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._members)

    def read(self, name: str, *, limit: int = MAX_MEMBER) -> bytes:
        """One member, of at most `limit` bytes."""
        data = b"".join(self._pieces(name, min(limit, self._left)))
        self._left -= len(data)
        return data

    def copy(self, name: str, to: Path, *, limit: int) -> str:
        """Write one member, of at most `limit` bytes, over the file `to`; returns its SHA-256.

        It is never in memory as a whole, so that `limit` alone counts. Zeros become holes of the file.
        """
        digest = hashlib.sha256()
        with to.open("wb") as file:
            for piece in self._pieces(name, limit):
                digest.update(piece)
                if piece.count(0) == len(piece):
                    file.seek(len(piece), SEEK_CUR)
                else:
                    file.write(piece)
            file.truncate()
        return digest.hexdigest()

    def _pieces(self, name: str, limit: int) -> Iterator[bytes]:
        info = self._members.get(name)
        if info is None:
            raise UsageError(f"{self.file} has no member {name[:80]!r}")
        size = 0
        try:
            with self._zip.open(info) as stream:
                while piece := stream.read(_CHUNK):
                    size += len(piece)
                    if size > limit:
                        raise UsageError(f"{self.file}: member {name[:80]!r} is larger than {limit} bytes")
                    yield piece
        except _DAMAGED as error:
            raise UsageError(f"{self.file}: member {name[:80]!r} can't be read: {error}") from error

    def close(self) -> None:
        self._zip.close()


def write_archive(file: Path, members: Mapping[str, bytes | Path]) -> None:
    """Write a zip that appears as a whole or not at all; a path is a file whose content goes in.

    The same members give the same bytes.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for name, content in members.items():
                info = zipfile.ZipInfo(name, _EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o600 << 16
                if isinstance(content, Path):
                    with content.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                        while piece := source.read(_CHUNK):
                            target.write(piece)
                else:
                    archive.writestr(info, content)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
