"""The end of a matrix run: its rows merged, its history kept, its reports written. May be done again."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import InfrastructureError, ToolMissingError
from harness.matrix.folder import MatrixFolder
from harness.matrix.jobs import Job, read_frozen
from harness.matrix.lifecycle import finish
from harness.matrix.plan import Plan
from harness.report import write_report
from harness.results.folder import RunReader
from harness.results.junit import render_junit
from harness.results.matrix import Matrix

if TYPE_CHECKING:
    from harness.history import History

__all__ = ["HISTORY", "conclude", "opened_history"]

log = logging.getLogger(__name__)

#: The history's file in the folder of the runs.
HISTORY: Final = "history.sqlite"


@contextlib.contextmanager
def opened_history(where: str | None, results: Path) -> Iterator[History | None]:
    """The history `where`, a file or a URL; without it the one in `results`, made if needed.

    None where its packages aren't installed and nobody asked for it; `ToolMissingError` if somebody did.
    """
    try:
        from harness.history import open_history
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("harness"):
            raise
        if where is not None:
            raise ToolMissingError(
                f"a history needs {error.name}: pip install 'regfilter-harness[history]'"
            ) from error
        yield None
        return
    with open_history(where or results / HISTORY) as history:
        yield history


def conclude(run: MatrixFolder, jobs: Iterable[Job], history: History | None) -> tuple[int, Matrix]:
    """Merge the rows of a run whose jobs have all ended, tell the history, write report.html and junit.xml.

    Returns the exit code and the matrix. A run that was killed here is concluded again when it goes on.
    """
    code = finish(run, jobs)
    reader = RunReader(run.path)
    matrix = Matrix(reader)
    try:
        if history is not None:
            history.ingest(run.path)
            _thin_out(history, read_frozen(run.path)[0])
        write_report(run.path, history=history)
    except InfrastructureError as error:  # a database that is away must not cost the night its report
        log.warning("the history lacks this run: %s", error)
        write_report(run.path)
    run.conclude(render_junit(matrix, reader.info))
    return code, matrix


def _thin_out(history: History, plan: Plan) -> None:
    """Let the history forget what the plan doesn't keep of its former runs' evidence."""
    from harness.history.model import Retention

    keep = plan.retention
    history.prune(Retention(keep.passes_days, keep.failures_days, keep.max_mib << 20), plan=plan.name)
