"""Running one job to its end, in as many pytest processes as it takes.

The first process runs all tests. Where it dies, the test that was running is INFRA and the next process goes
on with those that had not begun, so a death costs one test. Tests that are INFRA are tried again at the very
end, in a process of their own: by then what was in their way may be gone, and a test that takes its process
along takes no other. When the job's time is over nothing is tried again, and what has not finished is INFRA.
"""

from __future__ import annotations

import asyncio
import platform
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import pytest

from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Plan
from harness.matrix.run.blame import blame, blame_paths
from harness.matrix.run.command import job_command, job_environment
from harness.matrix.run.folder import JobEnd, JobFolder
from harness.matrix.run.process import Ending, Patience, ProcessEnd, run_process
from harness.plugin.finished import standings
from harness.plugin.journal import Entry, Kind

__all__ = ["Listener", "run_job"]

#: Gets what a job's journal tells.
Listener = Callable[[Entry], None]

#: Deaths of processes after which a job is given up: with so many it is not about single tests any more.
_MOST_DEATHS: Final = 25
#: Output that is shown where no test can be blamed, in characters.
_SHOWN: Final = 2000

_Key = tuple[str, str]


@dataclass(slots=True)
class _Heard:
    """What one process told of itself."""

    planned: dict[_Key, None] = field(default_factory=dict)
    over: set[_Key] = field(default_factory=set)
    broken: list[Entry] = field(default_factory=list)
    running: _Key | None = None
    ready: bool = False

    def take(self, entry: Entry) -> None:
        match entry.kind:
            case Kind.PLANNED:
                self.planned[entry.key] = None
            case Kind.READY:
                self.ready = True
            case Kind.BROKEN:
                self.broken.append(entry)
            case Kind.BEGUN:
                self.running = entry.key
            case Kind.OVER:
                self.over.add(entry.key)
                self.running = None

    @property
    def all_over(self) -> bool:
        return self.ready and self.over.issuperset(self.planned)


async def run_job(
    plan: Plan,
    job: Job,
    folder: JobFolder,
    *,
    stop: asyncio.Event,
    listen: Listener = lambda _: None,
    notes: tuple[str, ...] = (),
) -> JobEnd | None:
    """Run what has not finished of `job`, write done.json, and return what is in it.

    None when `stop` was set before the job's end: what finished stays finished. `notes` are those of hosts
    that were lost with the job before.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    run = _Run(plan, job, folder, stop, listen)
    run.notes += notes
    if not await run.to_the_end():
        return None
    end = JobEnd(
        job.id, platform.node(), round(time.monotonic() - run.began, 3), run.processes, tuple(run.notes)
    )
    folder.finish(end)
    return end


class _Run:
    """One job while it runs."""

    def __init__(
        self, plan: Plan, job: Job, folder: JobFolder, stop: asyncio.Event, listen: Listener
    ) -> None:
        self._plan, self._job, self._folder, self._stop, self._listen = plan, job, folder, stop, listen
        self.began = time.monotonic()
        self.processes = 0
        self.notes: list[str] = []
        self._deaths = 0
        #: Processes in a row that died before any test.
        self._stalls = 0
        #: Tests that the first process was to run; those without a row have not been run by any.
        self._planned: dict[_Key, None] = {}
        self._over: set[_Key] = set()

    async def to_the_end(self) -> bool:
        """Whether the job came to its end."""
        again, passes = False, 0
        while not self._stop.is_set():
            heard, end = await self._process(again=again)
            if end.ending is Ending.STOPPED:
                return False
            # pytest says what it collected also where it refuses the command line: a file that is gone.
            whole = (
                end.ending is Ending.EXITED
                and heard.all_over
                and end.exit_code != pytest.ExitCode.USAGE_ERROR
            )
            self._add_broken(heard)
            if not whole and not self._survives(heard, end):
                if not again:
                    self._give_up(end)
                return True
            if not whole:
                continue  # with the tests that have not begun
            # Each pass gives every INFRA test one more attempt; what has no test any more is not waited for.
            passes += 1
            again = True
            if passes > self._job.retries or not self._has_repetitions():
                return True
        return False

    async def _process(self, *, again: bool) -> tuple[_Heard, ProcessEnd]:
        heard = _Heard()

        def listen(entry: Entry) -> None:
            heard.take(entry)
            self._listen(entry)

        limits = self._plan.limits
        left = limits.job_seconds and max(0.001, limits.job_seconds - (time.monotonic() - self.began))
        self.processes += 1
        end = await run_process(
            job_command(self._plan, self._job, self._folder.path, again=again),
            folder=self._folder.path,
            cwd=self._plan.root,
            environment=job_environment(),
            output=self._folder.output,
            patience=Patience(silence=limits.test_seconds, whole=left),
            stop=self._stop,
            listen=listen,
        )
        if not again:
            self._planned.update(heard.planned)
            self._over |= heard.over
        return heard, end

    def _survives(self, heard: _Heard, end: ProcessEnd) -> bool:
        """A process died, or was ended: blame the test that ran. False where that is the end of the job."""
        why = self._why(end)
        self.notes.append(f"process {self.processes} {why}")
        self._deaths += 1
        self._stalls = 0 if heard.over or heard.running else self._stalls + 1
        if heard.running is not None:
            self._add(heard.running, f"the process {why} while this test ran")
        return (
            end.ending is not Ending.LATE
            and self._stalls <= self._job.retries
            and self._deaths < _MOST_DEATHS
        )

    def _why(self, end: ProcessEnd) -> str:
        limits = self._plan.limits
        match end.ending:
            case Ending.SILENT:
                return f"was ended because nothing had finished for {limits.test_seconds:g} s"
            case Ending.LATE:
                return f"was ended because the {limits.job_seconds:g} s of the job were over"
            case _ if end.exit_code < 0:
                return f"died of {signal.Signals(-end.exit_code).name}"
            case _:
                return f"ended with status {end.exit_code}"

    def _give_up(self, end: ProcessEnd) -> None:
        """What was not run gets a row; where it isn't known what was to be run, each path does."""
        message = f"not run: process {self.processes} of the job {self._why(end)}"
        if self._planned:
            with_row = standings(self._folder.rows)
            for key in self._planned:
                if key not in with_row and key not in self._over:
                    self._add(key, message)
            return
        for entry in blame_paths(self._folder, self._job, message, self._last_output()):
            self._listen(entry)

    def _add_broken(self, heard: _Heard) -> None:
        """A file that can't be collected has a row of its own, and one only: it is not tried again."""
        with_row = standings(self._folder.rows) if heard.broken else {}
        for entry in heard.broken:
            if (entry.test, self._job.target) in with_row:
                continue
            why = entry.why.strip().rsplit("\n", 1)[-1]
            self._add((entry.test, self._job.target), f"can't be collected: {why}", entry.why)

    def _add(self, key: _Key, message: str, detail: str = "") -> None:
        self._listen(blame(self._folder, self._job, key, message, detail))

    def _has_repetitions(self) -> bool:
        return any(
            standing.may_be_repeated(self._job.retries) and "::" in test
            for (test, _), standing in standings(self._folder.rows).items()
        )

    def _last_output(self) -> str:
        try:
            with self._folder.output.open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _SHOWN))
                return file.read(_SHOWN).decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
