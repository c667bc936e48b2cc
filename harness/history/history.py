"""The history: one object over the database and the evidence beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from harness.cleanup import Closing
from harness.errors import UsageError
from harness.history import changes, queries, retention, trends
from harness.history.attach import Sources, evidence_of
from harness.history.database import Database, place_of
from harness.history.evidence import EvidenceStore
from harness.history.folders import read_folder, rows_size, run_info
from harness.history.ingest import missing_rows, store
from harness.history.model import (
    CellHistory,
    Difference,
    Evidence,
    Ingested,
    Pruned,
    Retention,
    RunSummary,
    Verified,
)
from harness.history.optional import ENVIRONMENT, FILE
from harness.history.verify import references, verify_store
from harness.results.folder import run_folders
from harness.results.model import RunResult

__all__ = ["History", "open_history"]

#: Runs that a duration is estimated from.
_TIMED_RUNS: Final = 10


class History(Closing):
    """Runs, their rows, and what came of them over time. Made by `open_history`; a context manager.

    Runs are named as their folders are; where a name may be left out, the newest run is meant. Every
    method raises `UsageError` for a run that isn't there and `InfrastructureError` where the database
    fails.
    """

    def __init__(self, database: Database, evidence: EvidenceStore) -> None:
        self._database = database
        self._evidence = evidence

    @property
    def name(self) -> str:
        """Where it is; an URL is without its password."""
        return self._database.name

    def close(self) -> None:
        self._database.close()

    def ingest(self, folder: Path) -> Ingested:
        """Take in what is new of a run's folder: again without effect, and again when the run grew.

        All of it or nothing, whatever happens meanwhile. The folder stays as it is. Raises `UsageError` for a
        folder that isn't a run's, and for another run than the one that is there under its name.
        """
        if (there := self._unchanged(folder)) is not None:
            return there
        found = read_folder(folder)
        sources = Sources(found.path)
        with self._database.reading() as connection:
            new = missing_rows(connection, found)
        sources.read(new)  # may take a while, and others may write meanwhile
        with self._database.writing() as connection:
            return store(connection, self._evidence, sources, found)

    def ingest_all(self, results: Path) -> tuple[Ingested, ...]:
        """Take in every run below `results`; one that ended and is there costs a look at its sizes.

        A folder that can't be taken in is told by `Ingested.trouble` and keeps no other one out.
        """
        return tuple(self._ingest_or_tell(folder) for folder in run_folders(results))

    def _ingest_or_tell(self, folder: Path) -> Ingested:
        try:
            return self.ingest(folder)
        except UsageError as error:
            return Ingested(folder.name, trouble=str(error))

    def _unchanged(self, folder: Path) -> Ingested | None:
        """What an ingest would say, where a glance shows that the run ended and is there."""
        info, size = run_info(folder), rows_size(folder)
        with self._database.reading() as connection:
            known = queries.ended_run(connection, info, size)
        return None if known is None else Ingested(info.name, unchanged=known)

    def runs(self, *, limit: int | None = None, plan: str | None = None) -> tuple[RunSummary, ...]:
        """The runs (of one plan), the newest first."""
        with self._database.reading() as connection:
            found = connection.execute(queries.newest_runs(limit=limit, plan=plan))
            return queries.summaries(connection, found)

    def run(self, name: str | None = None) -> RunSummary:
        """What came of one run."""
        with self._database.reading() as connection:
            return queries.summaries(connection, [queries.find_run(connection, name)])[0]

    def previous(self, name: str | None = None) -> RunSummary | None:
        """The run before it of the same plan; without a plan, one that was asked for the same.

        None: it is the first.
        """
        with self._database.reading() as connection:
            run = queries.previous_run(connection, queries.find_run(connection, name))
            return None if run is None else queries.summaries(connection, [run])[0]

    def results(self, run: str | None = None) -> tuple[RunResult, ...]:
        """Every row of a run, every attempt, in the order they came in."""
        with self._database.reading() as connection:
            return queries.results_of(connection, queries.find_run(connection, run).id)

    def evidence(self, run: str | None = None) -> tuple[Evidence, ...]:
        """Every file that belongs to a row of the run, and where it is."""
        with self._database.reading() as connection:
            number = queries.find_run(connection, run).id
            return evidence_of(connection, self._evidence, number)

    def durations(self, *, runs: int = _TIMED_RUNS) -> Mapping[tuple[str, str, str], float]:
        """Seconds by test file (as in node ids, before ``::``), target and build.

        For each test the median of the last `runs` runs; their sum is the file's.
        """
        with self._database.reading() as connection:
            return trends.durations(connection, runs=runs)

    def cell_history(
        self, *, runs: int = 10, plan: str | None = None, until: str | None = None
    ) -> CellHistory:
        """Behaviour × target over the last `runs` runs (of one plan).

        With `until` the last one is the run of that name, and the others are what `previous` goes back to.
        """
        with self._database.reading() as connection:
            if until is None:
                chosen = queries.newest_runs(limit=runs, plan=plan)
            else:
                chosen = queries.runs_until(queries.find_run(connection, until)).limit(runs)
            return trends.cell_history(connection, chosen)

    def difference(self, before: str, after: str) -> Difference:
        """Tests whose outcome differs between two runs, by test, target and build."""
        with self._database.reading() as connection:
            first, second = (queries.find_run(connection, name) for name in (before, after))
            return changes.difference_of_runs(connection, first, second)

    def difference_of_targets(self, run: str | None, before: str, after: str) -> Difference:
        """Tests whose outcome differs between two targets of one run, by test and build.

        A target with a build, named as in the matrix (``TARGET + BUILD``), is compared by test. Raises
        `UsageError` for a target that the run hasn't.
        """
        with self._database.reading() as connection:
            found = queries.find_run(connection, run)
            return changes.difference_of_targets(connection, found, before, after)

    def prune(
        self,
        policy: Retention | None = None,
        *,
        plan: str | None = None,
        dry_run: bool = False,
        now: datetime | None = None,
    ) -> Pruned:
        """Remove the evidence that `policy` doesn't keep, here and in the folders of the runs; rows stay.

        Reports that link to it can be made anew: `thinned` says of which runs.
        With `plan` it is about the runs of that plan only. Safe while others ingest. With `dry_run` nothing
        is removed. `now` is the time that days count from.
        """
        policy, now = policy or Retention(), now or datetime.now(UTC)
        if dry_run:
            with self._database.reading() as connection:
                gone = retention.victims(connection, policy, now, plan)
                used = retention.referenced(connection, without=gone)
            return retention.account(gone, retention.garbage(self._evidence, used))
        with self._database.writing() as connection:
            gone = retention.victims(connection, policy, now, plan)
            retention.mark_pruned(connection, gone)
        with self._database.writing() as connection:
            removed = retention.garbage(self._evidence, retention.referenced(connection))
            # First those in the runs' folders: killed after that, the next time finds the rest again.
            retention.remove_copies(connection, removed, now)
            self._evidence.sweep()
            self._evidence.remove(removed)
        return retention.account(gone, removed)

    def thinned(self) -> tuple[Path, ...]:
        """The folders of the runs whose evidence `prune` has removed, in part or all of it."""
        with self._database.reading() as connection:
            return retention.thinned_folders(connection)

    def verify(self) -> Verified:
        """Read every file of evidence again and compare it with its SHA-256, and with what rows refer to.

        Nothing is changed. What others store or prune meanwhile is no problem of theirs.
        """
        with self._database.reading() as connection:
            wanted = references(connection)
        found = verify_store(self._evidence, wanted)
        if not found.problems:
            return found
        # Pruned since it was asked for: what is still referred to now is what is wrong.
        with self._database.reading() as connection:
            still = references(connection)
        return replace(found, problems=tuple(each for each in found.problems if each.digest in still))


def open_history(
    where: str | Path | None = None, *, evidence: Path | None = None, results: Path = Path("results")
) -> History:
    """Open the history, and make it or bring its tables up to date where that is needed.

    `where` is an SQLite file or an URL, ``postgresql+psycopg://...``; where it isn't given, the environment
    variable HARNESS_HISTORY says it, or else it is ``history.sqlite`` in `results`, the folder of the runs.
    `evidence` is the folder of the evidence; default: HARNESS_EVIDENCE, or else ``history.evidence`` beside
    an SQLite file ``history.sqlite``, and in `results` for PostgreSQL.

    Raises `UsageError` where the database was written by a newer harness, `ToolMissingError` where the driver
    for PostgreSQL isn't installed, `InfrastructureError` where the database can't be reached.
    """
    place = place_of(where or os.environ.get(ENVIRONMENT) or results / FILE)
    folder = evidence or os.environ.get("HARNESS_EVIDENCE")
    if not folder:
        is_file = place.get_backend_name() == "sqlite"
        folder = Path(str(place.database) if is_file else results / "history").with_suffix(".evidence")
    return History(Database(place), EvidenceStore(Path(folder).expanduser().absolute()))
