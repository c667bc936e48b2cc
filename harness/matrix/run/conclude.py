"""The end of a matrix run: its rows merged, its history kept, its reports written. May be done again."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.matrix.plan.jobs import Job, read_frozen
from harness.matrix.plan.plan import Plan
from harness.matrix.run.folder import MatrixFolder
from harness.matrix.run.lifecycle import finish
from harness.report import write_report
from harness.report.write import rewrite_thinned
from harness.results.folder import RunReader
from harness.results.junit import render_junit
from harness.results.known import Finding, load_known, review
from harness.results.matrix import Matrix
from harness.results.model import RunResult
from harness.results.notes import write_findings

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
    plan = read_frozen(run.path)[0]
    write_findings(run.path, _findings(plan, matrix.results))
    try:
        if history is not None:
            history.ingest(run.path)
            _thin_out(history, plan)
        write_report(run.path, history=history)
    except HarnessError as error:  # a history that fails must not cost the night its report
        log.warning("the history lacks this run: %s", error)
        write_report(run.path)
    run.conclude(render_junit(matrix, reader.info))
    return code, matrix


def _findings(plan: Plan, results: Iterable[RunResult]) -> tuple[Finding, ...]:
    """What the whole run says of its plan's known issues; a single job can't tell: it sees a part of it."""
    if plan.known_issues is None:
        return ()
    try:
        return review(load_known(plan.known_issues), results, datetime.now(UTC).date())
    except HarnessError as error:  # the file has gone bad since the run began
        log.warning("%s; nothing is said of its entries", error)
        return ()


def _thin_out(history: History, plan: Plan) -> None:
    """Let the history forget what the plan doesn't keep of its former runs' evidence."""
    from harness.history import Retention

    keep = plan.retention
    history.prune(Retention(keep.passes_days, keep.failures_days, keep.max_mib << 20), plan=plan.name)
    rewrite_thinned(history)
