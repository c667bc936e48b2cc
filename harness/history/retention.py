"""How long evidence is kept. Rows are kept for ever; the evidence of failures longer than that of passes.

Two steps, each a transaction of the one writer: first the rows say that their evidence is gone, then what no
row refers to any more is removed. Killed in between, the next time removes it; no row ever refers to a file
that was removed on purpose.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection, select, tuple_, update

from harness.history import schema
from harness.history.evidence import EvidenceStore, source_file
from harness.history.intern import ASKED
from harness.history.model import EvidenceState, Pruned, Retention
from harness.results.notes import note_thinned
from harness.results.outcome import Outcome

__all__ = [
    "Victim",
    "account",
    "garbage",
    "mark_pruned",
    "referenced",
    "remove_copies",
    "thinned_folders",
    "victims",
]

#: A known issue is a failure, too.
_FAILURES: Final = frozenset({*(outcome for outcome in Outcome if outcome.is_bad), Outcome.KNOWN})


class Victim(NamedTuple):
    """A file of a result that retention doesn't keep."""

    result_id: int
    position: int
    digest: str
    size: int
    #: Whether it belongs to a failure.
    failure: bool


class _Kept(NamedTuple):
    victim: Victim
    started: str


def victims(connection: Connection, policy: Retention, now: datetime, plan: str | None) -> tuple[Victim, ...]:
    """What `policy` removes at the time `now`, of all runs or of those of one plan."""
    limits = {True: policy.failures_days, False: policy.passes_days}
    oldest = {failure: _ago(now, days) for failure, days in limits.items()}
    going: list[Victim] = []
    staying: list[Victim] = []
    for victim, started in _kept(connection, plan):
        (going if started < oldest[victim.failure] else staying).append(victim)
    if policy.max_bytes:
        going += _over(staying, policy.max_bytes)
    return tuple(going)


def _ago(now: datetime, days: float) -> str:
    """A time as the tables hold it; before all others where there is no limit."""
    if not days:
        return ""
    with contextlib.suppress(OverflowError):
        return (now.astimezone(UTC) - timedelta(days=days)).isoformat(timespec="microseconds")
    return ""


def _kept(connection: Connection, plan: str | None) -> Iterator[_Kept]:
    """Every file that is kept, with the start of its run; the oldest first."""
    table, results, runs = schema.evidence, schema.results, schema.runs
    query = (
        select(table, results.c.outcome, runs.c.started)
        .join_from(table, results, table.c.result_id == results.c.id)
        .join(runs, results.c.run_id == runs.c.id)
        .where(table.c.state == EvidenceState.KEPT.value)
        .order_by(runs.c.started, table.c.result_id, table.c.position)
    )
    if plan is not None:
        query = query.where(runs.c.plan == plan)
    for row in connection.execute(query):
        failure = Outcome(row.outcome) in _FAILURES
        yield _Kept(Victim(row.result_id, row.position, row.digest, row.size, failure), row.started)


def _over(staying: Iterable[Victim], most: int) -> Iterator[Victim]:
    """Files in the order they go, until what is left takes no more than `most` bytes."""
    staying = sorted(staying, key=lambda victim: victim.failure)  # keeps the order of age
    uses: dict[str, int] = {}
    for victim in staying:
        uses[victim.digest] = uses.get(victim.digest, 0) + 1
    left = sum({victim.digest: victim.size for victim in staying}.values())
    for victim in staying:
        if left <= most:
            return
        uses[victim.digest] -= 1
        if not uses[victim.digest]:
            left -= victim.size
        yield victim


def mark_pruned(connection: Connection, gone: Iterable[Victim]) -> None:
    """Let the rows say that these files are gone. In a writing transaction."""
    table = schema.evidence
    keys = [(victim.result_id, victim.position) for victim in gone]
    for start in range(0, len(keys), ASKED // 2):
        chosen = tuple_(table.c.result_id, table.c.position).in_(keys[start : start + ASKED // 2])
        connection.execute(update(table).where(chosen).values(state=EvidenceState.PRUNED.value))


def referenced(connection: Connection, *, without: Iterable[Victim] = ()) -> frozenset[str]:
    """The content that rows refer to, those of `without` left out."""
    table = schema.evidence
    gone = {(victim.result_id, victim.position) for victim in without}
    query = select(table.c.result_id, table.c.position, table.c.digest).where(
        table.c.state == EvidenceState.KEPT.value
    )
    return frozenset(
        digest for number, position, digest in connection.execute(query) if (number, position) not in gone
    )


def garbage(store: EvidenceStore, used: frozenset[str]) -> dict[str, int]:
    """All content but `used`, with its size in bytes."""
    return {digest: size for digest, size in store if digest not in used}


def account(gone: Iterable[Victim], removed: Mapping[str, int]) -> Pruned:
    """The sum of a pruning: what rows lost, and the content that was removed with it."""
    gone = tuple(gone)
    failures = sum(victim.failure for victim in gone)
    return Pruned(
        passes=len(gone) - failures,
        failures=failures,
        unreferenced=len(removed.keys() - {victim.digest for victim in gone}),
        bytes=sum(removed.values()),
    )


def remove_copies(connection: Connection, removed: Collection[str], now: datetime) -> None:
    """Remove this content from the folders of runs whose rows gave it up, where it is still the same there.

    The store's file and the one in the run's folder are one file with two names as a rule: removing one of
    them would free nothing. Each folder notes what it lost, for its reports.
    """
    table, results, runs = schema.evidence, schema.results, schema.runs
    query = (
        select(runs.c.folder, table.c.name, table.c.digest)
        .join_from(table, results, table.c.result_id == results.c.id)
        .join(runs, results.c.run_id == runs.c.id)
        .where(table.c.state == EvidenceState.PRUNED.value)
    )
    digests = sorted(removed)
    copies: defaultdict[Path, dict[str, Path]] = defaultdict(dict)
    for start in range(0, len(digests), ASKED):
        chosen = query.where(table.c.digest.in_(digests[start : start + ASKED]))
        for folder, name, digest in connection.execute(chosen):
            found = source_file(Path(folder), name)
            if found is not None and found.digest == digest:
                copies[Path(folder)][name] = found.path
    for run, files in copies.items():
        with contextlib.suppress(OSError):  # somebody else's folder: they go when that goes
            note_thinned(run, files, now)
            for path in files.values():
                path.unlink()


def thinned_folders(connection: Connection) -> tuple[Path, ...]:
    """The folders of the runs that lost evidence to retention."""
    table, results, runs = schema.evidence, schema.results, schema.runs
    query = (
        select(runs.c.folder)
        .distinct()
        .join_from(table, results, table.c.result_id == results.c.id)
        .join(runs, results.c.run_id == runs.c.id)
        .where(table.c.state == EvidenceState.PRUNED.value)
        .order_by(runs.c.folder)
    )
    return tuple(Path(folder) for (folder,) in connection.execute(query))
