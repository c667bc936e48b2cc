"""Templates on disk: one folder each, complete or absent, described by a manifest, locked while in use.

    templates/KEY/              manifest.json, state, disk0.qcow2 ..., variables, tpm/, ram (unless in memory)
    templates/KEY.lock          held shared by users, exclusively by whoever makes or removes KEY
    templates/.making-SESSION/  a template that is being made; renamed to KEY when it is complete

KEY is the image's digest. The manifest says what else must be the same for a clone to work: QEMU, libvirt,
accelerator, host CPU, the domain. RAM is kept in memory while the template is in use now and then; it goes
when the template has not been used for `IDLE_SECONDS`, and `harness clean` lists it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

from harness.errors import InfrastructureError
from harness.locks import held
from harness.machine.keep.ledger import SessionId
from harness.machine.keep.places import Places, private_folder
from harness.machine.keep.sweep import remove_path

__all__ = ["IDLE_SECONDS", "Environment", "Fingerprint", "Manifest", "StoredTemplate", "TemplateStore", "Way"]

#: RAM in memory that no clone was made from for so long is given back to the host.
IDLE_SECONDS: Final = 12 * 3600.0

_VERSION: Final = 1  # of the manifest
_MANIFEST: Final = "manifest.json"
_MAKING: Final = ".making-"
_KEY: Final = re.compile(r"[0-9a-f]{16,64}")
_LIMIT: Final = 1 << 20
_BLOCK: Final = 1 << 20


class Way(StrEnum):
    """How a template's clones come to life."""

    CLONED = "cloned"  # RAM mapped from the template's file, copied on write: a third of a second
    RESTORED = "restored"  # RAM read from a saved stream: seconds
    COLD_BOOT = "cold boot"  # nothing but the image's disks: as long as the guest takes


@dataclass(frozen=True, slots=True)
class Environment:
    """What must be the same when a template is made and when it is used."""

    image: str  # the sealed image's digest
    domain: str  # digest of the domain XML, its own paths and name left out
    emulator: str  # QEMU's version
    libvirt: str
    accelerator: str
    processor: str  # the host's CPU model

    def difference(self, other: Environment) -> str:
        """What differs, in words; empty when nothing does."""
        mine, theirs = asdict(self), asdict(other)
        return ", ".join(
            f"{name} {mine[name]} is now {theirs[name]}" for name in mine if mine[name] != theirs[name]
        )


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A file as it was left. A clone opens the RAM file for writing, so a change must be noticed.

    Size and time are looked at before each use, the digest when it is asked for: that reads it all.
    """

    name: str  # relative to the template's folder, or absolute for RAM in memory
    size: int
    changed: int  # st_mtime_ns
    digest: str  # SHA-256 of the content

    @classmethod
    def of(cls, folder: Path, name: str) -> Self:
        """The file as it is now, safe on disk."""
        path = folder / name
        with path.open("rb") as file:
            os.fsync(file.fileno())
        digest = _digest(path)
        found = path.stat()
        return cls(name, found.st_size, found.st_mtime_ns, digest)

    def trouble(self, folder: Path, *, content: bool = False) -> str | None:
        """What is wrong with the file, None when it is as it was; `content` reads it to the end."""
        path = folder / self.name
        try:
            found = path.stat()
        except OSError:
            return f"{path} is gone"
        if (found.st_size, found.st_mtime_ns) != (self.size, self.changed):
            return f"{path} was changed"
        if content and _digest(path) != self.digest:
            return f"{path} has another content"
        return None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a complete template consists of."""

    image: str  # the image's name, for people
    environment: Environment
    way: Way
    files: tuple[Fingerprint, ...]  # everything a clone maps or copies
    disks: tuple[
        str, ...
    ]  # names of the overlays that become backing files, in the order of the image's disks
    state: str | None  # name of the device state, or of the whole stream
    ram: Path | None  # absolute; None unless `way` is CLONED
    variables: str | None
    tpm: str | None
    #: Seconds that making it took, for the log.
    seconds: float

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The manifest in `folder`; None when there is none that this version of the harness wrote."""
        try:
            with (folder / _MANIFEST).open("rb") as file:
                content = json.loads(file.read(_LIMIT))
            if content.pop("version") != _VERSION:
                return None
            content["environment"] = Environment(**content["environment"])
            content["way"] = Way(content["way"])
            content["files"] = tuple(Fingerprint(**entry) for entry in content["files"])
            content["disks"] = tuple(content["disks"])
            content["ram"] = Path(content["ram"]) if content["ram"] else None
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, folder: Path) -> None:
        content = {**asdict(self), "ram": str(self.ram) if self.ram else None, "version": _VERSION}
        (folder / _MANIFEST).write_text(json.dumps(content, indent=1))


@dataclass(frozen=True, slots=True)
class StoredTemplate:
    """A template's folder and what it says; `manifest` None is one that can't be read."""

    folder: Path
    manifest: Manifest | None

    @property
    def used(self) -> float:
        """When it was last used, in seconds since the epoch."""
        try:
            return self.folder.stat().st_mtime
        except OSError:
            return 0.0

    def unusable(self) -> str | None:
        """Why it should go without being asked for; None when it is whole and used."""
        if self.manifest is None:
            return "its manifest can't be read"
        for file in self.manifest.files:
            if trouble := file.trouble(self.folder):
                return trouble
        idle = time.time() - self.used
        if self.manifest.ram is not None and self.manifest.ram.parent != self.folder and idle > IDLE_SECONDS:
            return f"not used for {idle / 3600:.0f} hours, and its RAM is in memory"
        return None

    def in_use(self) -> bool:
        """Whether a process uses or makes it just now."""
        with TemplateLock(self.folder).tried(exclusive=True) as held:
            return not held


class TemplateLock:
    """The lock beside a template's folder; the kernel frees it when its holder dies (flock(2))."""

    def __init__(self, folder: Path) -> None:
        self.path = folder.with_name(f"{folder.name}.lock")

    def tried(self, *, exclusive: bool) -> AbstractContextManager[bool]:
        """Hold the lock for the time of the block if it is free; whether it was."""
        return held(self.path, exclusive=exclusive)

    @contextlib.contextmanager
    def held(self, *, exclusive: bool, timeout: float) -> Iterator[None]:
        """Hold the lock for the time of the block, waiting up to `timeout` seconds for it.

        Raises `InfrastructureError` when others keep it longer.
        """
        deadline = time.monotonic() + timeout
        tick = threading.Event()
        while True:
            with self.tried(exclusive=exclusive) as held:
                if held:
                    yield
                    return
            # flock has no deadline of its own, and a signal would reach the main thread only.
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"another process has kept the template {self.path.stem[:16]} for {timeout:.0f} s; "
                    f"wait for it, or see who it is: fuser -v {self.path}"
                )
            tick.wait(0.05)


class TemplateStore:
    """The templates of one cache."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.root = places.templates

    def folder(self, digest: str) -> Path:
        """Where the template of an image is, there or not. A digest that isn't hexadecimal is hashed."""
        key = digest if _KEY.fullmatch(digest) else hashlib.sha256(digest.encode()).hexdigest()
        return private_folder(self.root) / key[:32]

    def stored(self) -> tuple[StoredTemplate, ...]:
        """All complete templates, the one used last first."""
        if not self.root.is_dir():
            return ()
        folders = [path for path in self.root.iterdir() if _KEY.fullmatch(path.name) and path.is_dir()]
        found = [StoredTemplate(path, Manifest.read(path)) for path in folders]
        return tuple(sorted(found, key=lambda stored: stored.used, reverse=True))

    def unfinished(self) -> tuple[tuple[Path, SessionId], ...]:
        """Folders of templates being made or removed, each with the session that does it."""
        if not self.root.is_dir():
            return ()
        found = []
        for path in self.root.glob(f"{_MAKING}*"):
            session = SessionId.parse(path.name.removeprefix(_MAKING).split(".", 1)[0])
            if session is not None:
                found.append((path, session))
        return tuple(found)

    def temporary(self, session: SessionId, name: str) -> Path:
        """The name of a folder for making a template; on the same file system as its place."""
        return private_folder(self.root) / f"{_MAKING}{session}.{name}"

    def new_ram_file(self, folder: Path, session: SessionId, size: int) -> Path | None:
        """The name for RAM of the template in `folder` that `session` makes; None: no room in memory."""
        memory = self.places.room_in_memory(size)
        return memory / f"{session}.{folder.name}.ram" if memory is not None else None

    def ram_files(self, folder: Path) -> tuple[Path, ...]:
        """RAM files in memory of the template in `folder`, whatever is left of its manifest."""
        memory = self.places.memory
        return tuple(memory.glob(f"*.{folder.name}.ram")) if memory is not None else ()

    @staticmethod
    def discard(folder: Path, ram_files: Iterable[Path]) -> list[str]:
        """Remove a template that nobody uses; returns what went wrong. One in use stays."""
        with TemplateLock(folder).tried(exclusive=True) as held:
            return TemplateStore.discard_held(folder, ram_files) if held else []

    @staticmethod
    def discard_held(folder: Path, ram_files: Iterable[Path]) -> list[str]:
        """As `discard`, by the holder of the lock."""
        # First it stops being a template, then its parts go: nothing half removed looks whole.
        dead = folder.with_name(f"{_MAKING}{SessionId.new()}.old")
        with contextlib.suppress(FileNotFoundError):
            folder.rename(dead)
        paths = (dead, *ram_files)
        for path in paths:
            remove_path(path)
        return [f"{path} can't be removed" for path in (folder, *paths) if path.exists()]


def _digest(path: Path) -> str:
    """SHA-256 over a file without its blocks of zeros: reading a RAM file turns holes into such."""
    hashed = hashlib.sha256()
    zeros = bytes(_BLOCK)
    with path.open("rb", buffering=0) as file:
        descriptor = file.fileno()
        size = os.fstat(descriptor).st_size
        position = 0
        while position < size:
            try:
                position = os.lseek(descriptor, position, os.SEEK_DATA) & -_BLOCK
            except OSError:  # ENXIO: a hole up to the end
                break
            block = os.pread(descriptor, _BLOCK, position)
            if block != zeros:
                hashed.update(position.to_bytes(8, "little"))
                hashed.update(block)
            position += _BLOCK
    hashed.update(size.to_bytes(8, "little"))
    return hashed.hexdigest()
