"""The history: one object over the database and the evidence beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from harness.history import changes, queries, trends
from harness.history.database import Database, place_of
from harness.history.folders import read_folder
from harness.history.ingest import store
from harness.history.model import CellHistory, Difference, Ingested, RunSummary
from harness.results.model import RunResult

__all__ = ["History", "open_history"]

#: Runs that a duration is estimated from.
_TIMED_RUNS: Final = 10


class History:
    """Runs, their rows, and what came of them over time. Made by `open_history`; a context manager.

    Runs are named as their folders are; where a name may be left out, the newest run is meant. Every
    method raises `UsageError` for a run that isn't there and `InfrastructureError` where the database
    fails.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def ingest(self, folder: Path) -> Ingested:
        """Take in what is new of a run's folder: again without effect, and again when the run grew.

        All of it or nothing, whatever happens meanwhile. Raises `UsageError` for a folder that isn't a run.
        """
        found = read_folder(folder)
        with self._database.writing() as connection:
            return store(connection, found)

    def runs(self, *, limit: int | None = None, plan: str | None = None) -> tuple[RunSummary, ...]:
        """The runs (of one plan), the newest first."""
        with self._database.reading() as connection:
            return queries.summaries(
                connection, connection.execute(queries.newest_runs(limit=limit, plan=plan))
            )

    def run(self, name: str | None = None) -> RunSummary:
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

    def durations(self, *, runs: int = _TIMED_RUNS) -> Mapping[tuple[str, str, str], float]:
        """Seconds by test file (as in node ids, before ``::``), target and build.

        For each test the median of the last `runs` runs; their sum is the file's.
        """
        with self._database.reading() as connection:
            return trends.durations(connection, runs=runs)

    def cell_history(self, *, runs: int = 10, plan: str | None = None) -> CellHistory:
        """Behaviour × target over the last `runs` runs (of one plan)."""
        with self._database.reading() as connection:
            return trends.cell_history(connection, runs=runs, plan=plan)

    def difference(self, before: str, after: str) -> Difference:
        """Tests whose outcome differs between two runs, by test, target and build."""
        with self._database.reading() as connection:
            runs = (queries.find_run(connection, name) for name in (before, after))
            return changes.difference_of_runs(connection, *runs)

    def difference_of_targets(self, run: str | None, before: str, after: str) -> Difference:
        """Tests whose outcome differs between two targets of one run, by test and build."""
        with self._database.reading() as connection:
            return changes.difference_of_targets(connection, queries.find_run(connection, run), before, after)


def open_history(where: str | Path | None = None) -> History:
    """Open the history, and make it or bring its tables up to date where that is needed.

    `where` is an SQLite file (default results/history.sqlite) or an URL, ``postgresql+psycopg://...``.
    Raises `UsageError` where the database was written by a newer harness.
    """
    return History(Database(place_of(where)))
