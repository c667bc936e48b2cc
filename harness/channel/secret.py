"""Keys and passwords: read from files that nobody else can read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from harness.errors import UsageError

__all__ = ["check_secret_file", "read_secret"]

_MAX_SECRET: Final = 64 * 1024


def check_secret_file(path: Path) -> None:
    """Raises `UsageError` unless it is a file that only its owner, this user or root, can read."""
    try:
        _check(path, path.stat())
    except OSError as error:
        raise _unreadable(path, error) from error


def read_secret(path: Path) -> str:
    """The text of such a file, without the line's end. Raises `UsageError`."""
    try:
        with path.open("rb") as stream:
            _check(path, os.fstat(stream.fileno()))
            raw = stream.read(_MAX_SECRET + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise UsageError(f"{path} holds no UTF-8 text; a password file is one line of text") from None
    if not text or len(raw) > _MAX_SECRET:
        raise UsageError(f"{path} has {len(raw)} bytes; a password file is one line of text")
    return text


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(f"{path} is no regular file; a key or password is read from one")
    if found.st_uid not in (os.geteuid(), 0):
        raise UsageError(f"{path} belongs to user {found.st_uid}; a key or password file must be your own")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise UsageError(f"{path} can be read by others (mode {mode:04o}); run: chmod 600 {path}")


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"the key or password file {path} can't be read: {error.strerror}")
