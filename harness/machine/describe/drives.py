"""Where disks, CDs and floppies of a machine sit: the same description gives the same places, always.

A clone's drives must be where the template's were, and an installed Windows looks for its disk where it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.machine.describe.spec import DiskBus, DiskFormat, Hardware, MachineSpec

__all__ = ["Drive", "DriveKind", "is_q35", "lay_out"]

_PREFIX: Final = {DiskBus.IDE: "hd", DiskBus.SATA: "sd", DiskBus.VIRTIO: "vd"}
#: Two IDE channels with two places each; six SATA ports of one controller.
_PLACES: Final = {DiskBus.IDE: 4, DiskBus.SATA: 6, DiskBus.VIRTIO: 16}
#: CDs start at the secondary master, where old systems look first, and leave two places to disks.
_FIRST_CD: Final = 2


class DriveKind(StrEnum):
    DISK = "disk"
    CD = "cdrom"
    FLOPPY = "floppy"


@dataclass(frozen=True, slots=True)
class Drive:
    """One drive at its place. `target` is libvirt's name for it: "sda", "hdc", "fda"."""

    kind: DriveKind
    target: str
    bus: str
    path: Path | None
    format: DiskFormat
    read_only: bool
    boot_order: int | None = None


def is_q35(hardware: Hardware) -> bool:
    return "q35" in hardware.machine


def lay_out(spec: MachineSpec) -> tuple[Drive, ...]:
    """Every drive of a machine: disks, CDs, floppies. Raises `UsageError` when two want the same place."""
    taken: dict[tuple[DiskBus, int], str] = {}
    drives = [*_disks(spec, taken), *_discs(spec, taken), *_floppies(spec)]
    order = iter(range(1, len(drives) + 1))
    first, second = (DriveKind.CD, DriveKind.DISK) if spec.boot_from_cd else (DriveKind.DISK, DriveKind.CD)
    orders = {d.target: next(order) for kind in (first, second) for d in drives if d.kind is kind}
    return tuple(
        Drive(d.kind, d.target, d.bus, d.path, d.format, d.read_only, orders.get(d.target)) for d in drives
    )


def _disks(spec: MachineSpec, taken: dict[tuple[DiskBus, int], str]) -> Iterator[Drive]:
    for disk in sorted(spec.disks, key=lambda disk: disk.target):
        bus = disk.bus or spec.hardware.disk_bus
        place = (bus, disk.target)
        if not 0 <= disk.target < _PLACES[bus]:
            raise UsageError(
                f"{spec.name}: place {disk.target} of {disk.path}: {bus} has {_PLACES[bus]} places"
            )
        if disk.format is DiskFormat.VHDX:  # QEMU could, libvirt has no such format
            raise UsageError(f"{spec.name}: {disk.path} is VHDX; convert it: qemu-img convert -O qcow2")
        if place in taken:
            raise UsageError(
                f"{spec.name}: {disk.path} and {taken[place]} both want {bus} place {disk.target}"
            )
        taken[place] = str(disk.path)
        yield Drive(DriveKind.DISK, _name(bus, disk.target), bus, disk.path, disk.format, disk.read_only)


def _discs(spec: MachineSpec, taken: dict[tuple[DiskBus, int], str]) -> Iterator[Drive]:
    bus = DiskBus.SATA if is_q35(spec.hardware) else DiskBus.IDE
    for disc in (r for r in spec.removable if not r.floppy):
        places = [*range(_FIRST_CD, _PLACES[bus]), *range(_FIRST_CD)]
        free = next((place for place in places if (bus, place) not in taken), None)
        if free is None:
            raise UsageError(f"{spec.name}: no place on {bus} left for a CD ({disc.path or 'empty'})")
        taken[bus, free] = f"the CD {disc.path or '(empty)'}"
        yield Drive(DriveKind.CD, _name(bus, free), bus, disc.path, DiskFormat.RAW, read_only=True)


def _floppies(spec: MachineSpec) -> Iterator[Drive]:
    floppies = [r for r in spec.removable if r.floppy]
    if len(floppies) > 2:
        raise UsageError(f"{spec.name}: a machine has two floppy drives, not {len(floppies)}")
    for number, floppy in enumerate(floppies):
        yield Drive(DriveKind.FLOPPY, f"fd{'ab'[number]}", "fdc", floppy.path, DiskFormat.RAW, read_only=True)


def _name(bus: DiskBus, place: int) -> str:
    return f"{_PREFIX[bus]}{chr(ord('a') + place)}"
