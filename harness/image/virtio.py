"""Drivers of the virtio-win disc that the user gave: which a system gets, and the hardware it has with them.

The disc has a folder for each driver, below it one for each system and one for each architecture:
``viostor/w11/amd64`` (virtio-win-pkg-scripts, util/filemap.py). What fits is copied beside the answer file:
one disc less, and the image depends on these files alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from harness.driver.image import read_headers
from harness.errors import UsageError
from harness.guest.base import Arch
from harness.image.media import Disc, MediaError, open_disc
from harness.machine.describe.spec import DiskBus, Hardware, Nic, PanicModel
from harness.registry.version import VISTA, WIN7, WIN81, WindowsVersion

__all__ = ["DRIVERS", "EARLY", "FoundDriver", "VirtioDrivers", "find_drivers", "with_virtio"]

#: Folder of a driver, and its INF.
_VIOSTOR: Final = "viostor"
_NETKVM: Final = "NetKVM"
_PVPANIC: Final = "pvpanic"
DRIVERS: Final[Mapping[str, str]] = {
    _VIOSTOR: "viostor.inf",  # the disk
    _NETKVM: "netkvm.inf",
    "vioserial": "vioser.inf",  # the runner's port, where a recipe has it on virtio
    _PVPANIC: "pvpanic.inf",
    "fwcfg": "fwcfg.inf",  # memory dumps in Windows' format; qemufwcfg is a null driver for the same device
}
#: Drivers that have to be there before anything goes wrong: their services start at boot.
EARLY: Final = (_PVPANIC, "fwcfg")
_MOST_FILES: Final = 32
_LARGEST: Final = 32 << 20
#: What a driver doesn't need: symbols for its authors.
_LEFT_OUT: Final = (".pdb",)
_VERSION: Final = re.compile(r"^\s*DriverVer\s*=\s*([0-9/]{6,12})\s*,\s*([0-9.]{1,40})", re.MULTILINE | re.I)
_CATALOGUE: Final = re.compile(r"^\s*CatalogFile[\w.]*\s*=\s*([\w.-]{1,64})", re.MULTILINE | re.I)
#: IMAGE_FILE_MACHINE_xxx (winnt.h).
_MACHINES: Final = {Arch.X86: 0x14C, Arch.X64: 0x8664}


@dataclass(frozen=True, slots=True)
class FoundDriver:
    """One driver for one system. `files` are by name."""

    name: str
    folder: str  # where on the disc: "viostor/w11/amd64"
    version: str  # of its INF: "08/04/2025 100.101.104.28000"
    files: Mapping[str, bytes] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.folder} ({self.version})"


@dataclass(frozen=True, slots=True)
class VirtioDrivers:
    """What a disc has for one system. `missing` names the drivers that it hasn't."""

    label: str
    found: tuple[FoundDriver, ...]
    missing: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(driver.name for driver in self.found)

    @property
    def files(self) -> dict[str, bytes]:
        """By path below one folder: ``viostor/viostor.inf``."""
        return {f"{driver.name}/{name}": data for driver in self.found for name, data in driver.files.items()}

    def __str__(self) -> str:
        missing = f"; it has no {', '.join(self.missing)} for this system" if self.missing else ""
        return f"{self.label}: {', '.join(map(str, self.found))}{missing}"


def with_virtio(hardware: Hardware, names: Iterable[str]) -> Hardware:
    """The hardware of a system that has these drivers."""
    drivers = set(names)
    if _VIOSTOR in drivers:
        hardware = replace(hardware, disk_bus=DiskBus.VIRTIO)
    if _NETKVM in drivers and hardware.nic is not Nic.NONE:
        hardware = replace(hardware, nic=Nic.VIRTIO)
    if _PVPANIC in drivers and PanicModel.ISA not in hardware.panic:
        hardware = replace(hardware, panic=(*hardware.panic, PanicModel.ISA))
    return hardware


def find_drivers(path: Path, version: WindowsVersion, arch: Arch, *, server: bool) -> VirtioDrivers:
    """The drivers on the virtio-win disc `path` for a Windows, which must be Vista or later.

    Raises `UsageError` for an older Windows, `MediaError` for a disc that has nothing for it or is another
    one, with what was found and what was wanted.
    """
    if version < VISTA:
        raise UsageError(
            "before Windows Vista, setup takes drivers for disks from a floppy with txtsetup.oem only, which "
            "the harness does not make; leave --virtio-win out: these systems are installed on hardware they "
            "know"
        )
    if not path.is_file():
        raise MediaError(f"{path}: there is no such file")
    systems = _systems(version, server=server)
    with open_disc(path) as disc:
        root = disc.names()
        found, missing = [], []
        for name, inf in DRIVERS.items():
            driver = _find(disc, root, name, inf, systems, arch)
            if driver is None:
                missing.append(name)
            else:
                found.append(driver)
        if not found:
            held = ", ".join(sorted(root.values())[:8]) or "nothing"
            wanted = " or ".join(f"{_VIOSTOR}/{system}/{_folder_of(arch)}" for system in systems)
            raise MediaError(
                f"{path.name} (label {disc.label!r}) has no drivers for this system: found {held}; wanted a "
                f"virtio-win disc with {wanted}"
            )
        return VirtioDrivers(disc.label or path.name, tuple(found), tuple(missing))


def _folder_of(arch: Arch) -> str:
    return "amd64" if arch is Arch.X64 else "x86"


def _systems(version: WindowsVersion, *, server: bool) -> tuple[str, ...]:
    """Folders of a system, the best first: an older disc has none for a newer system, whose predecessor's do.

    Vista's kernel is Server 2008's.
    """
    kind = (version.major, version.minor)
    if kind == (6, 0):
        return ("2k8",)
    if kind == (WIN7.major, WIN7.minor):
        return ("2k8R2", "w7") if server else ("w7",)
    if kind <= (WIN81.major, WIN81.minor):
        return ("2k12R2", "w8.1") if server else ("w8.1",)
    newest = _SERVERS if server else _CLIENTS
    return tuple(name for build, name in newest if version.build >= build)


#: Builds from which on a system has a folder of its own, the newest first.
_CLIENTS: Final = ((22000, "w11"), (10240, "w10"))
_SERVERS: Final = ((26100, "2k25"), (20348, "2k22"), (17763, "2k19"), (14393, "2k16"), (10240, "w10"))


def _find(
    disc: Disc, root: Mapping[str, str], name: str, inf: str, systems: tuple[str, ...], arch: Arch
) -> FoundDriver | None:
    place = root.get(name.upper())
    if place is None:
        return None
    for system in systems:
        below = disc.names(f"/{place}")
        if (folder := below.get(system.upper())) is None:
            continue
        folder = f"{place}/{folder}"
        if (last := disc.names(f"/{folder}").get(_folder_of(arch).upper())) is None:
            continue
        folder = f"{folder}/{last}"
        files = _files(disc, folder)
        return FoundDriver(name, folder, _checked(folder, files, inf, arch), files)
    return None


def _files(disc: Disc, folder: str) -> dict[str, bytes]:
    names = [name for name in disc.names(f"/{folder}").values() if not name.lower().endswith(_LEFT_OUT)]
    if len(names) > _MOST_FILES:
        raise MediaError(f"{folder} on the virtio-win disc has {len(names)} files, which no driver has")
    files = {}
    for name in sorted(names):
        with disc.open(f"/{folder}", name) as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise MediaError(f"{folder}/{name} on the virtio-win disc is larger than a driver's file is")
        files[name.split(";")[0].lower()] = data
    return files


def _checked(folder: str, files: Mapping[str, bytes], inf: str, arch: Arch) -> str:
    """The INF's version. Raises `MediaError` for a folder that Windows could not install from."""
    if inf not in files:
        raise MediaError(
            f"{folder} on the virtio-win disc: found {', '.join(files) or 'nothing'}; wanted {inf}"
        )
    text = _text(files[inf])
    version, catalogue = _VERSION.search(text), _CATALOGUE.search(text)
    if version is None or catalogue is None:
        raise MediaError(f"{folder}/{inf} on the virtio-win disc is no INF with DriverVer and CatalogFile")
    if catalogue[1].lower() not in files:
        raise MediaError(f"{folder} on the virtio-win disc: its catalogue {catalogue[1]} is not there")
    programs = {name: data for name, data in files.items() if name.endswith(".sys")}
    if not programs:
        raise MediaError(f"{folder} on the virtio-win disc: found {', '.join(files)}; wanted a .sys")
    for name, data in programs.items():
        try:
            machine = read_headers(data).machine
        except ValueError as error:
            raise MediaError(f"{folder}/{name} on the virtio-win disc is no driver: {error}") from None
        if machine != _MACHINES[arch]:
            raise MediaError(
                f"{folder}/{name} on the virtio-win disc is for another processor ({machine:#x})"
            )
    return f"{version[1]} {version[2]}"


def _text(raw: bytes) -> str:
    """An INF's: UTF-16 with its mark, or one byte a character."""
    return raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "latin-1", "replace")
