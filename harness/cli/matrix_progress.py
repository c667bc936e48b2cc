"""What `harness matrix run` shows while it runs: jobs done, jobs that run, failures as they come."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from harness.matrix.plan.jobs import Job
from harness.matrix.run.folder import JobEnd
from harness.plugin.journal import Entry, Kind
from harness.results.outcome import Outcome
from harness.results.terminal import STYLES
from harness.results.words import one_line

__all__ = ["ProgressView"]

#: Failures shown as they come; the report has them all.
_SHOWN: Final = 100


class _Expected(ProgressColumn):
    """What a job, or all of them, was expected to take."""

    def render(self, task: Task) -> Text:
        seconds = int(task.fields["expected"])
        return Text(f"of about {seconds // 60}:{seconds % 60:02}", "dim")


class ProgressView:
    """A `harness.matrix.run.conductor.View` for a terminal; a line for each end where there is none."""

    def __init__(self, jobs: tuple[Job, ...], done: list[Job], *, console: Console | None = None) -> None:
        self._console = console or Console()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _Expected(),
            console=self._console,
        )
        left = sum(job.expected for job in jobs if job not in done)
        self._all = self._progress.add_task("jobs", total=len(jobs), completed=len(done), expected=left)
        self._tasks: dict[str, TaskID] = {}
        self._bad = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._progress.stop()

    def began(self, job: Job) -> None:
        name = f"{job.target} {job.build}".strip()
        self._tasks[job.id] = self._progress.add_task(
            f"  {name}", total=job.tests or None, expected=job.expected
        )

    def heard(self, job: Job, entry: Entry) -> None:
        if entry.kind is not Kind.OVER:
            return
        self._progress.advance(self._tasks[job.id])
        if entry.outcome and Outcome(entry.outcome).is_bad:
            self._tell(job, entry, Outcome(entry.outcome))

    def _tell(self, job: Job, entry: Entry, outcome: Outcome) -> None:
        self._bad += 1
        if self._bad > _SHOWN:
            return
        place = f"{job.target}, {job.build}" if job.build else job.target
        line = Text.assemble(
            (f"{outcome} ", STYLES[outcome]),
            f"{one_line(entry.test)} [{place}] ",
            (one_line(entry.why), "dim"),
        )
        self._console.print(line, soft_wrap=not self._console.is_terminal)
        if self._bad == _SHOWN:
            self._console.print("more failures are in the report")

    def ended(self, job: Job, end: JobEnd) -> None:
        self._progress.remove_task(self._tasks.pop(job.id))
        self._progress.advance(self._all)
        for note in end.notes:
            self._console.print(Text(f"{job.id}: {one_line(note, 1000)}", "magenta"), soft_wrap=True)
        if not self._console.is_terminal:
            self._console.print(Text(f"{job.id}: ended after {end.seconds:.1f} s"))
