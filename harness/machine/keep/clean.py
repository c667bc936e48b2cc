"""What killed harness processes left behind, and removing it.

Done at the start of every session, and by `harness clean`. Whoever looks needs no help from whoever was
killed: folders carry their owner's process id and start time in their names, processes carry their folder in
their command lines, RAM files their session's id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.keep.ledger import Owner, SessionId
from harness.machine.keep.places import Places, mebibytes, runtime_candidates
from harness.machine.keep.processes import of_folders
from harness.machine.keep.store import TemplateStore
from harness.machine.keep.sweep import folders_of, remove_path, sweep

__all__ = ["Leftover", "LeftoverKind", "find_leftovers", "remove", "size_of"]


class LeftoverKind(StrEnum):
    SESSION = "session"  # folders of a process that is gone, and the machines that still run in them
    UNFINISHED = "unfinished template"
    RAM = "RAM file of no template"
    IMAGE = "image"  # of `harness.image.store`, which removes it
    TEMPLATE = "template"  # complete, but broken, long unused, or everything was asked for


@dataclass(frozen=True, slots=True)
class Leftover:
    """One thing to remove, with everything that belongs to it."""

    kind: LeftoverKind
    paths: tuple[Path, ...]  # absolute; of a session its folders
    reason: str
    size: int = 0  # bytes on disk and in memory

    def __str__(self) -> str:
        size = f", {mebibytes(self.size)}" if self.size else ""
        return f"{self.kind} {self.paths[-1]}{size}: {self.reason}"


def find_leftovers(
    places: Places | None = None, *, everything: bool = False, keep: int = 0
) -> tuple[Leftover, ...]:
    """What can go. Nothing of a running process is in it, nor anything made to be kept.

    `everything` adds what is merely old or belongs to another container on this host, and complete templates
    beyond the `keep` used last: they are made again when they are needed.
    """
    where = places or Places.standard()
    return (
        *_sessions(where, everything=everything),
        *_unfinished(where),
        *_templates(where, everything=everything, keep=keep),
        *_ram_files(where, everything=everything),
    )


def remove(leftovers: Iterable[Leftover]) -> None:
    """Remove what `find_leftovers` found; what is gone already is no error.

    Raises `InfrastructureError` at the end, with all that could not be removed and why.
    """
    problems: list[str] = []
    for leftover in leftovers:
        match leftover.kind:
            case LeftoverKind.SESSION:
                problems += sweep(leftover.paths)
            case LeftoverKind.TEMPLATE:
                problems += TemplateStore.discard(leftover.paths[-1], leftover.paths[:-1])
            case LeftoverKind.UNFINISHED | LeftoverKind.RAM:
                for path in leftover.paths:
                    remove_path(path)
                problems += [f"{path} can't be removed" for path in leftover.paths if path.exists()]
    if problems:
        raise InfrastructureError(
            "not everything that is left of other runs could be removed:\n  "
            + "\n  ".join(problems)
            + "\nRun `harness clean` as the user who started them."
        )


def _sessions(places: Places, *, everything: bool) -> Iterator[Leftover]:
    candidates = runtime_candidates()
    own = candidates if places.runtime in candidates else (places.runtime,)
    bases = (*own, places.sessions)
    seen: dict[SessionId, tuple[Path, ...]] = {}
    for folder in (*_children(bases), *_named_by_processes(bases)):
        session = SessionId.parse(folder.name)
        if session is None or _alive(session, folder, everything=everything):
            continue
        folders = dict.fromkeys((*seen.get(session, ()), *folders_of(folder)))
        seen[session] = tuple(folders)
    for session, found in seen.items():
        running = of_folders(found)
        machines = f", {len(running)} of its processes still run" if running else ""
        # The folder with the ledger goes last.
        ordered = tuple(sorted(found, key=lambda path: path.parent != places.sessions))
        size = sum(size_of(path) for path in found)
        yield Leftover(LeftoverKind.SESSION, ordered, f"process {session.pid} is gone{machines}", size)


def _alive(session: SessionId, folder: Path, *, everything: bool) -> bool:
    owner = Owner.read(folder)
    if owner is None:
        return session.running
    if owner.elsewhere:
        return not everything
    return owner.alive(session)


def _children(bases: Iterable[Path]) -> Iterator[Path]:
    for base in dict.fromkeys(bases):
        if base.is_dir() and not base.is_symlink():
            yield from base.iterdir()


def _named_by_processes(bases: Iterable[Path]) -> Iterator[Path]:
    """Session folders that running machines name, there or not."""
    unique = tuple(dict.fromkeys(bases))
    for process in of_folders(unique):
        for base in unique:
            for part in process.command.split(f"{base}/")[1:]:
                yield base / part[:_ID_LENGTH].split("/", 1)[0]


#: More than a session's id can have.
_ID_LENGTH: Final = 40


def _unfinished(places: Places) -> Iterator[Leftover]:
    for path, session in TemplateStore(places).unfinished():
        if not session.running:
            reason = f"process {session.pid} is gone"
            yield Leftover(LeftoverKind.UNFINISHED, (path,), reason, size_of(path))


def _templates(places: Places, *, everything: bool, keep: int) -> Iterator[Leftover]:
    store = TemplateStore(places)
    for index, stored in enumerate(store.stored()):  # the one used last comes first
        reason = stored.unusable()
        if reason is None and everything and index >= keep:
            reason = f"made for {stored.manifest.image}" if stored.manifest else "everything was asked for"
        if reason is not None and not stored.in_use():
            paths = (*store.ram_files(stored.folder), stored.folder)
            yield Leftover(LeftoverKind.TEMPLATE, paths, reason, sum(map(size_of, paths)))


def _ram_files(places: Places, *, everything: bool) -> Iterator[Leftover]:
    store = TemplateStore(places)
    belonging = {path for stored in store.stored() for path in store.ram_files(stored.folder)}
    for folder, cache in places.lost_memory(everything=everything):
        yield Leftover(LeftoverKind.RAM, (folder,), f"its cache {cache} is gone", size_of(folder))
    if places.memory is None or not places.memory.is_dir():
        return
    for path in places.memory.iterdir():
        session = SessionId.parse(path.name.split(".", 1)[0])
        if session is not None and not session.running and path not in belonging:
            yield Leftover(LeftoverKind.RAM, (path,), f"process {session.pid} is gone", size_of(path))


def size_of(path: Path) -> int:
    """Bytes that `path` takes, holes left out."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(size_of(child) for child in path.iterdir())
        return path.lstat().st_blocks * 512
    except OSError:
        return 0  # gone in the meantime
