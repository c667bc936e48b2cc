"""Taking a run in: all that is new of it or nothing, as often as one likes.

A row is known by run, test, target, build and attempt. A row that is there unchanged is left alone; of two
in one folder the later one counts, as it does where a job was repeated after its host was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, insert, select, update

from harness.errors import UsageError
from harness.history import schema
from harness.history.attach import Sources, attach
from harness.history.evidence import EvidenceStore
from harness.history.folders import Folder, RowKey, series_of
from harness.history.intern import behaviour_sets, insert_rows, interned, next_id
from harness.history.model import Ingested
from harness.history.rows import body_of, compact, file_of, plain
from harness.results.model import RunResult

__all__ = ["missing_rows", "store"]


def missing_rows(connection: Connection, folder: Folder) -> tuple[RunResult, ...]:
    """The rows that the database lacks or has with another content."""
    run_id = connection.execute(
        select(schema.runs.c.id).where(schema.runs.c.name == folder.info.name)
    ).scalar()
    known = {} if run_id is None else _known_rows(connection, run_id)
    return tuple(
        result
        for key, result in folder.rows.items()
        if key not in known or known[key].digest != folder.digests[key]
    )


def store(connection: Connection, evidence: EvidenceStore, sources: Sources, folder: Folder) -> Ingested:
    """Write what isn't there yet, in a writing transaction.

    Raises `UsageError` where another run is there under the same name.
    """
    run_id, same = _store_run(connection, folder)
    known = _known_rows(connection, run_id)
    if not same and known and not any(known[key].digest == folder.digests.get(key) for key in known):
        raise UsageError(
            f"the history has another run named {folder.info.name!r}; give the folder {folder.path} and "
            "the name in its run.json another name"
        )
    new = [key for key in folder.rows if key not in known]
    changed = [key for key in folder.rows if key in known and known[key].digest != folder.digests[key]]
    values = _values(connection, run_id, {key: folder.rows[key] for key in new + changed}, folder.digests)
    first = next_id(connection, schema.results)
    numbers = {key: first + at for at, key in enumerate(new)} | {key: known[key].id for key in changed}
    insert_rows(
        connection, schema.results, [{**values[key], "id": numbers[key], "latest": True} for key in new]
    )
    _update(connection, {numbers[key]: values[key] for key in changed})
    if any(key.attempt > 1 for key in (*new, *known)):
        _mark_latest(connection, run_id)
    files, missing = attach(
        connection, evidence, sources, {number: folder.rows[key] for key, number in numbers.items()}
    )
    return Ingested(
        run=folder.info.name,
        added=len(new),
        changed=len(changed),
        unchanged=len(folder.rows) - len(new) - len(changed),
        evidence=files,
        missing=missing,
    )


def _update(connection: Connection, rows: Mapping[int, Mapping[str, Any]]) -> None:
    """Replace the columns of results, which are by their numbers."""
    if not rows:
        return
    # A column's name can't be the name of a value in an UPDATE of many rows.
    columns: dict[str, Any] = {name: bindparam(f"new_{name}") for name in next(iter(rows.values()))}
    statement = update(schema.results).where(schema.results.c.id == bindparam("row")).values(columns)
    connection.execute(
        statement,
        [
            {"row": number, **{f"new_{name}": value for name, value in row.items()}}
            for number, row in rows.items()
        ],
    )


def _store_run(connection: Connection, folder: Folder) -> tuple[int, bool]:
    """The number of the run, and whether the one that was there began at the same time (or none was)."""
    info, runs = folder.info, schema.runs
    values = {
        "started": info.started,
        "finished": info.finished,
        "exit_code": info.exit_code,
        "harness": plain(info.harness),
        "arguments": compact(info.arguments),
        "plan": folder.plan,
        "series": series_of(folder),
        "folder": plain(str(folder.path)),
        "rows_size": folder.rows_size,
    }
    found = connection.execute(select(runs).where(runs.c.name == info.name)).first()
    if found is None:
        number = next_id(connection, runs)
        connection.execute(insert(runs).values(id=number, name=info.name, **values))
        return number, True
    connection.execute(update(runs).where(runs.c.id == found.id).values(values))
    return int(found.id), found.started == info.started


class _Known(NamedTuple):
    """The number and the digest of a row that is there."""

    id: int
    digest: bytes


def _known_rows(connection: Connection, run_id: int) -> dict[RowKey, _Known]:
    """Every row of the run."""
    results, tests, targets = schema.results, schema.tests, schema.targets
    query = (
        select(
            tests.c.name.label("test"),
            targets.c.name.label("target"),
            results.c.build,
            results.c.attempt,
            results.c.id,
            results.c.digest,
        )
        .join_from(results, tests, results.c.test_id == tests.c.id)
        .join(targets, results.c.target_id == targets.c.id)
        .where(results.c.run_id == run_id)
    )
    return {
        RowKey(test, target, build, attempt): _Known(row_id, bytes(digest))
        for test, target, build, attempt, row_id, digest in connection.execute(query)
    }


def _values(
    connection: Connection,
    run_id: int,
    rows: Mapping[RowKey, RunResult],
    digests: Mapping[RowKey, bytes],
) -> dict[RowKey, dict[str, Any]]:
    """The columns of every row; what they refer to is stored."""
    tests = interned(
        connection,
        schema.tests,
        {key.test for key in rows},
        lambda name: {"name": name, "file": file_of(name)},
    )
    targets = interned(connection, schema.targets, {key.target for key in rows}, lambda name: {"name": name})
    sets = behaviour_sets(connection, {result.behaviours for result in rows.values()})
    plain_rows = {key: result.to_json() for key, result in rows.items()}
    seen = {key: compact(row["attestation"]) for key, row in plain_rows.items() if row["attestation"]}
    attestations = interned(connection, schema.attestations, set(seen.values()), lambda body: {"body": body})
    return {
        key: {
            "run_id": run_id,
            "test_id": tests[key.test],
            "target_id": targets[key.target],
            "build": key.build,
            "attempt": key.attempt,
            "outcome": result.outcome.value,
            "behaviours_id": sets[result.behaviours],
            "duration": result.duration,
            "attestation_id": attestations[seen[key]] if key in seen else None,
            "message": plain(result.message),
            "body": body_of(plain_rows[key]),
            "digest": digests[key],
        }
        for key, result in rows.items()
    }


def _mark_latest(connection: Connection, run_id: int) -> None:
    """Tell the last attempt of every test of the run from those before."""
    results = schema.results
    later = results.alias()
    superseded = (
        select(later.c.id)
        .where(
            later.c.run_id == run_id,
            later.c.test_id == results.c.test_id,
            later.c.target_id == results.c.target_id,
            later.c.build == results.c.build,
            later.c.attempt > results.c.attempt,
        )
        .exists()
    )
    of_run = results.c.run_id == run_id
    connection.execute(update(results).where(of_run, results.c.latest, superseded).values(latest=False))
