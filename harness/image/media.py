"""What an install medium is, by what is inside: family, architectures, service pack, images and editions.

Volume labels are told but never trusted, they are not unique to a build. The signs of NT 5 media (tag files
in the root, AMD64 beside I386) and of ReactOS (reactos/) are those that dockur/windows goes by.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from harness.errors import ToolMissingError, UsageError
from harness.image.wim import WimFormatError, WimImage, read_wim_images

__all__ = ["Disc", "MediaError", "MediaFacts", "MediaFamily", "inspect_media", "open_disc"]

#: Root entries looked at; a medium has a few dozen.
_MAX_ENTRIES: Final = 10_000
#: What pycdlib runs into where it expects more.
_CUT_SHORT: Final = (struct.error, IndexError, ValueError)
_SECTOR: Final = 2048
#: Sectors at the end that copies of good discs lack: those after the last file hold nothing.
_MAY_LACK: Final = 300
_INSTALL_IMAGES: Final = ("install.wim", "install.esd", "install.swm")
#: WIN51IP.SP3: tag file of a service pack.
_SERVICE_PACK: Final = re.compile(r"WIN5[12].*\.SP(\d)", re.IGNORECASE)
#: Tag files of XP Home and Professional, of XP x64, and of the editions of Server 2003.
_XP_TAGS: Final = frozenset({"WIN51IC", "WIN51IP"})
_XP_X64_TAGS: Final = frozenset({"WIN51AP"})
_SERVER_2003_TAGS: Final = frozenset(
    f"WIN51{edition}" for edition in ("IS", "IA", "IB", "ID", "IL", "AA", "AD", "AS", "MA", "MD", "MP")
)


class MediaError(UsageError):
    """The medium can't be used; the message says what was found and what was wanted."""


class MediaFamily(StrEnum):
    XP = "xp"
    XP_X64 = "xp-x64"
    SERVER_2003 = "server-2003"
    NT6 = "nt6"  # Vista and later: one WIM with the editions
    REACTOS = "reactos"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What was found on a medium. `entries` are names in its root, for the message about an unknown one."""

    path: Path
    size: int
    label: str
    family: MediaFamily
    architectures: tuple[str, ...] = ()
    service_pack: int = 0
    images: tuple[WimImage, ...] = ()
    entries: tuple[str, ...] = ()
    #: It has efi/boot and so can start on UEFI firmware.
    boots_uefi: bool = False

    def __str__(self) -> str:
        """One line that tells a person what this medium is."""
        label = f"label {self.label!r}" if self.label else "no label"
        if self.family is MediaFamily.UNKNOWN:
            listed = ", ".join(self.entries[:8]) or "nothing"
            return f"no Windows or ReactOS medium ({label}, in its root: {listed})"
        arch = "/".join(self.architectures) or "unknown architecture"
        if self.family is MediaFamily.NT6:
            builds = "/".join(dict.fromkeys(str(image.build) for image in self.images))
            editions = ", ".join(dict.fromkeys(image.edition or image.name for image in self.images))
            return f"Windows build {builds} {arch} ({label}; editions: {editions})"
        pack = f" SP{self.service_pack}" if self.service_pack else ""
        return f"{self.family}{pack} {arch} ({label})"


class Disc:
    """An ISO 9660 or UDF disc: names in folders, and files. Windows media have their files in UDF only."""

    def __init__(self, disc: Any) -> None:
        self._disc = disc
        self._where = "udf_path" if disc.has_udf() else "joliet_path" if disc.has_joliet() else "iso_path"

    @property
    def label(self) -> str:
        return bytes(self._disc.pvd.volume_identifier).decode("latin-1").strip(" \0")

    @property
    def sectors(self) -> int:
        """How many of 2048 bytes the volume says it has: UDF's partition (ECMA-167, 3/10.5) or ISO 9660's."""
        if not self._disc.has_udf():
            return int(self._disc.pvd.space_size)
        partitions = self._disc.udf_main_descs.partitions
        return max((part.part_start_location + part.part_length for part in partitions), default=0)

    def names(self, folder: str = "/") -> dict[str, str]:
        """Upper-case name to name as it stands, of the entries of a folder; empty when there is none."""
        import pycdlib.pycdlibexception as trouble

        found: dict[str, str] = {}
        try:
            for child in self._disc.list_children(**{self._where: folder}):
                if child is None or len(found) >= _MAX_ENTRIES:
                    continue
                name = child.file_identifier()
                encoding = "utf-16-be" if self._where == "joliet_path" else "utf-8"
                text = name.decode(encoding, "replace").split(";")[0] if name else ""
                if text and text not in (".", "..", "\0", "\1"):
                    found[text.upper()] = name.decode(encoding, "replace")
        except trouble.PyCdlibInvalidInput:
            return {}
        return found

    @contextmanager
    def open(self, folder: str, name: str) -> Iterator[Any]:
        """A file by its name as `names` gave it."""
        with self._disc.open_file_from_iso(**{self._where: f"{folder.rstrip('/')}/{name}"}) as file:
            yield file


@contextmanager
def open_disc(path: Path) -> Iterator[Disc]:
    """A disc image to look at. Raises `MediaError` for what is none, `ToolMissingError` without pycdlib."""
    try:
        import pycdlib
        import pycdlib.pycdlibexception as trouble
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            "reading install media needs pycdlib: pip install 'regfilter-harness[machines]'"
        ) from error
    disc = pycdlib.PyCdlib()
    try:
        disc.open(str(path))
    except (trouble.PyCdlibException, *_CUT_SHORT) as error:
        raise MediaError(
            f"{path}: not a readable disc image ({error}); a complete download of an .iso is wanted"
        ) from None
    except OSError as error:
        raise MediaError(f"{path}: can't be read: {error.strerror or error}") from None
    try:
        yield Disc(disc)
    finally:
        disc.close()


def inspect_media(path: Path) -> MediaFacts:
    """Look at an install medium without unpacking it.

    Raises `MediaError` for what isn't a readable disc image, and for install images that can't be read.
    """
    if not path.is_file():
        raise MediaError(f"{path}: there is no such file")
    with open_disc(path) as medium:
        root = medium.names()
        size = path.stat().st_size
        if size < (medium.sectors - _MAY_LACK) * _SECTOR:
            raise MediaError(
                f"{path} is not complete: found {size:,} bytes, wanted {medium.sectors * _SECTOR:,}, which "
                f"its volume (label {medium.label!r}) has; download it again"
            )
        found = MediaFacts(
            path=path,
            size=size,
            label=medium.label,
            family=MediaFamily.UNKNOWN,
            entries=tuple(sorted(root.values()))[:64],
            boots_uefi="EFI" in root,
        )
        if "SOURCES" in root and (images := _windows_6(medium, root["SOURCES"], path)):
            architectures = tuple(dict.fromkeys(image.arch for image in images))
            return replace(found, family=MediaFamily.NT6, images=images, architectures=architectures)
        if "REACTOS" in root:
            return replace(found, family=MediaFamily.REACTOS, architectures=("x86",))
        arch = "x64" if "AMD64" in root else "x86" if "I386" in root else ""
        if not arch:
            return found  # tag files without the files they speak of are no sign
        packs = [int(match[1]) for name in root if (match := _SERVICE_PACK.fullmatch(name))]
        family = _windows_5(frozenset(name.partition(".")[0] for name in root))
        return replace(found, family=family, architectures=(arch,), service_pack=max(packs, default=0))


def _windows_6(medium: Disc, sources: str, path: Path) -> tuple[WimImage, ...]:
    names = medium.names(f"/{sources}")
    for candidate in _INSTALL_IMAGES:
        if (name := names.get(candidate.upper())) is None:
            continue
        with medium.open(f"/{sources}", name) as file:
            try:
                return read_wim_images(file, file.length())
            except WimFormatError as error:
                raise MediaError(f"{path}: /{sources}/{name}: {error}") from None
    return ()


def _windows_5(tags: frozenset[str]) -> MediaFamily:
    """Which of the systems before Vista the tag files in the root name."""
    for family, wanted in (
        (MediaFamily.SERVER_2003, _SERVER_2003_TAGS),
        (MediaFamily.XP_X64, _XP_X64_TAGS),
        (MediaFamily.XP, _XP_TAGS),
    ):
        if tags & wanted:
            return family
    return MediaFamily.UNKNOWN
