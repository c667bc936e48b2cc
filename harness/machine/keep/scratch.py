"""A folder for temporary files that `harness clean` finds when the process that made it was killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.machine.keep.ledger import Owner, SessionId
from harness.machine.keep.places import Places, private_folder
from harness.machine.keep.sweep import remove_path

__all__ = ["scratch"]


@contextmanager
def scratch(places: Places | None = None) -> Iterator[Path]:
    """A new folder among those of sessions, gone with the block.

    Left by a process that was killed it goes as theirs do: by `harness clean`, or when a session starts.
    """
    sessions = private_folder((places or Places.standard()).sessions)
    folder = private_folder(sessions / str(SessionId.new()))
    try:
        Owner.this_process((folder,)).write(folder)
        yield folder
    finally:
        remove_path(folder)
