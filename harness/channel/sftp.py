"""Files over SFTP: many requests under way at once, sizes checked.

The server is not trusted: it can't make the host keep more than it asked for.
"""

from __future__ import annotations

import errno
from pathlib import Path
from stat import S_ISDIR
from typing import Final

import paramiko

from harness.channel.base import Progress
from harness.channel.errors import ChannelError
from harness.channel.sources import open_source
from harness.errors import UsageError

__all__ = ["remote_path", "sftp_get", "sftp_put"]

#: What every server takes in one request (draft-ietf-secsh-filexfer-02, section 3).
_REQUEST: Final = 32768
#: Reads under way: as much as paramiko's channel window holds.
_AHEAD: Final = 64
_STEP: Final = 1 << 20


def remote_path(files: str, path: str) -> str:
    """Where an SFTP server has a DOS path: below `files`, with the drive as ``c:``. Raises `UsageError`."""
    drive, colon, rest = path.partition(":")
    parts = rest.replace("\\", "/").split("/")
    if len(drive) != 1 or not drive.isalpha() or not colon or parts[0] or ".." in parts or "\0" in path:
        raise UsageError(f"{path!r} is no full path of a guest; write it as C:\\folder\\file")
    return (
        files.rstrip("/") + f"/{drive.lower()}:/" + "/".join(part for part in parts if part not in ("", "."))
    )


def sftp_put(
    sftp: paramiko.SFTPClient, files: str, path: str, source: bytes | Path, progress: Progress | None
) -> None:
    """Store a file and check its size; missing folders are made."""
    place = remote_path(files, path)
    sent = 0
    with open_source(source) as (stream, size), _open_for_writing(sftp, place) as file:
        file.set_pipelined(True)
        while chunk := stream.read(_STEP):
            file.write(chunk)
            sent += len(chunk)
            if progress is not None:
                progress(sent, size)
    stored = sftp.stat(place).st_size
    if stored != sent:
        raise ChannelError(
            f"{path} in the guest has {stored} bytes after {sent} were written; is its disk full?"
        )
    if progress is not None and not sent:
        progress(0, 0)


def sftp_get(
    sftp: paramiko.SFTPClient, files: str, path: str, limit: int, progress: Progress | None
) -> bytes:
    """Read a file of at most `limit` bytes."""
    place = remote_path(files, path)
    try:
        file = sftp.open(place, "rb")
    except FileNotFoundError:
        raise ChannelError(f"there is no file {path} in the guest") from None
    with file:
        found = file.stat()
        size = found.st_size
        if size is None or (found.st_mode is not None and S_ISDIR(found.st_mode)):
            raise ChannelError(f"{path} in the guest is no file that can be read")
        if size > limit:
            raise ChannelError(f"{path} in the guest has {size} bytes; the limit is {limit}")
        file.prefetch(size, max_concurrent_requests=_AHEAD)
        content = bytearray()
        while len(content) < size:
            chunk = file.read(min(_STEP, size - len(content)))
            if not chunk:
                raise ChannelError(
                    f"{path} in the guest ends after {len(content)} of {size} bytes; something is writing it"
                )
            content += chunk
            if progress is not None:
                progress(len(content), size)
    return bytes(content)


def _open_for_writing(sftp: paramiko.SFTPClient, place: str) -> paramiko.SFTPFile:
    try:
        return sftp.open(place, "wb")
    except FileNotFoundError:
        _make_folders(sftp, place.rpartition("/")[0])
        return sftp.open(place, "wb")


def _make_folders(sftp: paramiko.SFTPClient, folder: str) -> None:
    parent = folder.rpartition("/")[0]
    try:
        sftp.mkdir(folder)
    except FileNotFoundError:
        if not parent:
            raise
        _make_folders(sftp, parent)
        sftp.mkdir(folder)
    except OSError as error:
        # Servers say "failure", without a number, for a folder that is there.
        if error.errno in (errno.EACCES, errno.ENOENT) or not _is_folder(sftp, folder):
            raise


def _is_folder(sftp: paramiko.SFTPClient, folder: str) -> bool:
    mode = sftp.stat(folder).st_mode
    return mode is not None and S_ISDIR(mode)
