"""The part of a job that runs on a host of a cluster: as on the conductor's own host, told as it happens.

The host's root of tests is named by ``HARNESS_ROOT``, which `harness cluster join` sets. What the job leaves
is below a folder of this process, as machines' files are, so whoever starts next on the host removes what a
killed worker left.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import platform
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.keep.ledger import Owner, SessionId
from harness.machine.keep.places import Places, private_folder
from harness.machine.keep.sweep import remove_path
from harness.matrix.cluster.parcel import (
    Began,
    Ended,
    JobParcel,
    Message,
    Row,
    Told,
    all_files,
    pieces,
    row_files,
)
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.machines import THIS_HOST
from harness.matrix.plan.plan import NotDrilled, Plan
from harness.matrix.run.conductor import LocalHost, clean_machines
from harness.matrix.run.folder import JobEnd, MatrixFolder
from harness.plugin.journal import Entry, Kind
from harness.results.folder import ROWS_FILE
from harness.results.model import RunResult
from harness.targets import parse_target

__all__ = ["ROOT_VARIABLE", "run_parcel"]

#: Where a host has the tests; without it the working directory of Ray.
ROOT_VARIABLE: Final = "HARNESS_ROOT"

_LOOK_UP: Final = 0.5


def run_parcel(parcel: JobParcel) -> Iterator[Message]:
    """Run a job and yield what its conductor is to know, `Ended` last.

    Raises `InfrastructureError` where this host can't run it: its tests are others, its machine is not
    drilled.
    """
    root = Path(os.environ.get(ROOT_VARIABLE) or Path.cwd())
    _same_tests(parcel, root)
    with _workplace() as place:
        plan, job = parcel.unpack(place, root)
        _check_drilled(plan, job)
        run = MatrixFolder(place / "run")
        parcel.lay_out(run.job(job.id).path)
        yield from _Told(run, plan, job, parcel)


class _Told:
    """A job that runs in a thread, as the messages it makes."""

    def __init__(self, run: MatrixFolder, plan: Plan, job: Job, parcel: JobParcel) -> None:
        self._run, self._plan, self._job = run, plan, job
        self._folder = run.job(job.id).path
        self._entries: queue.SimpleQueue[Entry | JobEnd | BaseException] = queue.SimpleQueue()
        self._sent = set(parcel.there)
        self._offset = len(parcel.rows)

    def __iter__(self) -> Iterator[Message]:
        stopping = _Stopping()
        thread = threading.Thread(target=self._work, args=(stopping,), name=f"job-{self._job.id}")
        thread.start()
        try:
            yield Began(platform.node())
            while True:
                match self._next():
                    case Entry() as entry:
                        yield Told(entry.to_line())
                        if entry.kind is Kind.OVER:
                            yield from self._new_rows()
                    case JobEnd() as end:
                        yield from self._new_rows()
                        yield from pieces(self._folder, all_files(self._folder), self._sent)
                        yield Ended(end.seconds, end.processes, end.notes)
                        return
                    case BaseException() as error:
                        raise error
        finally:  # also when the conductor wants no more of it
            stopping.ask()
            thread.join()

    def _next(self) -> Entry | JobEnd | BaseException:
        while True:
            # Ray ends a task by an exception in its thread, which a wait without end would not let through.
            with contextlib.suppress(queue.Empty):
                return self._entries.get(timeout=_LOOK_UP)

    def _work(self, stopping: _Stopping) -> None:
        try:
            end = asyncio.run(self._run_job(stopping))
            self._entries.put(end or InfrastructureError("the job was stopped"))
        except BaseException as error:
            self._entries.put(error)

    async def _run_job(self, stopping: _Stopping) -> JobEnd | None:
        stop = asyncio.Event()
        stopping.attach(asyncio.get_running_loop(), stop)
        with LocalHost(self._run, self._plan).open([self._job]) as host:
            return await host.run(self._job, stop=stop, listen=self._entries.put)

    def _new_rows(self) -> Iterator[Message]:
        """Whole lines that were written since; each after the files that it names."""
        try:
            with (self._folder / ROWS_FILE).open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            row = RunResult.from_json(json.loads(line))
            yield from pieces(self._folder, row_files(row), self._sent)
            yield Row(line)


class _Stopping:
    """Sets an event of a loop that another thread runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    def attach(self, loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
        with self._lock:
            self._loop, self._stop = loop, stop
            if self._asked:
                stop.set()

    def ask(self) -> None:
        with self._lock:
            self._asked = True
            if self._loop is not None and self._stop is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: the job has ended
                    self._loop.call_soon_threadsafe(self._stop.set)


@contextlib.contextmanager
def _workplace() -> Iterator[Path]:
    """A folder of this process that is removed at the end, and by the next one if this one is killed."""
    places = Places.standard()
    clean_machines()
    folder = private_folder(private_folder(places.sessions) / str(SessionId.new()))
    Owner.this_process((folder,)).write(folder)
    try:
        yield folder
    finally:
        remove_path(folder)


def _same_tests(parcel: JobParcel, root: Path) -> None:
    """Whether the tests here are those that the conductor has."""
    other = [path for path, digest in parcel.tests.items() if _digest(root / path) != digest]
    if other:
        names = ", ".join(other[:5]) + (f" and {len(other) - 5} more" if len(other) > 5 else "")
        raise InfrastructureError(
            f"host {platform.node()} has other tests below {root}: {names}; bring it to the conductor's "
            "commit, and start `harness cluster join` in that folder"
        )


def _check_drilled(plan: Plan, job: Job) -> None:
    """What the host offered when it joined may have changed since: an image made anew, another QEMU."""
    if plan.not_drilled is NotDrilled.RUN:
        return
    if why := THIS_HOST.flaw(parse_target(job.target, plan.recipes)):
        raise InfrastructureError(f"host {platform.node()}: {job.target}: {why}; then let it join again")


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
