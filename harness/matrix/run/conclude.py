"""The end of a matrix run: its rows merged, its history kept, its reports written. May be done again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.matrix.plan.jobs import Job, read_frozen
from harness.matrix.plan.plan import Plan
from harness.matrix.run.folder import MatrixFolder
from harness.matrix.run.lifecycle import finish
from harness.report import write_report
from harness.results.folder import RunReader
from harness.results.junit import render_junit
from harness.results.matrix import Matrix

if TYPE_CHECKING:
    from harness.history import History

__all__ = ["conclude"]

log = logging.getLogger(__name__)


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
    except HarnessError as error:  # a history that fails must not cost the night its report
        log.warning("the history lacks this run: %s", error)
        write_report(run.path)
    run.conclude(render_junit(matrix, reader.info))
    return code, matrix


def _thin_out(history: History, plan: Plan) -> None:
    """Let the history forget what the plan doesn't keep of its former runs' evidence."""
    from harness.history import Retention

    keep = plan.retention
    history.prune(Retention(keep.passes_days, keep.failures_days, keep.max_mib << 20), plan=plan.name)
