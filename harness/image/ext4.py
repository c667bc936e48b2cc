"""Linux file systems in a file, made from an archive: no root, no mounts, no loop devices."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.image.tools import find_tool, run
from harness.image.workspace import confined, workspace

__all__ = ["TarFile", "make_ext4", "make_tar", "tree_files"]

#: As (perhaps namespaced) root: unpack the archive on stdin, make the file system in a file that is open as a
#: descriptor. Not by its path: inside the namespace its folder may be out of reach. What was unpacked goes in
#: any case. Device nodes can't be made there, and the kernel makes its own.
_SCRIPT: Final = """
set -eu
folder=$(mktemp -d "${TMPDIR:-/tmp}/harness-ext4.XXXXXX")
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM
tar --extract --numeric-owner --same-permissions --exclude './dev/*' --directory "$folder"
mkfs.ext4 -q -F -d "$folder" "$@"
"""
#: No journal: what is written to these disks is thrown away.
_FEATURES: Final = "^has_journal,^metadata_csum_seed,^orphan_file"


@dataclass(frozen=True, slots=True)
class TarFile:
    """A file for an archive; all of them belong to root."""

    path: str
    content: bytes
    mode: int = 0o644


def make_tar(archive: Path, files: Iterable[TarFile], *, epoch: int) -> None:
    """Write an archive of root's files, with the folders they stand in; `epoch` is their time."""
    made: set[str] = set()
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tar:
        for file in files:
            parts = file.path.strip("/").split("/")
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                if folder not in made:
                    made.add(folder)
                    tar.addfile(_member(folder, 0o755, epoch, tarfile.DIRTYPE))
            member = _member("/".join(parts), file.mode, epoch, tarfile.REGTYPE)
            member.size = len(file.content)
            tar.addfile(member, io.BytesIO(file.content))


def _member(name: str, mode: int, epoch: int, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.mtime, member.type = mode, epoch, kind
    member.uname = member.gname = "root"
    return member


def tree_files(folder: Path) -> list[TarFile]:
    """The files below `folder`, sorted; a file its owner can execute, everybody can."""
    return [
        TarFile(
            path.relative_to(folder).as_posix(),
            path.read_bytes(),
            0o755 if path.stat().st_mode & 0o100 else 0o644,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def make_ext4(archive: Path, image: Path, *, size_mib: int, uuid: str, label: str, epoch: int) -> None:
    """Make `image`, a raw disk that is one ext4 file system with the content of the tar file `archive`.

    Owners and modes are the archive's. A plain user needs user namespaces (newuidmap and /etc/subuid).
    Raises `InfrastructureError` with mkfs' words.
    """
    find_tool("mkfs.ext4")
    as_root = [] if os.geteuid() == 0 else [find_tool("mmdebstrap"), "--unshare-helper"]
    options = ["-U", uuid, "-L", label, "-m", "0", "-O", _FEATURES]
    options += ["-E", f"hash_seed={uuid},root_owner=0:0,lazy_itable_init=1"]
    environment = {"E2FSPROGS_FAKE_TIME": str(epoch), "SOURCE_DATE_EPOCH": str(epoch)}
    with workspace() as work, archive.open("rb") as content, image.open("w+b") as disk:
        os.truncate(disk.fileno(), size_mib << 20)
        # Namespaced root is another user to this file.
        os.fchmod(disk.fileno(), 0o666 if as_root else 0o600)
        run(
            confined([*as_root, "sh", "-c", _SCRIPT, "sh", *options, f"/proc/self/fd/{disk.fileno()}"]),
            stdin=content,
            pass_fds=(disk.fileno(),),
            environment={**environment, "TMPDIR": str(work)},
        )
        os.fchmod(disk.fileno(), 0o600)
