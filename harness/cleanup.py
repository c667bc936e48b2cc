"""Cleaning up at the end of a block that may have failed already."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from harness.errors import HarnessError

__all__ = ["Closing", "after"]


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


class Closing(ABC):
    """A context manager of what has a `close`, which is called at the end of the block as `after` says."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        with after(error):
            self.close()
