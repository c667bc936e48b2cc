"""Whether the evidence is what it was: every file read again, compared with its name and with the rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, select

from harness.history import schema
from harness.history.evidence import EvidenceStore
from harness.history.model import EvidenceState, Problem, Verified, Wrong

__all__ = ["Uses", "references", "verify_store"]

#: By SHA-256 the files of runs, (run, name), that rows say are kept.
Uses = Mapping[str, tuple[tuple[str, str], ...]]

#: Files of runs that are named for one content.
_NAMED: Final = 5


def references(connection: Connection) -> Uses:
    table, results, runs = schema.evidence, schema.results, schema.runs
    query = (
        select(table.c.digest, runs.c.name.label("run"), table.c.name)
        .join_from(table, results, table.c.result_id == results.c.id)
        .join(runs, results.c.run_id == runs.c.id)
        .where(table.c.state == EvidenceState.KEPT.value)
        .order_by(runs.c.started, table.c.result_id, table.c.position)
    )
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for digest, run, name in connection.execute(query):
        before = found.get(digest, ())
        if len(before) < _NAMED:
            found[digest] = (*before, (run, name))
    return found


def verify_store(store: EvidenceStore, uses: Uses) -> Verified:
    """Read all that is in the store; what rows refer to and isn't there is a problem too."""
    files = size = unreferenced = 0
    problems: list[Problem] = []
    seen: set[str] = set()
    for digest, length in store:
        seen.add(digest)
        files, size = files + 1, size + length
        if digest not in uses:
            unreferenced += 1  # of a killed ingest: the next prune removes it
            continue
        path = store.path(digest)
        try:
            with path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == digest
        except FileNotFoundError:
            problems.append(Problem(Wrong.LOST, digest, path, uses[digest]))
        except OSError:
            problems.append(Problem(Wrong.UNREADABLE, digest, path, uses[digest]))
        else:
            if not same:
                problems.append(Problem(Wrong.DAMAGED, digest, path, uses[digest]))
    lost = (digest for digest in uses if digest not in seen)
    problems += [Problem(Wrong.LOST, digest, store.path(digest), uses[digest]) for digest in lost]
    return Verified(files, size, unreferenced, tuple(problems))
