"""What the history reads of a run's folder, as long as it grows and after."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from harness.errors import UsageError
from harness.history.rows import compact, digest_of, moment, plain
from harness.results.folder import RunReader
from harness.results.model import MAX_NAME, RunInfo, RunResult, clip

__all__ = ["Folder", "RowKey", "read_folder", "rows_size", "series_of"]


#: Options of pytest that say how and where, not what. Each has a value.
_OF_ONE_RUN: Final = ("--run-folder", "--results", "--finished", "-n", "--dist", "--junitxml")
#: A plan holds all its jobs.
_MAX_PLAN: Final = 256 << 20


class RowKey(NamedTuple):
    """What a row is known by within its run."""

    test: str
    target: str
    build: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Folder:
    """What was read of a run's folder. `rows_size` is the size of rows.jsonl before it was read, in bytes."""

    path: Path
    info: RunInfo
    plan: str
    rows_size: int
    rows: Mapping[RowKey, RunResult]


def series_of(folder: Folder) -> bytes:
    """What runs that are compared with each other have in common: the plan, or what pytest was asked for."""
    if folder.plan:
        return digest_of(compact(["plan", folder.plan]))
    asked = list(folder.info.arguments)
    for option in _OF_ONE_RUN:
        while option in asked:
            at = asked.index(option)
            del asked[at : at + 2]
    asked = [word for word in asked if not word.startswith(tuple(f"{option}=" for option in _OF_ONE_RUN))]
    return digest_of(compact(["pytest", *asked]))


def read_folder(path: Path) -> Folder:
    """Read a run's folder, which may still grow. Raises `UsageError` for a folder that isn't one."""
    reader = RunReader(path)
    info = replace(
        reader.info,
        name=plain(clip(reader.info.name, MAX_NAME)),
        started=moment(reader.info.started, f"{path}/run.json: started"),
        finished=reader.info.finished and moment(reader.info.finished, f"{path}/run.json: finished"),
    )
    # Its size first: what is written from now on is news for the next time.
    size = rows_size(path)
    rows: dict[RowKey, RunResult] = {}
    for result in reader:
        key = RowKey(plain(result.test), plain(result.target), plain(result.build), result.attempt)
        rows.pop(key, None)
        rows[key] = result
    return Folder(path.absolute(), info, plan_of(path), size, rows)


def rows_size(path: Path) -> int:
    """Bytes of a run's rows.jsonl; 0 before the first row."""
    try:
        return (path / "rows.jsonl").stat().st_size
    except FileNotFoundError:
        return 0


def plan_of(path: Path) -> str:
    """The name of the plan that a run belongs to, empty without one. Raises `UsageError`."""
    file = path / "plan.json"
    try:
        if file.stat().st_size > _MAX_PLAN:
            raise UsageError(f"{file}: larger than {_MAX_PLAN >> 20} MB, which no plan is")
        plan = json.loads(file.read_text(encoding="utf-8"))
        return plain(clip(str(plan["plan"]["name"]), MAX_NAME))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{file} is not the plan of a run: {error!r}") from error
