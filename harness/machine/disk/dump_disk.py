"""Takes a guest's crash dump off its disks while nothing runs there: NTFS in partitions in qcow2.

Windows writes a dump with its own driver into a file that is there already; where that is a dedicated dump
file, or the restart that would make MEMORY.DMP of it never comes, the dump is still in that file. So all
places are looked at, and what begins like a dump is one. A file system is a guest's work: it is read by
dissect's pure Python in a process of its own, with limits of time and memory. Nothing is mounted.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Final

from harness.errors import InfrastructureError, ToolMissingError
from harness.machine.describe.spec import Disk, DiskFormat
from harness.machine.disk.qcow2 import read_header

__all__ = ["NAMES", "fetch_dump"]

#: Where a dump may be, from the root of a volume: as vm-images/shared has it, and Windows' own defaults.
NAMES: Final = ("MEMORY.DMP", "dedicated.sys", "Windows/MEMORY.DMP", "pagefile.sys")
_SIGNATURES: Final = (b"PAGEDU64", b"PAGEDUMP")
_PACKAGES: Final = ("dissect.ntfs", "dissect.volume", "dissect.hypervisor")
_SECONDS: Final = 600.0
_MEMORY: Final = 2 << 30
_CHUNK: Final = 1 << 20
_SECTOR: Final = 512


def fetch_dump(disks: Sequence[Disk], into: Path, *, limit: int) -> str:
    """Copy the first dump found on `disks` to the new file `into`; the file's name in the guest, or "".

    The machine is paused or gone, so that QEMU has written everything. A dump of more than `limit` bytes is
    refused. Raises `ToolMissingError` without dissect, `InfrastructureError` for disks that can't be read.
    """
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ToolMissingError(
            f"dumps are taken off disks by {', '.join(missing)}: pip install 'regfilter-harness[dumps]'"
        )
    given = [[str(disk.path.absolute()), disk.format.value] for disk in disks]
    request = json.dumps({"disks": given, "into": str(into.absolute()), "limit": limit})
    try:
        done = subprocess.run(
            [sys.executable, "-m", "harness.machine.disk.dump_disk"],
            input=request,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        into.unlink(missing_ok=True)
        raise InfrastructureError(f"no dump was found on the disks within {_SECONDS:g} s") from None
    if done.returncode:
        into.unlink(missing_ok=True)
        lines = done.stderr.strip().splitlines()
        said = lines[-1][:500] if lines else f"the reader ended with {done.returncode}"
        raise InfrastructureError(f"the guest's disks can't be searched for a dump: {said}")
    return str(json.loads(done.stdout)["name"])


# -- in the process of its own -------------------------------------------------------------------------------


def _search(disks: Sequence[Sequence[str]], into: Path, limit: int) -> str:
    for path, kind in disks:
        for volume in _volumes(_opened(Path(path), DiskFormat(kind))):
            for name in NAMES:
                # One damaged volume or file is no reason not to look at the next.
                with suppress(Exception):
                    found = _file(volume, name)
                    if found.read(len(_SIGNATURES[0])) in _SIGNATURES:
                        found.seek(0)
                        _copy(found, into, limit)
                        return name
    return ""


def _opened(path: Path, kind: DiskFormat) -> BinaryIO:
    if kind is DiskFormat.RAW:
        return path.open("rb")
    from dissect.hypervisor.disk.qcow2 import QCow2

    header = read_header(path)
    if header is None:
        raise InfrastructureError(f"{path} is no qcow2 image")
    below = None
    if header.backing_file is not None:
        below = _opened(path.parent / header.backing_file, DiskFormat(header.backing_format or "raw"))
    stream: BinaryIO = QCow2(path.open("rb"), backing_file=below).open()
    return stream


def _volumes(disk: BinaryIO) -> Iterator[Any]:
    """Every NTFS of a disk: in its partitions, or on the whole of it."""
    from dissect.ntfs import NTFS
    from dissect.volume.disk import Disk as Partitions

    places: list[BinaryIO] = []
    with suppress(Exception):  # without a table of partitions
        places = [partition.open() for partition in Partitions(disk, sector_size=_SECTOR).partitions]
    for place in (*places, disk):
        with suppress(Exception):
            place.seek(0)
            yield NTFS(place)


def _file(volume: Any, name: str) -> BinaryIO:
    stream: BinaryIO = volume.mft.get(name).open()
    return stream


class _TooLargeError(BaseException):
    """Not to be taken for a damaged file."""


def _copy(source: BinaryIO, into: Path, limit: int) -> None:
    descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    copied = 0
    with os.fdopen(descriptor, "wb") as target:
        while chunk := source.read(_CHUNK):
            copied += len(chunk)
            if copied > limit:
                raise _TooLargeError(f"the dump has more than the {limit} bytes that are allowed")
            if any(chunk):
                target.write(chunk)
            else:
                target.seek(len(chunk), os.SEEK_CUR)  # pages of zeros take no room
        target.truncate(copied)


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = json.load(sys.stdin)
    try:
        name = _search(asked["disks"], Path(asked["into"]), asked["limit"])
    except (_TooLargeError, Exception) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(json.dumps({"name": name}))


if __name__ == "__main__":
    _main()
