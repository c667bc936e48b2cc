"""Locks between processes, freed by the kernel with their holder (flock(2))."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["held"]


@contextlib.contextmanager
def held(file: Path, *, exclusive: bool = True) -> Iterator[bool]:
    """Hold the lock `file`, made if needed, for the time of the block; False where somebody else holds it.

    The file stays: removing it would let two processes hold two locks of the same name.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
