"""A hard disk with one FAT partition, made without root: what every Windows since NT 4 and every BIOS reads.

The file system is mtools' work; the partition table, one sector, is ours. Old systems want the partition on a
track's boundary and the same geometry in both, so it starts at sector 63 and has 255 heads of 63 sectors.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from harness.errors import UsageError
from harness.image.tools import find_tool, run

__all__ = ["make_fat_disk"]

_SECTOR: Final = 512
_HEADS, _TRACK = 255, 63
_START: Final = _TRACK  # sectors
_FAT16: Final = 0x06  # "FAT16, 32 MB or larger"
_LEAST_MIB, _MOST_MIB = 40, 2000

#: The disk's signature and the volume's serial number: a system writes its own where there is none.
_SIGNATURE: Final = 0x52475246
_LABEL: Final = "HARNESS"


def make_fat_disk(image: Path, files: Mapping[str, bytes], *, size_mib: int = 64, epoch: int = 0) -> None:
    """Make `image`, a raw disk, with `files`: paths as ``rt/start.cmd``, folders are made.

    Every file has the time `epoch`. Raises `UsageError` for a size FAT16 can't have or files that don't
    fit, `ToolMissingError` without mtools.
    """
    if not _LEAST_MIB <= size_mib <= _MOST_MIB:
        raise UsageError(f"a FAT16 disk has from {_LEAST_MIB} to {_MOST_MIB} MiB, not {size_mib}")
    needed = sum(map(len, files.values()))
    if needed > (size_mib << 20) * 9 // 10:
        raise UsageError(
            f"{needed >> 20} MiB of files don't fit on a payload disk of {size_mib} MiB; "
            "give it a larger size_mib"
        )
    cylinders = (size_mib << 20) // (_HEADS * _TRACK * _SECTOR)
    sectors = cylinders * _HEADS * _TRACK
    with image.open("wb") as disk:
        disk.truncate(sectors * _SECTOR)
        disk.write(_partition_table(sectors - _START))
    drive = f"{image}@@{_START * _SECTOR}"
    environment = {"MTOOLS_SKIP_CHECK": "1", "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}
    geometry = ["-T", str(sectors - _START), "-h", str(_HEADS), "-s", str(_TRACK), "-H", str(_START)]
    run(
        [find_tool("mformat"), "-i", drive, *geometry, "-N", f"{_SIGNATURE:08x}", "-v", _LABEL, "::"],
        environment=environment,
    )
    with tempfile.TemporaryDirectory(prefix="harness-fat-") as work:
        for name, content in files.items():
            path = Path(work, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
        for folder in sorted(folders):
            run([find_tool("mmd"), "-i", drive, f"::/{folder}"], environment=environment)
        for name in sorted(files):
            os.utime(Path(work, name), (epoch, epoch))
            source = str(Path(work, name))
            run([find_tool("mcopy"), "-m", "-i", drive, source, f"::/{name}"], environment=environment)


def _partition_table(length: int) -> bytes:
    """A master boot record without code: one active primary partition, from `_START` on."""
    entry = struct.pack("<B3sB3sII", 0x80, _chs(_START), _FAT16, _chs(_START + length - 1), _START, length)
    return struct.pack("<440xIH", _SIGNATURE, 0) + entry + bytes(48) + b"\x55\xaa"


def _chs(sector: int) -> bytes:
    """A sector's place as old systems count it: head, sector with two bits of the cylinder, cylinder."""
    track, place = divmod(sector, _TRACK)
    cylinder, head = divmod(track, _HEADS)
    cylinder = min(cylinder, 1023)
    return bytes((head, (place + 1) | (cylinder >> 2 & 0xC0), cylinder & 0xFF))
