"""What is sent to a guest: bytes in memory or a file of the host, read the same way."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import UsageError

__all__ = ["open_source", "size_of"]


@contextmanager
def open_source(source: bytes | Path) -> Iterator[tuple[io.BufferedIOBase, int]]:
    """A stream over the content, and its size in bytes. Raises `UsageError` for a file that can't be read."""
    if isinstance(source, bytes):
        yield io.BytesIO(source), len(source)
        return
    try:
        stream = source.open("rb")
    except OSError as error:
        raise UsageError(f"{source} can't be sent to the guest: {error.strerror}") from error
    with stream:
        yield stream, os.fstat(stream.fileno()).st_size


def size_of(source: bytes | Path) -> int:
    """Its size in bytes. Raises `UsageError` for a file that can't be read."""
    if isinstance(source, bytes):
        return len(source)
    try:
        return source.stat().st_size
    except OSError as error:
        raise UsageError(f"{source} can't be sent to the guest: {error.strerror}") from error
