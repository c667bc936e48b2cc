"""The folder of a run: ``results/<run>/`` with run.json, rows.jsonl and evidence/.

Rows are appended one line at a time, so a killed run keeps everything that had finished. Only one
process writes rows (with pytest-xdist the controller); workers write evidence files of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from harness.cleanup import Closing
from harness.errors import UsageError
from harness.results.model import RunInfo, RunResult

__all__ = [
    "MAX_EVIDENCE",
    "ROWS_FILE",
    "RunReader",
    "RunWriter",
    "evidence_folder",
    "find_run",
    "new_run_folder",
    "read_rows",
    "run_folders",
    "write_evidence",
    "write_info",
]

#: Largest evidence file, in bytes.
MAX_EVIDENCE: Final = 16 * 1024 * 1024
#: Longest line of rows.jsonl that a reader accepts, in characters.
_MAX_LINE: Final = 1024 * 1024
_BLOCK: Final = 64 * 1024
#: What a run's folder keeps its rows in, one JSON object a line.
ROWS_FILE: Final = "rows.jsonl"
_RUN_NAME: Final = re.compile(r"\d{8}-\d{6}-\d{6}-\d+")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_info(folder: Path, info: RunInfo) -> None:
    """Write a run's run.json, in one step."""
    part = folder / "run.json.part"
    part.write_text(json.dumps(asdict(info), indent=1) + "\n", encoding="utf-8")
    part.replace(folder / "run.json")


def write_evidence(folder: Path, name: str, data: bytes) -> str:
    """Store one file of evidence in a run's folder; returns its name relative to that folder.

    `name` may be any text: what isn't safe in a file name is replaced, and an existing file is never
    overwritten.
    """
    place = folder / "evidence"
    place.mkdir(parents=True, exist_ok=True)
    for path in _free_names(place, name):
        try:
            with path.open("xb") as file:
                file.write(data[:MAX_EVIDENCE])
        except FileExistsError:
            continue
        return f"evidence/{path.name}"
    raise _too_many(place, name)


def evidence_folder(folder: Path, name: str) -> Path:
    """A new folder for several files of evidence, ``evidence/NAME`` in a run's folder; it is made.

    `name` may be any text, as for `write_evidence`; the limit there is for whoever writes the files to keep.
    """
    place = folder / "evidence"
    place.mkdir(parents=True, exist_ok=True)
    for path in _free_names(place, name):
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise _too_many(place, name)


def _free_names(place: Path, name: str) -> Iterator[Path]:
    safe = re.sub(r"[^\w.=+-]+", "_", name).strip("._")[-120:] or "evidence"
    yield place / safe
    for number in range(2, 10_000):
        yield place / f"{number}-{safe}"


def _too_many(place: Path, name: str) -> UsageError:
    return UsageError(f"{place} holds thousands of files named {name}; give the evidence names of its own")


def new_run_folder(results: Path) -> Path:
    """A name for a new run below `results`; nothing is created yet, so a run without rows leaves no trace."""
    return results / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{os.getpid()}"


class RunWriter(Closing):
    """Writes one run's folder. A context manager; left without `finish` the run counts as not finished."""

    def __init__(self, folder: Path, *, arguments: tuple[str, ...] = (), harness: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.info = RunInfo(name=folder.name, started=_now(), arguments=arguments, harness=harness)
        write_info(folder, self.info)
        _cut_torn_line(folder / ROWS_FILE)
        # Line by line, so that a killed process leaves every finished row.
        self._rows: TextIO = (folder / ROWS_FILE).open("a", encoding="utf-8", buffering=1)

    def add(self, result: RunResult) -> None:
        """Write one row; it is there when this returns."""
        self._rows.write(json.dumps(result.to_json(), separators=(",", ":")) + "\n")

    def finish(self, exit_code: int) -> None:
        """Write how the run ended, and close."""
        self.info = replace(self.info, finished=_now(), exit_code=exit_code)
        write_info(self.folder, self.info)
        self.close()

    def close(self) -> None:
        """Close the file of rows; a run that was not finished stays one without an end."""
        self._rows.close()


class RunReader:
    """Reads one run's folder. Raises `UsageError` for a folder that isn't one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            with (folder / "run.json").open(encoding="utf-8") as file:
                self.info = RunInfo.from_json(json.loads(file.read(_MAX_LINE)))
        except (OSError, ValueError, RecursionError, UsageError) as error:
            raise UsageError(f"{folder} is not the folder of a run: {error}") from error

    def __iter__(self) -> Iterator[RunResult]:
        return read_rows(self.folder / ROWS_FILE)


def read_rows(file: Path) -> Iterator[RunResult]:
    """The rows of a rows.jsonl, as far as whoever wrote it got. Raises `UsageError` for anything else."""
    number = 0
    try:
        with file.open(encoding="utf-8") as lines:
            while line := lines.readline(_MAX_LINE):
                number += 1
                if not line.endswith("\n"):
                    if len(line) == _MAX_LINE:
                        raise UsageError(f"it has {_MAX_LINE} characters or more")
                    return  # the run was killed while it wrote this row
                yield RunResult.from_json(json.loads(line))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error}") from error
    except (ValueError, RecursionError, UsageError) as error:
        raise UsageError(
            f"{file}: line {number} can't be read: {error}; a newer harness may have written it: use that "
            "one, or take the line out"
        ) from error


def _cut_torn_line(file: Path) -> None:
    """Take away the half row of a writer that was killed: the next one would be appended to it."""
    try:
        content = file.open("r+b")
    except FileNotFoundError:
        return
    with content:
        end = position = content.seek(0, os.SEEK_END)
        while position > 0:
            start = max(0, position - _BLOCK)
            content.seek(start)
            newline = content.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position != end:
            content.truncate(position)


def find_run(results: Path, name: str | None = None) -> Path:
    """The folder of the run `name` (a name or a path); the newest one without a name."""
    if name is not None:
        for folder in (Path(name), results / name):
            if (folder / "run.json").is_file():
                return folder
        raise UsageError(
            f"no run {name!r}, neither as a folder nor in {results}/; `ls {results}` shows what is there"
        )
    runs = run_folders(results)
    if not runs:
        raise UsageError(f"there is no run in {results}/ yet; `harness run` or `make demo` makes one")
    return runs[-1]


def run_folders(results: Path) -> list[Path]:
    """The folders of the runs below `results` that the harness named, the oldest first."""
    runs: list[Path] = []
    with contextlib.suppress(FileNotFoundError):
        runs = [
            path
            for path in results.iterdir()
            if _RUN_NAME.fullmatch(path.name) and (path / "run.json").is_file()
        ]
    return sorted(runs, key=lambda path: path.name)
