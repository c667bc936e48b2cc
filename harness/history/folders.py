"""What the history reads of a run's folder, as long as it grows and after."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from harness.errors import UsageError
from harness.history.rows import compact, digest_of, moment, plain
from harness.results.folder import ROWS_FILE, RunReader, read_rows
from harness.results.model import MAX_NAME, RunInfo, RunResult, clip

__all__ = ["Folder", "RowKey", "read_folder", "rows_size", "run_info", "series_of"]


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
    """What was read of a run's folder.

    `rows_size` is the size of its rows in bytes, before they were read; `digests` tell the content of rows.
    """

    path: Path
    info: RunInfo
    plan: str
    rows_size: int
    rows: Mapping[RowKey, RunResult]
    digests: Mapping[RowKey, bytes]


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
    info = run_info(path)
    # Their size first: what is written from now on is news for the next time.
    size = rows_size(path)
    rows: dict[RowKey, RunResult] = {}
    for result in _rows(path, info):
        key = RowKey(plain(result.test), plain(result.target), plain(result.build), result.attempt)
        rows.pop(key, None)
        rows[key] = result
    digests = {key: digest_of(compact(result.to_json())) for key, result in rows.items()}
    return Folder(path.absolute(), info, plan_of(path), size, rows, digests)


def run_info(path: Path) -> RunInfo:
    """What run.json says, with times and name as the tables hold them. Raises `UsageError`."""
    info = RunReader(path).info
    return replace(
        info,
        name=plain(info.name),
        started=moment(info.started, f"{path}/run.json: started"),
        finished=info.finished and moment(info.finished, f"{path}/run.json: finished"),
    )


def rows_size(path: Path) -> int:
    """Bytes of all rows in a run's folder; 0 before the first row."""
    size = 0
    for file in (path / ROWS_FILE, *_job_rows(path)):
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def _rows(path: Path, info: RunInfo) -> Iterator[RunResult]:
    """The rows of a run. Until it ended, those of a run of many jobs are in the folders of these."""
    if not info.finished:
        for file in _job_rows(path):
            place = file.parent.relative_to(path).as_posix()
            yield from (_moved(result, place) for result in read_rows(file))
    if (path / ROWS_FILE).exists():
        yield from read_rows(path / ROWS_FILE)


def _job_rows(path: Path) -> list[Path]:
    return sorted(path.glob(f"jobs/*/{ROWS_FILE}"))


def _moved(result: RunResult, place: str) -> RunResult:
    """The row of a job, with its files named as seen from the run's folder."""
    return replace(
        result,
        evidence=tuple(f"{place}/{name}" for name in result.evidence),
        bundle=result.bundle and f"{place}/{result.bundle}",
        comparison=result.comparison and f"{place}/{result.comparison}",
    )


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
