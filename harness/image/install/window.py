"""A look at an install from another process: how far it is, and what its screen shows at this moment.

The process that installs keeps a folder while it does: ``progress.json``, and ``screen.png`` whenever
somebody puts a file ``wanted`` there. A lock on the folder tells whether it still does.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from harness.driver.build import write_atomically
from harness.errors import InfrastructureError, UsageError
from harness.image.install.stages import Progress
from harness.image.store import ImageStore
from harness.machine.hypervisor.machine import Machine
from harness.machine.keep.places import private_folder

__all__ = ["Look", "Window", "look", "take_screenshot"]

_PROGRESS: Final = "progress.json"
_WANTED: Final = "wanted"
_SCREEN: Final = "screen.png"
_EVERY: Final = 1.0
_ASK_AGAIN: Final = 0.1


@dataclass(frozen=True, slots=True)
class Look:
    """How far an install is; times in seconds."""

    name: str
    stage: str
    elapsed: float
    in_stage: float
    expected: float
    restarts: int
    failed: tuple[str, ...]
    screen: str = ""

    def __str__(self) -> str:
        troubles = f"; did not work: {', '.join(self.failed)}" if self.failed else ""
        screen = f"; screen: {self.screen}" if self.screen else ""
        return (
            f"{self.name}: {self.stage} for {self.in_stage / 60:.0f} min, {self.elapsed / 60:.0f} of about "
            f"{self.expected / 60:.0f} min{troubles}{screen}"
        )


class Window:
    """Lets others look while it is open; an observer of `run_install`, a context manager."""

    def __init__(self, store: ImageStore, name: str, expected: float) -> None:
        self.folder = _folder(store, name)
        self.name = name
        self.expected = expected
        self._lock: IO[bytes] | None = None
        self._next = 0.0
        self._told: Progress | None = None

    def __enter__(self) -> Self:
        private_folder(self.folder.parent)
        private_folder(self.folder)
        self._lock = (self.folder / "lock").open("a+b")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UsageError(f"{self.name} is being installed by another process; wait for it") from None
        for name in (_PROGRESS, _WANTED, _SCREEN):
            (self.folder / name).unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def __call__(self, progress: Progress, machine: Machine) -> None:
        now = time.monotonic()
        if progress != self._told or now >= self._next:
            self._told, self._next = progress, now + _EVERY
            told = {
                "name": self.name,
                "stage": progress.stage,
                "elapsed": now - progress.began,
                "in_stage": now - progress.since,
                "expected": self.expected,
                "restarts": progress.restarts,
                "failed": list(progress.failed),
                "screen": progress.screen.still(now) if progress.screen is not None else "",
            }
            write_atomically(self.folder / _PROGRESS, json.dumps(told).encode(), mode=0o600)
        if (self.folder / _WANTED).exists():
            picture = self.folder / "taking.png"
            machine.screenshot(picture)
            picture.replace(self.folder / _SCREEN)
            (self.folder / _WANTED).unlink()


def look(store: ImageStore, name: str) -> Look:
    """How far the install of `name` is. Raises `UsageError` where none is going on."""
    folder = _open_window(store, name)
    try:
        told = json.loads((folder / _PROGRESS).read_bytes())
        return Look(**{**told, "failed": tuple(told["failed"])})
    except FileNotFoundError:
        raise UsageError(f"the install of {name} has not started its machine yet") from None


def take_screenshot(store: ImageStore, name: str, to: Path, *, timeout: float = 15.0) -> Path:
    """What the screen of the install of `name` shows, as a PNG file.

    Raises `UsageError` where none is going on, `InfrastructureError` when its process does not answer.
    """
    folder = _open_window(store, name)
    (folder / _SCREEN).unlink(missing_ok=True)
    (folder / _WANTED).touch(mode=0o600)
    deadline = time.monotonic() + timeout
    while not (folder / _SCREEN).exists():
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"the process that installs {name} took no picture for {timeout:g} s; it may be past setup, "
                "compacting the disk"
            )
        time.sleep(_ASK_AGAIN)
    shutil.copyfile(folder / _SCREEN, to)
    return to


def _folder(store: ImageStore, name: str) -> Path:
    return store.folder / "installing" / name


def _open_window(store: ImageStore, name: str) -> Path:
    folder = _folder(store, name)
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        pass
    except BlockingIOError:
        return folder
    raise UsageError(f"{name} is not being installed at this moment")
