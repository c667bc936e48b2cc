"""Locks between processes, freed by the kernel with their holder (flock(2))."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from harness.machine.keep.places import private_folder

__all__ = ["Exclusives", "held"]

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


@contextlib.contextmanager
def held(file: Path) -> Iterator[bool]:
    """Hold the lock `file`, made if needed, for the time of the block; False where somebody else holds it.

    The file stays: removing it would let two processes hold two locks of the same name.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


class Exclusives:
    """What there is one of on this host, for this user: a lock file each, in a folder of the user's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def taken(self, names: Iterable[str]) -> Iterator[bool]:
        """Hold all of `names` for the time of the block; False, and none of them, where one is taken."""
        with ExitStack() as stack:
            for name in sorted(set(names)):
                file = private_folder(self._folder) / f"{_UNSAFE.sub('_', name)}.lock"
                if not stack.enter_context(held(file)):
                    stack.close()
                    yield False
                    return
            yield True
