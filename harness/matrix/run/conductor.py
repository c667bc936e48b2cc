"""The conductor: runs the jobs of a plan, as many at once as there is room for, and survives being killed.

Jobs and rows are on disk when they are done, so a conductor has nothing to lose: whoever comes next runs what
has no done.json, and of that what has no row.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol

from harness.errors import InfrastructureError
from harness.machine.keep.clean import find_leftovers, remove
from harness.machine.keep.places import Places, available_memory
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Limits, Plan
from harness.matrix.run.exclusives import Exclusives
from harness.matrix.run.folder import JobEnd, MatrixFolder
from harness.matrix.run.guard import JobGuard, end_marked
from harness.matrix.run.running import Listener, run_job
from harness.matrix.schedule.scheduler import Capacity, Scheduler
from harness.plugin.journal import Entry

__all__ = ["Host", "LocalHost", "View", "clean_machines", "conduct", "host_capacity"]

log = logging.getLogger(__name__)

#: MiB left for everything else on the host.
_RESERVE_MIB: Final = 512
#: Another process that holds an exclusive resource gives no sign when it is done with it.
_LOOK_AGAIN: Final = 1.0


class View(Protocol):
    """Is told what happens; shows it to somebody."""

    def began(self, job: Job) -> None: ...
    def heard(self, job: Job, entry: Entry) -> None: ...
    def ended(self, job: Job, end: JobEnd) -> None: ...


class Host(Protocol):
    """Where jobs run: this host, or a cluster of them."""

    async def run(self, job: Job, *, stop: asyncio.Event, listen: Listener) -> JobEnd | None:
        """Run a job to its end, its folder with done.json included; None when `stop` ended it before."""


class LocalHost:
    """Runs jobs on this host. A context manager: nothing that a job started outlives it, or this process."""

    def __init__(self, run: MatrixFolder, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self._exclusives = Exclusives(Places.standard().runtime / "exclusive")

    @contextlib.contextmanager
    def open(self, jobs: Iterable[Job]) -> Iterator[LocalHost]:
        """End what a killed conductor left of this run; guard what this one starts."""
        machines = any(job.is_machine for job in jobs)
        end_marked(self._run.path)
        if machines:
            clean_machines()
        try:
            with JobGuard(self._run.path):
                yield self
        finally:
            if machines:
                clean_machines()

    async def run(self, job: Job, *, stop: asyncio.Event, listen: Listener) -> JobEnd | None:
        while not stop.is_set():
            with self._exclusives.taken(job.exclusive) as free:
                if free:
                    folder = self._run.job(job.id)
                    return await run_job(self._plan, job, folder, stop=stop, listen=listen)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_AGAIN)
        return None


def clean_machines() -> None:
    """End machines of killed processes and remove files of theirs; what can't be is told, and stays."""
    try:
        remove(find_leftovers())
    except InfrastructureError as error:  # the results must not be lost for it
        log.warning("%s", error)


def host_capacity(limits: Limits, cores: int = 0) -> Capacity:
    """What of this host a plan may use; `cores`, where given, replaces the plan's own limit."""
    there = max(1, available_memory() // (1 << 20) - _RESERVE_MIB)
    return Capacity(
        cores=cores or limits.cores or len(os.sched_getaffinity(0)),
        memory_mib=min(limits.memory_mib or there, there),
        machines=limits.machines,
    )


async def conduct(run: MatrixFolder, jobs: Iterable[Job], host: Host, capacity: Capacity, view: View) -> bool:
    """Run every job that has no end yet. False when SIGINT or SIGTERM ended it before.

    The second such signal doesn't wait until machines are closed: they are swept instead.
    """
    todo = [job for job in jobs if run.job(job.id).end is None]
    stop = asyncio.Event()
    with _signals(stop, run.path):
        await _run_all(Scheduler(todo, capacity), host, view, stop)
    return not stop.is_set()


async def _run_all(scheduler: Scheduler, host: Host, view: View, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    running: dict[asyncio.Task[JobEnd | None], Job] = {}
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while not scheduler.done:
            while not stop.is_set() and (job := scheduler.take(loop.time())) is not None:
                running[asyncio.ensure_future(_run_one(job, host, view, stop))] = job
            if not running:
                return  # stopped
            alarm = () if stop.is_set() else (stopped,)
            await asyncio.wait((*running, *alarm), return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task.done()]:
                scheduler.finish(running.pop(task))
                task.result()
    finally:
        stopped.cancel()
        # After an error elsewhere, the others end in order too.
        if running:
            stop.set()
            await asyncio.gather(*running, return_exceptions=True)


async def _run_one(job: Job, host: Host, view: View, stop: asyncio.Event) -> JobEnd | None:
    view.began(job)
    end = await host.run(job, stop=stop, listen=lambda entry: view.heard(job, entry))
    if end is not None:
        view.ended(job, end)
    return end


@contextlib.contextmanager
def _signals(stop: asyncio.Event, run: Path) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def asked() -> None:
        if stop.is_set():
            end_marked(run)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
