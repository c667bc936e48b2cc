"""Taking a run in: all that is new of it or nothing, as often as one likes.

A row is known by run, test, target, build and attempt. A row that is there unchanged is left alone; of two
in one folder the later one counts, as it does where a job was repeated after its host was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from harness.history import schema
from harness.history.folders import Folder, RowKey, series_of
from harness.history.intern import behaviour_sets, insert_rows, interned, next_id
from harness.history.model import Ingested
from harness.history.rows import body_of, compact, digest_of, file_of, plain
from harness.results.model import RunResult

__all__ = ["store"]


def store(connection: Connection, folder: Folder) -> Ingested:
    """Write what isn't there yet, in a writing transaction."""
    run_id = _store_run(connection, folder)
    known = _known_rows(connection, run_id)
    fingerprints = {key: digest_of(compact(result.to_json())) for key, result in folder.rows.items()}
    new = [key for key in folder.rows if key not in known]
    changed = [key for key in folder.rows if key in known and known[key][1] != fingerprints[key]]
    values = _values(connection, run_id, {key: folder.rows[key] for key in new + changed}, fingerprints)
    number = next_id(connection, schema.results)
    insert_rows(
        connection, schema.results, [{**values[key], "id": number + at} for at, key in enumerate(new)]
    )
    if changed:
        # A column's name can't be the name of a value in an UPDATE of many rows.
        rows = [{f"new_{name}": value for name, value in values[key].items()} for key in changed]
        columns: dict[str, Any] = {name: bindparam(f"new_{name}") for name in values[changed[0]]}
        statement = update(schema.results).where(schema.results.c.id == bindparam("row")).values(columns)
        connection.execute(
            statement, [{**row, "row": known[key][0]} for key, row in zip(changed, rows, strict=True)]
        )
    if any(key.attempt > 1 for key in new):
        _mark_latest(connection, run_id)
    return Ingested(
        run=folder.info.name,
        added=len(new),
        changed=len(changed),
        unchanged=len(folder.rows) - len(new) - len(changed),
    )


def _store_run(connection: Connection, folder: Folder) -> int:
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
    found = connection.execute(select(runs.c.id).where(runs.c.name == info.name)).scalar()
    if found is None:
        found = next_id(connection, runs)
        connection.execute(insert(runs).values(id=found, name=info.name, **values))
    else:
        connection.execute(update(runs).where(runs.c.id == found).values(values))
    return int(found)


def _known_rows(connection: Connection, run_id: int) -> dict[RowKey, tuple[int, bytes]]:
    """Identifier and fingerprint of every row of the run."""
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
        RowKey(test, target, build, attempt): (row_id, digest)
        for test, target, build, attempt, row_id, digest in connection.execute(query)
    }


def _values(
    connection: Connection,
    run_id: int,
    rows: Mapping[RowKey, RunResult],
    fingerprints: Mapping[RowKey, bytes],
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
    seen = {
        key: compact(result.attestation.to_json())
        for key, result in rows.items()
        if result.attestation is not None
    }
    attestations = interned(connection, schema.attestations, set(seen.values()), lambda body: {"body": body})
    return {
        key: {
            "run_id": run_id,
            "test_id": tests[key.test],
            "target_id": targets[key.target],
            "build": key.build,
            "attempt": key.attempt,
            "latest": True,
            "outcome": result.outcome.value,
            "behaviours_id": sets[result.behaviours],
            "duration": result.duration,
            "attestation_id": attestations[seen[key]] if key in seen else None,
            "message": plain(result.message),
            "body": body_of(result.to_json()),
            "digest": fingerprints[key],
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
    connection.execute(
        update(results).where(results.c.run_id == run_id, results.c.latest, superseded).values(latest=False)
    )
