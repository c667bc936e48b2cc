"""The evidence of rows: which files belong to one, and keeping them with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, select

from harness.history import schema
from harness.history.evidence import EvidenceStore, SourceFile, source_file
from harness.history.intern import ASKED, insert_rows
from harness.history.model import Evidence, EvidenceState
from harness.history.rows import plain
from harness.results.model import RunResult

__all__ = ["Sources", "attach", "evidence_of", "files_of"]


def files_of(result: RunResult) -> tuple[str, ...]:
    """The files that belong to a row, relative to its run's folder."""
    return tuple(name for name in (*result.evidence, result.bundle, result.comparison) if name)


class Sources:
    """Files of a run's folder; each is read once, so that it can be done before the database is locked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, SourceFile | None] = {}

    def __getitem__(self, name: str) -> SourceFile | None:
        if name not in self._files:
            self._files[name] = source_file(self.folder, name)
        return self._files[name]

    def read(self, results: Iterable[RunResult]) -> None:
        for result in results:
            for name in files_of(result):
                self[name]


def attach(
    connection: Connection, store: EvidenceStore, sources: Sources, rows: Mapping[int, RunResult]
) -> tuple[int, tuple[str, ...]]:
    """Keep the files of `rows`, which are by the number of their result, in place of what they had.

    Gives how many files are new, and the names of those that are missing. For the one writer.
    """
    table = schema.evidence
    numbers = [number for number, result in rows.items() if files_of(result)]
    for start in range(0, len(numbers), ASKED):
        connection.execute(delete(table).where(table.c.result_id.in_(numbers[start : start + ASKED])))
    found: list[dict[str, Any]] = []
    files: list[SourceFile] = []
    missing: list[str] = []
    for number in numbers:
        for position, name in enumerate(files_of(rows[number])):
            source = sources[name]
            if source is None:
                missing.append(name)
            else:
                files.append(source)
            found.append(
                {
                    "result_id": number,
                    "position": position,
                    "name": plain(name),
                    "state": (EvidenceState.MISSING if source is None else EvidenceState.KEPT).value,
                    "digest": "" if source is None else source.digest,
                    "size": 0 if source is None else source.size,
                }
            )
    insert_rows(connection, table, found)
    return store.add(files), tuple(missing)


def evidence_of(connection: Connection, store: EvidenceStore, run_id: int) -> tuple[Evidence, ...]:
    """Every file that belongs to a row of the run, in the order of the rows."""
    table, results, tests, targets = schema.evidence, schema.results, schema.tests, schema.targets
    query = (
        select(table, tests.c.name.label("test"), targets.c.name.label("target"))
        .add_columns(results.c.build, results.c.attempt)
        .join_from(table, results, table.c.result_id == results.c.id)
        .join(tests, results.c.test_id == tests.c.id)
        .join(targets, results.c.target_id == targets.c.id)
        .where(results.c.run_id == run_id)
        .order_by(table.c.result_id, table.c.position)
    )
    return tuple(
        Evidence(
            test=row.test,
            target=row.target,
            build=row.build,
            attempt=row.attempt,
            name=row.name,
            state=EvidenceState(row.state),
            digest=row.digest,
            size=row.size,
            path=store.find(row.digest) if row.state == EvidenceState.KEPT else None,
        )
        for row in connection.execute(query)
    )
