"""What travels between the conductor and a host of a cluster: a job there, its rows and files back.

Everything is plain data. Files travel in pieces, before the row that names them, so that a row that has
arrived is complete. What arrives is checked: names stay below the job's folder, sizes are bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from harness.errors import InfrastructureError
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Plan
from harness.matrix.run.folder import JobFolder
from harness.plugin.journal import Entry
from harness.results.folder import ROWS_FILE, RunWriter
from harness.results.model import RunResult

__all__ = [
    "MAX_FILE",
    "Began",
    "Ended",
    "FilePiece",
    "JobParcel",
    "Message",
    "Receiver",
    "Row",
    "Told",
    "all_files",
    "entry_of",
    "pieces",
    "row_files",
]

#: Largest file that is taken from a host, in bytes: a memory dump.
MAX_FILE: Final = 16 << 30
#: Most that is taken from a host for one job.
_MAX_ALL: Final = 64 << 30
#: Largest file that is sent with a job: a driver, known issues, rows.
_MAX_SENT: Final = 256 << 20
_PIECE: Final = 4 << 20
_MAX_NAME: Final = 1024
#: Where a job's folder has files of its own; what else is in it isn't sent.
_PLACES: Final = ("evidence", "bundles")
_OUTPUT: Final = "output.log"


@dataclass(frozen=True, slots=True)
class Began:
    """The job has begun on host `host`."""

    host: str


@dataclass(frozen=True, slots=True)
class Told:
    """An entry of the journal."""

    line: bytes


@dataclass(frozen=True, slots=True)
class FilePiece:
    """A part of a file, in order; the first has offset 0."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """A row whose files have all been sent."""

    line: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The job has ended; nothing comes after it."""

    seconds: float
    processes: int
    notes: tuple[str, ...]


Message = Began | Told | FilePiece | Row | Ended


@dataclass(frozen=True, slots=True)
class JobParcel:
    """A job as it is sent: its plan and itself as plain data, and the content of the files they name.

    `tests` are digests by path, to be compared with the host's; `there` are the names of files that the
    conductor has already, so that no other gets such a name.
    """

    plan: dict[str, Any]
    job: dict[str, Any]
    files: Mapping[str, bytes]
    tests: Mapping[str, str]
    rows: bytes = b""
    there: tuple[str, ...] = ()

    @classmethod
    def pack(cls, plan: Plan, job: Job, folder: JobFolder, tests: Mapping[str, str]) -> JobParcel:
        """Raises `InfrastructureError` for a file that is too large or can't be read."""
        files = {name: _content(Path(name)) for name in (job.driver, str(plan.known_issues or "")) if name}
        rows = folder.path / ROWS_FILE
        return cls(
            plan.to_json(),
            job.to_json(),
            files,
            tests,
            _content(rows) if rows.exists() else b"",
            tuple(file.relative_to(folder.path).as_posix() for file in _files(folder.path)),
        )

    def unpack(self, place: Path, root: Path) -> tuple[Plan, Job]:
        """The plan and the job, with `root` for the plan's root and copies of its files below `place`."""
        plan = Plan.from_json(self.plan, place / "plan.json")
        job = Job.from_json(self.job, place / "plan.json")
        copies: dict[str, Path] = {}
        for number, (name, content) in enumerate(self.files.items()):
            # The name itself means something: a driver's service is called by it.
            copies[name] = place / str(number) / PurePosixPath(name).name
            copies[name].parent.mkdir()
            copies[name].write_bytes(content)
        known = plan.known_issues and copies[str(plan.known_issues)]
        recipes = tuple(_moved(path, plan.root, root) for path in plan.recipes)
        return (
            replace(plan, root=root, known_issues=known, recipes=recipes),
            replace(job, driver=str(copies[job.driver]) if job.driver else ""),
        )

    def lay_out(self, folder: Path) -> None:
        """Prepare a job's folder: the rows there are, and an empty file where the conductor has one."""
        folder.mkdir(parents=True)
        for name in self.there:
            file = folder / _checked(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        if self.rows:
            (folder / ROWS_FILE).write_bytes(self.rows)


def _moved(path: Path, before: Path, now: Path) -> Path:
    return now / path.relative_to(before) if path.is_relative_to(before) else path


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MAX_SENT:
            raise InfrastructureError(f"{file} is larger than {_MAX_SENT >> 20} MiB, too large to be sent")
        return file.read_bytes()
    except OSError as error:
        raise InfrastructureError(f"{file} can't be read: {error.strerror}") from error


def _files(folder: Path) -> Iterator[Path]:
    """A job's files, without links: what they lead to is none of its."""
    for name in _PLACES:
        for file in sorted((folder / name).rglob("*")):
            if file.is_file() and not file.is_symlink():
                yield file


def row_files(row: RunResult) -> list[str]:
    """What a row names. It is complete once the row is written; other files may still grow."""
    return [name for name in (*row.evidence, row.bundle, row.comparison) if name]


def all_files(folder: Path) -> list[str]:
    """Every file of a job that has ended, its output last."""
    found = [file.relative_to(folder).as_posix() for file in _files(folder)]
    return [*found, _OUTPUT] if (folder / _OUTPUT).is_file() else found


def pieces(folder: Path, names: Iterable[str], sent: set[str]) -> Iterator[FilePiece]:
    """The pieces of those files that are not in `sent` yet; then they are."""
    for name in names:
        if name not in sent and (folder / name).is_file():
            sent.add(name)
            yield from _pieces(folder / name, name)


def _pieces(file: Path, name: str) -> Iterator[FilePiece]:
    offset = 0
    with file.open("rb") as content:
        while True:
            data = content.read(_PIECE)
            if data or not offset:
                yield FilePiece(name, offset, data)
            offset += len(data)
            if len(data) < _PIECE or offset >= MAX_FILE:
                return


def _checked(name: str) -> PurePosixPath:
    """`name` as a path below a job's folder. Raises `InfrastructureError` for any other."""
    path = PurePosixPath(name)
    if (
        len(name) > _MAX_NAME
        or "\0" in name
        or path.is_absolute()
        or ".." in path.parts
        or not ((path.parts[:1] and path.parts[0] in _PLACES and len(path.parts) > 1) or name == _OUTPUT)
    ):
        raise InfrastructureError(
            f"a host sent a file with the name {name[:200]!r}, which is none of a job's"
        )
    return path


class Receiver:
    """Puts what arrives into a job's folder, rows last."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._taken = 0

    def take(self, message: FilePiece | Row) -> RunResult | None:
        """Store a message; returns the row of a `Row`. Raises `InfrastructureError` for what can't be."""
        if isinstance(message, FilePiece):
            self._store(message)
            return None
        try:
            row = RunResult.from_json(json.loads(message.line))
        except ValueError as error:
            raise InfrastructureError(f"a host sent a row that is none: {error}") from error
        with RunWriter(self._folder.path) as writer:
            writer.add(row)
        return row

    def _store(self, piece: FilePiece) -> None:
        file = self._folder.path / _checked(piece.name)
        self._taken += len(piece.data)
        if piece.offset + len(piece.data) > MAX_FILE or self._taken > _MAX_ALL:
            raise InfrastructureError(f"a host sent more than a job may leave: {piece.name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        # The output of several hosts follows one another; anything else is new.
        if not piece.offset and piece.name != _OUTPUT:
            file.write_bytes(piece.data)
            return
        with file.open("ab") as content:
            if piece.name != _OUTPUT and content.tell() != piece.offset:
                raise InfrastructureError(f"a host sent the pieces of {piece.name} in the wrong order")
            content.write(piece.data)


def entry_of(told: Told) -> Entry:
    """Raises `InfrastructureError` for what is no entry of a journal."""
    try:
        return Entry.from_line(told.line)
    except ValueError as error:
        raise InfrastructureError(f"a host sent what is no entry of a journal: {error}") from error
