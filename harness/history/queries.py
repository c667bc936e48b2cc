"""Runs and their rows, read back."""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, func, select

from harness.errors import UsageError
from harness.history import schema
from harness.history.model import RunSummary
from harness.history.rows import info_from, result_from
from harness.results.model import RunInfo, RunResult
from harness.results.outcome import Outcome
from harness.results.words import one_line

__all__ = [
    "behaviours_of",
    "ended_run",
    "find_run",
    "newest_runs",
    "previous_run",
    "results_of",
    "run_names",
    "runs_until",
    "summaries",
    "which",
]

#: Runs that a mistyped name is compared with, and names that a message lists.
_NAMED_RUNS: Final = 500
_SHOWN: Final = 8


def newest_runs(*, limit: int | None = None, plan: str | None = None) -> Select[Any]:
    """The runs (of one plan), the newest first."""
    runs = schema.runs
    query = select(runs).order_by(runs.c.started.desc(), runs.c.id.desc())
    if plan is not None:
        query = query.where(runs.c.plan == plan)
    return query if limit is None else query.limit(limit)


def find_run(connection: Connection, name: str | None) -> Row[Any]:
    """The run of that name, or the newest. Raises `UsageError` where there is none."""
    query = newest_runs(limit=1) if name is None else newest_runs().where(schema.runs.c.name == name)
    found = connection.execute(query).first()
    if found is None:
        if name is None:
            raise UsageError(
                "the history has no run yet; `harness matrix ingest` takes in what is in a folder"
            )
        raise UsageError(f"the history has no run {name!r}; {which(name, run_names(connection), 'runs')}")
    return found


def run_names(connection: Connection) -> tuple[str, ...]:
    """Those of the last runs, the newest first."""
    return tuple(row.name for row in connection.execute(newest_runs(limit=_NAMED_RUNS)))


def which(name: str, names: Sequence[str], what: str) -> str:
    """What somebody may have meant by a name that is none of `names`, `what` they are of."""
    names = [one_line(each) for each in names]
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    rest = ", ..." if len(names) > _SHOWN else ""
    return f"its {what} are {', '.join(names[:_SHOWN])}{rest}" if names else f"it has no {what}"


def ended_run(connection: Connection, info: RunInfo, rows_size: int) -> int | None:
    """How many rows a run has, if it is there, ended, and so many bytes of its rows were read; else None."""
    runs, results = schema.runs, schema.results
    same = (
        (runs.c.name == info.name)
        & (runs.c.started == info.started)
        & (runs.c.finished == info.finished)
        & (runs.c.finished != "")
        & (runs.c.rows_size == rows_size)
    )
    number = connection.execute(select(runs.c.id).where(same)).scalar()
    if number is None:
        return None
    count = select(func.count()).select_from(results).where(results.c.run_id == number)
    return int(connection.execute(count).scalar_one())


def runs_until(run: Row[Any]) -> Select[Any]:
    """`run` and those before it of the same plan (without a plan: asked for the same), the newest first."""
    runs = schema.runs
    earlier = (runs.c.started < run.started) | ((runs.c.started == run.started) & (runs.c.id <= run.id))
    return newest_runs().where(runs.c.series == run.series, earlier)


def previous_run(connection: Connection, run: Row[Any]) -> Row[Any] | None:
    """The one before it."""
    return connection.execute(runs_until(run).where(schema.runs.c.id != run.id).limit(1)).first()


def summaries(connection: Connection, runs: Iterable[Row[Any]]) -> tuple[RunSummary, ...]:
    """What came of each run."""
    runs = list(runs)
    results = schema.results
    counts: defaultdict[int, dict[Outcome, int]] = defaultdict(dict)
    targets: defaultdict[int, set[str]] = defaultdict(set)
    of_these = results.c.run_id.in_([run.id for run in runs])
    columns = (results.c.run_id, results.c.outcome)
    query = select(*columns, func.count()).where(of_these, results.c.latest).group_by(*columns)
    for run_id, outcome, count in connection.execute(query):
        counts[run_id][Outcome(outcome)] = count
    names = (
        select(results.c.run_id, schema.targets.c.name)
        .join_from(results, schema.targets, results.c.target_id == schema.targets.c.id)
        .where(of_these, schema.targets.c.name != "")
        .distinct()
    )
    for run_id, name in connection.execute(names):
        targets[run_id].add(name)
    return tuple(
        RunSummary(
            info=info_from(run._mapping),
            plan=run.plan,
            targets=tuple(sorted(targets[run.id])),
            counts=counts[run.id],
            folder=Path(run.folder),
        )
        for run in runs
    )


def results_of(connection: Connection, run_id: int) -> tuple[RunResult, ...]:
    """Every row of a run, in the order they came in."""
    results, tests, targets = schema.results, schema.tests, schema.targets
    rows = connection.execute(
        select(results, tests.c.name.label("test"), targets.c.name.label("target"))
        .join_from(results, tests, results.c.test_id == tests.c.id)
        .join(targets, results.c.target_id == targets.c.id)
        .where(results.c.run_id == run_id)
        .order_by(results.c.id)
    ).all()
    behaviours = behaviours_of(connection)
    attestations = _attestations(connection, run_id)
    return tuple(
        result_from(row._mapping, behaviours.get(row.behaviours_id, ()), attestations.get(row.attestation_id))
        for row in rows
    )


def behaviours_of(connection: Connection) -> Mapping[int, tuple[str, ...]]:
    """The behaviours of every set; an empty one isn't in it."""
    members = schema.behaviours_of_sets
    found: defaultdict[int, list[str]] = defaultdict(list)
    query = select(members.c.set_id, members.c.behaviour).order_by(members.c.set_id, members.c.position)
    for number, behaviour in connection.execute(query):
        found[number].append(behaviour)
    return {number: tuple(names) for number, names in found.items()}


def _attestations(connection: Connection, run_id: int) -> Mapping[int | None, Mapping[str, Any]]:
    used = select(schema.results.c.attestation_id).where(schema.results.c.run_id == run_id)
    query = select(schema.attestations).where(schema.attestations.c.id.in_(used))
    return {row.id: json.loads(row.body) for row in connection.execute(query)}
