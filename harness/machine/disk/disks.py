"""Disk images: overlays that take what a machine writes, and a careful look at images from elsewhere.

An image from elsewhere is not trusted: it may name other files of the host as its own content.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import InfrastructureError, UsageError
from harness.machine.describe.spec import DiskFormat
from harness.machine.disk.qcow2 import overlay_bytes, read_header
from harness.machine.disk.qemu_img import run_qemu_img

__all__ = ["DiskFacts", "create_overlay", "inspect_disk", "virtual_size"]

_SECTOR: Final = 512


def create_overlay(path: Path, backing: Path, format: DiskFormat) -> None:
    """A new, empty overlay at `path` over `backing`, as large as that. An existing file is not touched.

    The backing file is named by its absolute path and its format explicitly: QEMU guesses neither.
    """
    try:
        content = overlay_bytes(backing.absolute(), format.value, virtual_size(backing, format))
        with path.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(content)
    except FileExistsError as error:
        raise InfrastructureError(
            f"the overlay {path} exists already; overlays are made anew each time"
        ) from error
    except OSError as error:
        raise InfrastructureError(
            f"can't make the overlay {path} over {backing}: {error.strerror}"
        ) from error


def virtual_size(path: Path, format: DiskFormat) -> int:
    """Bytes that a guest sees of a disk. Raises `UsageError` for one that libvirt can't use."""
    if format is DiskFormat.RAW:
        return -(-path.stat().st_size // _SECTOR) * _SECTOR
    if format is DiskFormat.QCOW2:
        header = read_header(path)
        if header is None:
            raise UsageError(f"{path} is no qcow2 image; look at it with: qemu-img info {path}")
        return header.virtual_size
    raise UsageError(
        f"{path} is a {format} image, which libvirt can't use; convert it: qemu-img convert -O qcow2"
    )


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """A disk that stands alone. Sizes in bytes: what the guest sees, what it takes on this host."""

    path: Path
    format: DiskFormat
    virtual_size: int
    actual_size: int


def inspect_disk(path: Path, format: DiskFormat) -> DiskFacts:
    """Check that `path` is a disk of that format and needs no other file. Opens nothing but `path`.

    Raises `UsageError` that says what to do, `ToolMissingError` without qemu-img.
    """
    try:
        header = read_header(path)
    except OSError as error:
        raise UsageError(f"can't read the disk {path}: {error.strerror}") from error
    # By the header, because qemu-img opens what an image names before it tells.
    if header is not None and format is not DiskFormat.RAW:
        foreign = header.backing_file or ("an external data file" if header.data_file else None)
        if foreign:
            raise UsageError(
                f"{path} is not whole, it needs {foreign!r}; if that is yours, make one disk of both: "
                f"qemu-img convert -O qcow2 {path} whole.qcow2"
            )
        if header.encrypted:
            raise UsageError(f"{path} is encrypted; decrypt it first, with qemu-img convert")
        if header.corrupt:
            raise UsageError(f"{path} is marked corrupt; look at it with: qemu-img check {path}")
    if header is not None and format is DiskFormat.RAW:
        raise UsageError(f"{path} is said to be raw but is a qcow2 image; name its format: qcow2")
    info = _qemu_img_info(path, format)
    return DiskFacts(path, format, int(info["virtual-size"]), int(info.get("actual-size", 0)))


def _qemu_img_info(path: Path, format: DiskFormat) -> dict[str, Any]:
    try:
        said = run_qemu_img("info", path, "--output=json", "-f", format.value)
    except UsageError as error:
        raise UsageError(
            f"{path} can't be read as {format}: {error}; which format it is: qemu-img info {path}"
        ) from error
    try:
        info = json.loads(said)
    except ValueError as error:
        raise InfrastructureError(f"qemu-img info {path} gave no JSON: {said[:200]!r}") from error
    if not isinstance(info, dict) or not isinstance(info.get("virtual-size"), int):
        raise InfrastructureError(f"qemu-img info {path} gave no size: {said[:200]!r}")
    return info
