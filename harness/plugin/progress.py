"""A progress bar (rich) instead of pytest's terminal report: `harness demo` shows a matrix afterwards.

Loaded with ``-p harness.plugin.progress``.
"""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from harness.plugin.recording import ROW_ATTRIBUTE

__all__ = ["ProgressBar"]


class ProgressBar:
    """Counts finished tests, by target; shows what could not be collected, which the matrix can't."""

    def __init__(self) -> None:
        self._console = Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None

    def _start(self, total: int) -> None:
        if self._task is None:
            self._task = self._progress.add_task("running", total=total)
            self._progress.start()

    @pytest.hookimpl
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:  # none here when pytest-xdist's workers collect
            self._start(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        self._start(len(ids))

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._console.print(f"{report.nodeid}: {report.longreprtext}", markup=False, style="red")

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "teardown" or self._task is None:
            return
        row = getattr(report, ROW_ATTRIBUTE, None)
        name = f"running on {row['target']}" if row is not None else "running"
        self._progress.update(self._task, advance=1, description=f"{name:<36}")

    @pytest.hookimpl
    def pytest_internalerror(self, excrepr: object) -> None:
        self._console.print(str(excrepr), markup=False, style="red")

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        self._progress.stop()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.unregister(name="terminalreporter")
        config.pluginmanager.register(ProgressBar(), "harness-progress")
