"""The discs an install reads besides its medium: a floppy, a rebuilt boot CD, and what is on an answer disc.

A CD carries no disk number, so the system disk stays disk 0 for setup, as the answer file says. The floppy is
what text-mode setup of NT 5 accepts: FAT12 on 1.44 MB with the parameters of a real one.
"""

from __future__ import annotations

import io
import os
import re
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from harness.errors import InfrastructureError, ToolMissingError, UsageError
from harness.image.tools import find_tool, run

__all__ = ["DISC_LABEL", "floppy_problems", "list_disc", "list_floppy", "make_floppy", "rebuild_disc"]

#: Of the answer disc and the floppy.
DISC_LABEL: Final = "HARNESS"
_FLOPPY_BYTES: Final = 2880 * 512
#: What is left for files on a floppy of FAT12: 2880 sectors less boot sector, two FATs of 9, 14 of the root.
_FLOPPY_ROOM: Final = (2880 - 1 - 18 - 14) * 512
_MAX_ENTRIES: Final = 100_000


def _pycdlib() -> Any:
    try:
        import pycdlib
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            "making install discs needs pycdlib: pip install 'regfilter-harness[machines]'"
        ) from error
    return pycdlib.PyCdlib()


def rebuild_disc(source: Path, image: Path, files: Mapping[str, bytes]) -> None:
    """Make `image`, a copy of the bootable CD `source` in which `files` are added or replaced.

    Raises `UsageError` where the source is no CD with long names, `InfrastructureError` where it can't be
    written again.
    """
    import pycdlib.pycdlibexception as trouble

    disc = _pycdlib()
    try:
        disc.open(str(source))
    except trouble.PyCdlibException as error:
        raise UsageError(f"{source}: not a readable disc image ({error})") from None
    try:
        if not disc.has_joliet():
            raise UsageError(f"{source} has no long names (Joliet); it is not the boot CD that is wanted")
        _add(disc, files, _Names.of(disc))
        _write(disc, image)
    except trouble.PyCdlibException as error:
        raise InfrastructureError(f"{source} can't be written again with the answer file: {error}") from None
    finally:
        disc.close()


class _Names:
    """Names of ISO 9660 beside those of Joliet: capital letters, digits and underscores, each once."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        #: Folders that are there already: their Joliet path by its lower-case form.
        self.folders: dict[str, str] = {"": ""}
        #: The same of files.
        self.files: dict[str, str] = {}

    @classmethod
    def of(cls, disc: Any) -> _Names:
        """Those of a disc that was opened."""
        names = cls()
        for folder, _, children in disc.walk(joliet_path="/"):
            names.folders[folder.strip("/").lower()] = folder.rstrip("/")
            for child in children:
                path = f"{folder.rstrip('/')}/{child}"
                names.files[path.strip("/").split(";")[0].lower()] = path
        for folder, _, children in disc.walk(iso_path="/"):
            names.taken.update(f"{folder.rstrip('/')}/{child}".split(";")[0] for child in children)
        return names

    def folder(self, path: PurePosixPath) -> str:
        return "/".join(_iso(part, 31) for part in path.parts)

    def file(self, path: PurePosixPath) -> str:
        stem, suffix = _iso(path.stem, 20), _iso(path.suffix.lstrip("."), 3)
        place = self.folder(path.parent)
        for number in range(1000):
            name = f"{stem}{number or ''}.{suffix}"
            full = f"/{place}/{name}".replace("//", "/")
            if full not in self.taken:
                self.taken.add(full)
                return f"{full};1"
        raise InfrastructureError(f"{path}: too many files of nearly the same name")


def _iso(name: str, most: int) -> str:
    return re.sub(r"[^A-Z0-9_]", "_", name.upper())[:most]


def _add(disc: Any, files: Mapping[str, bytes], names: _Names) -> None:
    for name, content in sorted(files.items()):
        path = PurePosixPath(name)
        for folder in reversed(path.parents[:-1]):
            key = str(folder).lower()
            if key not in names.folders:
                place = f"{names.folders[_parent(folder)]}/{folder.name}"
                disc.add_directory(iso_path=f"/{names.folder(folder)}", joliet_path=place)
                names.folders[key] = place
        old = names.files.get(name.lower())
        if old is None:
            iso, joliet = names.file(path), f"{names.folders[_parent(path)]}/{path.name}"
        else:  # replaced under both its names: boot loaders know it by the shorter one
            iso, joliet = _iso_path(disc, old), old
            disc.rm_file(iso_path=iso)
        disc.add_fp(io.BytesIO(content), len(content), iso_path=iso, joliet_path=joliet)


def _parent(path: PurePosixPath) -> str:
    return "" if path.parent == PurePosixPath(".") else str(path.parent).lower()


def _iso_path(disc: Any, joliet: str) -> str:
    """The ISO 9660 path of a file, by its contents' place: the two catalogues name the same sectors."""
    wanted = disc.get_record(joliet_path=joliet)
    for folder, _, children in disc.walk(iso_path="/"):
        for child in children:
            path = f"{folder.rstrip('/')}/{child}"
            if disc.get_record(iso_path=path).inode is wanted.inode:
                return path
    raise InfrastructureError(f"{joliet} has a long name only, and can't be replaced")


def _write(disc: Any, image: Path) -> None:
    descriptor = os.open(image, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        disc.write_fp(out)


def list_disc(image: Path) -> dict[str, bytes]:
    """Every file of a disc with long names (`harness.channel.disc`), read back by its Joliet name."""
    disc = _pycdlib()
    disc.open(str(image))
    found: dict[str, bytes] = {}
    try:
        for folder, _, children in disc.walk(joliet_path="/"):
            for child in children:
                if len(found) >= _MAX_ENTRIES:
                    raise UsageError(f"{image} has more than {_MAX_ENTRIES} files")
                path = f"{folder.rstrip('/')}/{child}"
                content = io.BytesIO()
                disc.get_file_from_iso_fp(content, joliet_path=path)
                found[path.lstrip("/").split(";")[0]] = content.getvalue()
    finally:
        disc.close()
    return found


# -- the floppy ----------------------------------------------------------------------------------------------


def make_floppy(image: Path, files: Mapping[str, bytes]) -> None:
    """Make `image`, a floppy of 1.44 MB with `files` in its root; only its owner can read it."""
    needed = sum(-(-len(content) // 512) * 512 for content in files.values())
    if needed > _FLOPPY_ROOM:
        raise UsageError(f"{needed:,} bytes of files don't fit on a floppy, which takes {_FLOPPY_ROOM:,}")
    image.unlink(missing_ok=True)
    image.touch(mode=0o600)
    environment = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": "/dev/null"}
    run(
        [find_tool("mformat"), "-i", str(image), "-C", "-f", "1440", "-v", DISC_LABEL, "::"],
        environment=environment,
    )
    with tempfile.TemporaryDirectory(prefix="harness-floppy-") as work:
        for name, content in sorted(files.items()):
            source = Path(work, name)
            source.write_bytes(content)
            run([find_tool("mcopy"), "-i", str(image), str(source), f"::/{name}"], environment=environment)


def list_floppy(image: Path) -> dict[str, bytes]:
    """Every file in a floppy's root."""
    with tempfile.TemporaryDirectory(prefix="harness-floppy-") as work:
        environment = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": "/dev/null"}
        run([find_tool("mcopy"), "-n", "-i", str(image), "::/*", work], environment=environment)
        return {path.name: path.read_bytes() for path in Path(work).iterdir()}


def floppy_problems(image: Path) -> tuple[str, ...]:
    """Why text-mode setup would not take a floppy; empty when it is as one that was formatted on a PC.

    Offsets of the BIOS parameter block: "FAT: General Overview of On-Disk Format" (Microsoft).
    """
    if image.stat().st_size != _FLOPPY_BYTES:
        return (f"has {image.stat().st_size} bytes, a 1.44 MB floppy has {_FLOPPY_BYTES}",)
    with image.open("rb") as file:
        boot = file.read(1024)
    fields = struct.unpack_from("<HBHBHHBHHH", boot, 11)
    names = (
        "bytes in a sector",
        "sectors in a cluster",
        "reserved sectors",
        "FATs",
        "root entries",
        "sectors",
        "media byte",
        "sectors in a FAT",
        "sectors in a track",
        "heads",
    )
    wanted = (512, 1, 1, 2, 224, 2880, 0xF0, 9, 18, 2)
    found = [
        f"{name}: {field:#x}, not {value:#x}"
        for name, field, value in zip(names, fields, wanted, strict=True)
        if field != value
    ]
    if boot[510:512] != b"\x55\xaa":
        found.append("its boot sector has no signature")
    if boot[512:515] != b"\xf0\xff\xff":
        found.append("its FAT is not one of 12 bits")
    return tuple(found)
