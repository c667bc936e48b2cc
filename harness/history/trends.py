"""What only several runs show: how a cell came along, and how long tests take."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Any

from sqlalchemy import Connection, Select, case, func, select

from harness.history import schema
from harness.history.model import CellHistory
from harness.history.queries import newest_runs
from harness.history.rows import info_from
from harness.results.matrix import NO_BEHAVIOUR, column_of
from harness.results.outcome import Outcome

__all__ = ["cell_history", "durations"]

#: A test file, a target, a build.
_File = tuple[str, str, str]


def cell_history(connection: Connection, runs: Select[Any]) -> CellHistory:
    """The worst outcome of every cell in each of `runs`, which come the newest first."""
    chosen = list(connection.execute(runs))[::-1]
    place = {run.id: at for at, run in enumerate(chosen)}
    results, members, targets = schema.results, schema.behaviours_of_sets, schema.targets
    gravity = case({outcome.value: outcome.gravity for outcome in Outcome}, value=results.c.outcome)
    # First by sets of behaviours, of which there are few: only what is left is taken apart.
    groups = (results.c.run_id, results.c.target_id, results.c.build, results.c.behaviours_id)
    worst = (
        select(*groups, func.min(gravity).label("gravity"))
        .where(results.c.run_id.in_(list(place)), results.c.latest)
        .group_by(*groups)
        .subquery()
    )
    behaviour = func.coalesce(members.c.behaviour, NO_BEHAVIOUR)
    query = (
        select(worst.c.run_id, behaviour, targets.c.name, worst.c.build, func.min(worst.c.gravity))
        .join_from(worst, targets, worst.c.target_id == targets.c.id)
        .outerjoin(members, members.c.set_id == worst.c.behaviours_id)
        .where(targets.c.name != "")
        .group_by(worst.c.run_id, behaviour, targets.c.name, worst.c.build)
    )
    outcomes = tuple(Outcome)
    cells: defaultdict[tuple[str, str], list[Outcome | None]] = defaultdict(lambda: [None] * len(chosen))
    for run_id, name, target, build, found in connection.execute(query):
        cells[name, column_of(target, build)][place[run_id]] = outcomes[found]
    return CellHistory(
        runs=tuple(info_from(run._mapping) for run in chosen),
        cells={cell: tuple(row) for cell, row in cells.items()},
    )


def durations(connection: Connection, *, runs: int) -> dict[_File, float]:
    """Seconds that each file of tests takes on each target: the sum of its tests' medians.

    By tests and not by files, since a run may have been of some tests only.
    """
    chosen = [run.id for run in connection.execute(newest_runs(limit=runs))]
    results, tests, targets = schema.results, schema.tests, schema.targets
    query = (
        select(tests.c.file, targets.c.name, results.c.build, results.c.test_id, results.c.duration)
        .join_from(results, tests, results.c.test_id == tests.c.id)
        .join(targets, results.c.target_id == targets.c.id)
        .where(results.c.run_id.in_(chosen), results.c.latest)
    )
    seconds: defaultdict[tuple[_File, int], list[float]] = defaultdict(list)
    for file, target, build, test_id, duration in connection.execute(query):
        seconds[(file, target, build), test_id].append(duration)
    files: defaultdict[_File, float] = defaultdict(float)
    for (file, _), found in seconds.items():
        files[file] += median(found)
    return dict(files)
