"""Where images are kept: one folder for each, named by the hash of what went into it, complete or not there.

A folder is made beside its place under another name and renamed when it is whole, under a lock; a build that
was killed leaves nothing but that other folder, which the next one removes. What is in a folder is sealed:
files can't be written, and ``image.json`` says their sizes and digests. What nobody asked for in a month goes
when something new is made, unless its maker said to keep it: an install costs somebody an hour.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import InfrastructureError
from harness.image.tools import Progress, quiet
from harness.machine.disk.seal import file_digest, seal
from harness.machine.keep.places import Places, private_folder

__all__ = ["ImageStore", "Stored"]

SIDECAR: Final = "image.json"
_FORMAT: Final = 1
_MAKING: Final = ".making-"
#: What was installed and has not answered yet; harness.image.install.kept.
KEPT: Final = ".installed-"
KEY_DIGITS: Final = 16
#: An image that was not asked for in so many seconds can go: 30 days.
UNUSED_SECONDS: Final = 30 * 86400.0

#: The fact of an image that is never removed as unused.
KEEP: Final = "keep"

#: Makes an image's files in the folder it is given; returns what the sidecar is to say about them.
Maker = Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Stored:
    """One complete folder of the store. `facts` is what its maker said."""

    name: str
    key: str
    folder: Path
    files: Mapping[str, str]  # name to SHA-256
    facts: Mapping[str, Any]

    def path(self, name: str) -> Path:
        return self.folder / name


class ImageStore:
    """The folder of images; its own for tests, `Places.standard().images` otherwise."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else Places.standard().images

    def find(self, name: str, key: str) -> Stored | None:
        """The image made of `key`, when it is there and whole. Reads its sidecar only; see `problems`."""
        found = _read(self._place(name, key), name)
        return found if found is not None and found.key == key else None

    def named(self, name: str) -> tuple[Stored, ...]:
        """Every whole image of that name, the one made last first."""
        folders = [path.parent for path in self.folder.glob(f"{name}-*/{SIDECAR}")]
        whole = [found for folder in folders if (found := _read(folder, name)) is not None]
        return tuple(sorted(whole, key=lambda one: (one.folder / SIDECAR).stat().st_mtime, reverse=True))

    def ensure(
        self, name: str, key: str, make: Maker, *, progress: Progress = quiet, anew: bool = False
    ) -> Stored:
        """The image made of `key`; made now when it isn't there, or `anew` in place of one that is.

        Several processes may ask at once: one makes it, the others wait. `make` fills the folder it is given;
        its errors leave nothing behind, and what was there before as it was.
        """
        found = self.find(name, key)
        if found is not None and not anew:
            self._used(found.folder)
            return found
        private_folder(self.folder)
        self.remove_abandoned()
        self.remove_unused()
        with self.locked(
            f"{name}-{key[:KEY_DIGITS]}", waiting=lambda: progress("another process makes it; waiting")
        ):
            found = self.find(name, key)  # somebody else made it meanwhile
            if found is None or anew:
                self._make(name, key, make)
                found = self.find(name, key)
        if found is None:
            raise InfrastructureError(
                f"{self._place(name, key)} vanished while it was made; is {self.folder} cleaned?"
            )
        return found

    def problems(self, stored: Stored) -> list[str]:
        """What is wrong with an image's files: each digest is worked out anew. Empty: nothing."""
        found = []
        for file, digest in stored.files.items():
            path = stored.path(file)
            try:
                if stat.S_IMODE(path.stat().st_mode) & 0o222:
                    found.append(f"{path} can be written, and a sealed image can't")
                if file_digest(path) != digest:
                    found.append(f"{path} is not as it was made: another SHA-256")
            except OSError as error:
                found.append(f"{path}: {error.strerror}")
        return found

    def remove_unused(self, seconds: float = UNUSED_SECONDS) -> list[Path]:
        """Delete the images that nobody asked for in that time; returns their folders.

        Whoever asks for one again gets it made again. One whose lock somebody holds stays.
        """
        return [folder for folder, lock in self._unused(seconds) if self._remove(folder, lock)]

    def unused(self, seconds: float = UNUSED_SECONDS) -> list[Path]:
        """The folders that `remove_unused` would delete."""
        return [folder for folder, _ in self._unused(seconds)]

    def _unused(self, seconds: float) -> Iterator[tuple[Path, Path]]:
        """Each with its lock."""
        for folder in self.folder.glob(f"{KEPT}*"):
            if time.time() - folder.stat().st_mtime >= seconds:
                yield folder, self.folder / f"{folder.name.removeprefix(KEPT)}.lock"
        for lock in sorted(self.folder.glob("*.lock")):
            folder = lock.with_suffix("")
            if not (folder / SIDECAR).is_file() or time.time() - lock.stat().st_mtime < seconds:
                continue
            found = _read(folder)
            if found is None or not found.facts.get(KEEP):
                yield folder, lock

    def remove_abandoned(self) -> list[Path]:
        """Delete what a killed process was making; an install's discs have passwords on them."""
        making = sorted(self.folder.glob(f"{_MAKING}*"))
        return [
            folder
            for folder in making
            if self._remove(folder, self.folder / f"{folder.name.removeprefix(_MAKING)}.lock")
        ]

    @staticmethod
    def _remove(folder: Path, lock: Path) -> bool:
        """Delete `folder` unless somebody holds its lock; whether it is gone."""
        with lock.open("a+b") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            shutil.rmtree(folder)
        return True

    def _used(self, folder: Path) -> None:
        lock = folder.with_name(f"{folder.name}.lock")
        lock.touch()

    def _place(self, name: str, key: str) -> Path:
        return self.folder / f"{name}-{key[:KEY_DIGITS]}"

    def _make(self, name: str, key: str, make: Maker) -> None:
        place = self._place(name, key)
        making = self.folder / f"{_MAKING}{place.name}"
        if making.exists():  # whoever made it was killed: the lock is ours
            shutil.rmtree(making)
        making.mkdir(mode=0o700)
        try:
            facts = make(making)
            _seal(making, name, key, facts)
            if place.exists():  # not whole, or to be replaced
                shutil.rmtree(place)
            making.rename(place)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise

    @contextmanager
    def locked(self, name: str, *, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock of that name; `waiting` is called once when somebody else has it."""
        private_folder(self.folder)
        with (self.folder / f"{name}.lock").open("a+b") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is not None:
                    waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _read(folder: Path, name: str = "") -> Stored | None:
    """The image in `folder`, when it is whole and, where a `name` is given, has that name."""
    try:
        raw = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
        if raw["format"] != _FORMAT or name not in ("", raw["name"]):
            return None
        files = {file: entry["sha256"] for file, entry in raw["files"].items()}
        complete = all((folder / file).stat().st_size == raw["files"][file]["size"] for file in files)
        return Stored(raw["name"], raw["key"], folder, files, dict(raw["facts"])) if complete else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _seal(folder: Path, name: str, key: str, facts: Mapping[str, Any]) -> None:
    """Write the sidecar, take away the right to write, and bring all of it to the disk."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        private = stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        sealed = seal(path)
        if private:  # what its owner alone could read stays so: keys
            path.chmod(0o400)
        files[path.relative_to(folder).as_posix()] = {"size": sealed.size, "sha256": sealed.sha256}
        _sync(path)
    sidecar = folder / SIDECAR
    content = {"format": _FORMAT, "name": name, "key": key, "files": files, "facts": dict(facts)}
    sidecar.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    sidecar.chmod(0o444)
    _sync(sidecar)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
