"""A session: the folders of this process, in which all its machines live.

There is one per process, because libvirt's embedded driver keeps its first root folder for as long as the
process runs. The first `Session.open` makes it and its guard; its end takes everything along.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from harness.errors import UsageError
from harness.machine.keep.clean import find_leftovers, remove
from harness.machine.keep.guard import Guard
from harness.machine.keep.ledger import Entry, EntryKind, Ledger, Owner, SessionId
from harness.machine.keep.places import Places, private_folder
from harness.machine.keep.processes import end, of_folders
from harness.machine.keep.sweep import remove_path, sweep

__all__ = ["Session"]

log = logging.getLogger(__name__)

EMBEDDED: Final = "qemu:///embed"


class Session:
    """The folders of this process and what is recorded about them; a context manager, safe for threads.

    Several parts of a program may open it; when the last one leaves, every machine is ended and its files are
    gone. The folder itself, with libvirt's root, stays until the process ends.
    """

    _lock: ClassVar = threading.RLock()
    _current: ClassVar[Session | None] = None

    def __init__(self, places: Places, uri: str) -> None:
        self.places = places
        self.uri = uri
        self.id = SessionId.new()
        self._users = 0
        self._numbers = itertools.count(1)
        #: Short-lived things with short paths: sockets, logs, libvirt's root.
        self.folder = private_folder(places.runtime) / str(self.id)
        #: Large things: overlays, memory dumps.
        self.disk = private_folder(places.sessions) / str(self.id)
        owner = Owner.this_process((self.disk, self.folder))
        for folder in (self.folder, self.disk):
            private_folder(folder)
            owner.write(folder)
        self.ledger = Ledger(self.folder)
        self.guard = Guard(self.folder)
        self._machines = private_folder(self.folder / "m")
        self._files = private_folder(self.disk / "m")

    @classmethod
    def open(cls, places: Places | None = None, *, uri: str = EMBEDDED) -> Self:
        """The session of this process, made by the first call; what dead sessions left is removed then.

        Raises `UsageError` when this process has one with other places or another libvirt.
        """
        wanted = places or Places.standard()
        with cls._lock:
            found = cls._current
            if found is not None and (found.places, found.uri) != (wanted, uri) and found._replaceable:
                found.close()
                found = None
            if found is None or found.id.pid != os.getpid():
                _remove_leftovers(wanted)
                found = cls._current = cls(wanted, uri)
                atexit.register(found.close)
            if (found.places, found.uri) != (wanted, uri):
                raise UsageError(
                    f"this process has its machines in {found.places.cache} by {found.uri}; "
                    f"those in {wanted.cache} by {uri} need a process of their own"
                )
            found._users += 1
            assert isinstance(found, cls)
            return found

    @property
    def _replaceable(self) -> bool:
        """Whether nobody uses it, libvirt included."""
        return self._users == 0 and not (self.folder / "v").exists()

    @property
    def libvirt_root(self) -> Path:
        """The root for libvirt's embedded driver; what it knows about QEMU comes from the cache."""
        root = self.folder / "v"
        with self._lock:
            private_folder(root)
            cache = root / "cache"
            if not cache.is_symlink():
                cache.symlink_to(private_folder(self.places.libvirt_cache))
        return root

    @property
    def embedded(self) -> bool:
        """Whether machines run below this process's libvirt, and not in a daemon's."""
        return self.uri.startswith(EMBEDDED)

    def new_name(self, prefix: str) -> str:
        """A machine's name that no other session has; short, it becomes part of socket paths."""
        return f"{prefix}{next(self._numbers)}-{self.id.salt}"

    def machine_folder(self, name: str) -> Path:
        """The folder for the sockets and logs of machine `name`."""
        return private_folder(self._machines / name)

    def disk_folder(self, name: str) -> Path:
        """The folder for the overlays and other large files of machine `name`."""
        return private_folder(self._files / name)

    def expect_machine(self, name: str) -> None:
        """Record that machine `name` is about to be started."""
        if not self.embedded:
            self.ledger.add(Entry(EntryKind.MACHINE, name, self.uri))

    def machine_gone(self, name: str) -> None:
        """Machine `name` has been destroyed: remove its folders."""
        if not self.embedded:
            self.ledger.drop(Entry(EntryKind.MACHINE, name, self.uri))
        for folder in (self._machines / name, self._files / name):
            remove_path(folder)

    def expect_path(self, path: Path) -> Entry:
        """Record that `path`, outside the session's folders, is about to be made; returns what to drop."""
        entry = Entry(EntryKind.PATH, str(path))
        self.ledger.add(entry)
        return entry

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """One user less; the last one ends what machines are left."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._end_machines()

    def _end_machines(self) -> None:
        left = of_folders((self.folder, self.disk))
        for process in left:
            log.warning(
                "a machine was not closed: process %d is ended (%s)", process.pid, process.command[:120]
            )
        end(left)
        for parent in (self._machines, self._files):
            for folder in parent.iterdir():
                remove_path(folder)

    def close(self) -> None:
        """End the session with everything in it. Called when the process ends."""
        with self._lock:
            if self.id.pid != os.getpid() or Session._current is not self:
                return  # a forked child, or closed before
            Session._current = None
            atexit.unregister(self.close)
            self.guard.release()
            # The guard may have been killed.
            for problem in sweep((self.disk, self.folder)):
                log.warning("left behind: %s; run: harness clean", problem)


def _remove_leftovers(places: Places) -> None:
    found = find_leftovers(places)
    for leftover in found:
        log.warning("a harness that was killed left this behind, removing it: %s", leftover)
    remove(found)
