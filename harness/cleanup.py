"""Cleaning up at the end of a block that may have failed already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import HarnessError

__all__ = ["after"]


@contextmanager
def after(error: BaseException | None) -> Iterator[None]:
    """Clean up inside; `error` is what ended the block before, as ``__exit__`` gets it.

    Trouble while cleaning up must not hide that error: it becomes a note on it. Without one it is raised.
    """
    try:
        yield
    except HarnessError as trouble:
        if error is None:
            raise
        error.add_note(f"cleaning up failed too: {trouble}")
