"""Deploy by a read-only disc: an ISO 9660 image with the files, attached to a guest that has no network.

Joliet carries the names as they are; the plain ISO names are numbered. The same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

from harness.channel.sources import size_of
from harness.errors import ToolMissingError, UsageError

__all__ = ["MARKER", "MAX_DISC", "make_disc"]

#: The file by which a disc is recognised in a guest, whatever letter its drive has there.
MARKER: Final = "harness.id"
#: Bytes of content: what a DVD holds.
MAX_DISC: Final = 4_700_000_000
_MAX_FILES: Final = 4096
#: Characters of a Joliet name in 16-bit units (Joliet Specification, section 3).
_MAX_NAME: Final = 64
_MAX_DEPTH: Final = 7
_SECTOR: Final = 2048
#: Every date on the disc: 2000-01-01, since content alone decides what a disc is.
_EPOCH: Final = 946_684_800


def make_disc(
    files: Mapping[str, bytes | Path], label: str, into: Path, *, marker: bytes | None = None
) -> None:
    """Write an image of `files` to `into`, which only its owner can read. Names may have folders, with ``/``.

    `marker` becomes the content of the file `MARKER`, which `files` can't have then, and a mark in the volume
    descriptor, so that a system sees another disc by its first sector.

    Raises `UsageError` for names that Windows can't have, for too many files or bytes, and for a bad label,
    and `ToolMissingError` without pycdlib.
    """
    if not re.fullmatch(r"[A-Z0-9_]{1,16}", label):
        raise UsageError(f"{label!r} is no label of a disc: up to 16 of A-Z, 0-9 and _")
    if marker is not None:
        if MARKER in map(str.lower, files):
            raise UsageError(f"{MARKER} can't be on a disc: it is how the harness knows its discs")
        files = {**files, MARKER: marker}
    names = sorted(files)
    _check(names)
    total = sum(size_of(files[name]) for name in names)
    if total > MAX_DISC:
        raise UsageError(f"a disc of {total} bytes; the limit is {MAX_DISC}")
    try:
        import pycdlib
        from pycdlib.pycdlibexception import PyCdlibException
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            "discs need pycdlib; run: pip install 'regfilter-harness[machines]'"
        ) from error
    iso = pycdlib.PyCdlib()
    mark = hashlib.sha256(marker).hexdigest().upper() if marker is not None else ""
    iso.new(interchange_level=3, joliet=3, vol_ident=label, vol_set_ident=mark)
    try:
        _fill(iso, {name: files[name] for name in names})
        _date(iso)
        with _written_whole(into) as stream:
            iso.write_fp(stream)
            _date_volumes(stream)
    except PyCdlibException as error:
        raise UsageError(f"these files make no disc: {error}") from error
    finally:
        iso.close()


def _fill(iso: Any, files: Mapping[str, bytes | Path]) -> None:
    folders: dict[str, str] = {"": ""}
    for number, (name, content) in enumerate(files.items()):
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if folder not in folders:
                folders[folder] = f"{folders['/'.join(parts[: depth - 1])]}/D{len(folders):06}"
                iso.add_directory(folders[folder], joliet_path=f"/{folder}")
        plain = f"{folders['/'.join(parts[:-1])]}/F{number:06}.BIN;1"
        if isinstance(content, Path):
            iso.add_file(str(content), plain, joliet_path=f"/{name}")
        else:
            iso.add_fp(io.BytesIO(content), len(content), plain, joliet_path=f"/{name}")


def _date(iso: Any) -> None:
    """Put one date on files and folders; pycdlib takes the clock's."""
    from pycdlib.dates import DirectoryRecordDate

    entry = DirectoryRecordDate()
    entry.new(_EPOCH)
    for kind in ("iso_path", "joliet_path"):
        for folder, _, _ in iso.walk(**{kind: "/"}):
            for record in iso.list_children(**{kind: folder}):
                if record is not None:
                    record.date = entry
        iso.get_record(**{kind: "/"}).date = entry


def _date_volumes(stream: IO[bytes]) -> None:
    """The same in the volume descriptors, which get the clock's time while they are written.

    ECMA-119, 8.4: from sector 16 on, up to type 255; dates of creation, modification, expiration (none) and
    effect of 17 bytes each from byte 813 on.
    """
    from pycdlib.dates import VolumeDescriptorDate

    date = VolumeDescriptorDate()
    date.new(_EPOCH)
    sector = 16
    while True:
        stream.seek(sector * _SECTOR)
        if stream.read(1)[0] == 255:
            return
        for at in (813, 830, 864):
            stream.seek(sector * _SECTOR + at)
            stream.write(date.record())
        sector += 1


def _check(names: list[str]) -> None:
    if len(names) > _MAX_FILES:
        raise UsageError(f"a disc of {len(names)} files; the limit is {_MAX_FILES}")
    seen: dict[str, str] = {}
    for name in names:
        parts = name.split("/")
        for part in parts:
            # What Windows refuses in a name ("Naming Files, Paths, and Namespaces"), and Joliet's limits.
            bad = not part or part.endswith((".", " ")) or re.search(r'[<>:"|?*\\;\x00-\x1f]', part)
            if bad or len(part.encode("utf-16-le", "surrogatepass")) > 2 * _MAX_NAME:
                raise UsageError(
                    f"{name!r} can't be on a disc: names have up to {_MAX_NAME} characters, only those that "
                    "Windows allows"
                )
        if len(parts) > _MAX_DEPTH:
            raise UsageError(f"{name!r} lies too deep for a disc: {_MAX_DEPTH} levels")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            kind = "a folder" if depth < len(parts) else "a file"
            before = seen.setdefault(path.lower(), f"{kind} {path}")
            if before != f"{kind} {path}":
                raise UsageError(f"{name!r} is on the disc already, as {before}: case makes no difference")


class _written_whole:  # noqa: N801 - reads as a function
    """A file that appears under its name when all of it is there."""

    def __init__(self, into: Path) -> None:
        self._into = into

    def __enter__(self) -> IO[bytes]:
        number, name = tempfile.mkstemp(prefix=f".{self._into.name}.", dir=self._into.parent)
        self._partial = Path(name)
        self._stream = os.fdopen(number, "w+b")
        return self._stream

    def __exit__(self, kind: object, *_: object) -> None:
        self._stream.close()
        if kind is None:
            self._partial.replace(self._into)
        else:
            self._partial.unlink()
