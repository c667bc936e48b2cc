"""Jobs on the hosts of a Ray cluster: each goes where its image is, and to another host when one is lost.

A lost host costs the test that ran there, which is INFRA and tried again like any such test; rows that had
arrived stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from harness.errors import InfrastructureError, UsageError
from harness.matrix.cluster.hosts import able, refusal
from harness.matrix.cluster.offer import needs
from harness.matrix.cluster.parcel import (
    Began,
    Ended,
    FilePiece,
    JobParcel,
    Message,
    Receiver,
    Row,
    Told,
    entry_of,
)
from harness.matrix.cluster.rays import ClusterHost, alive_hosts
from harness.matrix.cluster.remote import run_parcel
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Plan
from harness.matrix.run.blame import blame, blame_paths
from harness.matrix.run.folder import JobEnd, JobFolder, MatrixFolder
from harness.matrix.run.origin import read_origin
from harness.matrix.run.running import Listener
from harness.matrix.schedule.scheduler import Capacity, Part
from harness.plugin.finished import standings
from harness.plugin.journal import Entry, Kind

__all__ = ["Cluster", "ClusterRun"]

log = logging.getLogger(__name__)

#: How often to look whether a host that a job waits for is still there, in seconds.
_LOOK: Final = 10.0
#: Seconds that a job has to end in order.
_GRACE: Final = 45.0
#: Pieces of files that wait to be taken.
_WAITING: Final = 8
_TESTS: Final = "test "


class Cluster:
    """The hosts of the cluster that `ray` is connected to, for jobs of `plan`."""

    def __init__(self, ray: Any, plan: Plan) -> None:
        self._ray = ray
        self._plan = plan
        self._needs: dict[str, Mapping[str, float]] = {}
        self._remote = ray.remote(run_parcel)

    def check(self, jobs: Iterable[Job]) -> None:
        """Raise `UsageError`, with what is missing where, unless every job has a host that can run it."""
        hosts = alive_hosts(self._ray)
        missing = dict.fromkeys(why for job in jobs if (why := refusal(job, self._needs_of(job), hosts)))
        if missing:
            listed = "\n  ".join(missing)
            raise UsageError(
                f"the cluster can't run all of the plan:\n  {listed}\nbring the hosts to this commit, build "
                "and drill the images there and let them join again, or leave targets out; `harness cluster "
                "status` shows what there is"
            )

    def capacity(self, jobs: Iterable[Job], limit_cores: int = 0) -> Capacity:
        """All hosts together, and which part of them each target has; Ray finds the host for each job."""
        hosts = alive_hosts(self._ray)
        cores = sum(host.cores for host in hosts)
        limits = self._plan.limits
        parts = {job.target: self._part(job, hosts) for job in jobs}
        return Capacity(
            max(1, min(limit_cores or limits.cores or cores, cores)),
            max(1, sum(host.memory_mib for host in hosts)),
            limits.machines,
            {target: part for target, part in parts.items() if part is not None},
        )

    def _part(self, job: Job, hosts: tuple[ClusterHost, ...]) -> Part | None:
        """The hosts that have what a job needs; None where all have, or none has any more."""
        having = [host for host in hosts if not host.lacks(self._needs_of(job)) and host.cores]
        if not having or len(having) == len(hosts):
            return None
        return Part(
            ", ".join(host.name for host in having),
            sum(host.cores for host in having),
            sum(host.memory_mib for host in having),
        )

    def _needs_of(self, job: Job) -> Mapping[str, float]:
        if job.target not in self._needs:
            self._needs[job.target] = needs(job, self._plan)
        return self._needs[job.target]

    def working_on(self, run: MatrixFolder) -> ClusterRun:
        """The jobs of one run: a `harness.matrix.run.conductor.Host`."""
        return ClusterRun(self, run)

    # -- for an attempt ------------------------------------------------------------------------------------

    def submit(self, job: Job, folder: JobFolder, tests: Mapping[str, str]) -> Any:
        """Hand the job to Ray; returns its messages. Raises `InfrastructureError` without a host."""
        hosts = alive_hosts(self._ray)
        wanted = self._needs_of(job)
        if why := refusal(job, wanted, hosts):
            raise InfrastructureError(why)
        return self._remote.options(
            name=job.id,
            max_retries=0,
            _generator_backpressure_num_objects=_WAITING,
            num_cpus=min(job.cores, max(host.cores for host in able(job, wanted, hosts))),
            memory=job.memory_mib << 20,
            resources=dict(wanted),
        ).remote(JobParcel.pack(self._plan, job, folder, tests))

    def can_run(self, job: Job) -> bool:
        return bool(able(job, self._needs_of(job), alive_hosts(self._ray)))

    def cancel(self, stream: Any) -> None:
        with contextlib.suppress(*self.errors):
            self._ray.cancel(stream)

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What Ray raises for a task: that it failed, that its worker or its host is gone."""
        return (self._ray.exceptions.RayError,)


class ClusterRun:
    """Runs the jobs of a run on the hosts of a cluster, and has them run elsewhere when one is lost."""

    def __init__(self, cluster: Cluster, run: MatrixFolder) -> None:
        self._cluster = cluster
        self._run = run
        self._tests = {
            what.removeprefix(_TESTS): digest
            for what, digest in read_origin(run.path).items()
            if what.startswith(_TESTS)
        }

    async def run(self, job: Job, *, stop: asyncio.Event, listen: Listener) -> JobEnd | None:
        folder = self._run.job(job.id)
        folder.path.mkdir(parents=True, exist_ok=True)
        lost: list[str] = []
        in_vain = 0
        while not stop.is_set():
            attempt = _Attempt(self._cluster, job, folder, listen, self._tests_of(job))
            ended = await attempt.run(stop)
            if stop.is_set() and ended is None:
                return None
            if ended is not None:
                notes = (*lost, *ended.notes)
                return self._finish(
                    folder, JobEnd(job.id, attempt.host, ended.seconds, ended.processes, notes)
                )
            log.warning("job %s: %s", job.id, attempt.why)
            lost.append(attempt.why)
            if attempt.running is not None:
                listen(blame(folder, job, attempt.running, f"{attempt.why}, while this test ran"))
            in_vain = 0 if attempt.rows or attempt.running else in_vain + 1
            if in_vain > job.retries:
                for entry in self._give_up(job, folder, attempt):
                    listen(entry)
                return self._finish(folder, JobEnd(job.id, attempt.host, 0.0, 0, tuple(lost)))
        return None

    def _tests_of(self, job: Job) -> dict[str, str]:
        """Digests of the files that a host must have as they are here."""
        return {
            path: digest
            for path, digest in self._tests.items()
            if path in job.paths or path.rpartition("/")[2] == "conftest.py"
        }

    def _give_up(self, job: Job, folder: JobFolder, attempt: _Attempt) -> Iterable[Entry]:
        message = f"not run: {attempt.why}"
        with_row = standings(folder.rows)
        if not with_row:
            return blame_paths(folder, job, message)
        return [blame(folder, job, key, message) for key in attempt.planned if key not in with_row]

    @staticmethod
    def _finish(folder: JobFolder, end: JobEnd) -> JobEnd:
        folder.finish(end)
        return end


class _Attempt:
    """One attempt at a job, on one host."""

    def __init__(
        self, cluster: Cluster, job: Job, folder: JobFolder, listen: Listener, tests: Mapping[str, str]
    ) -> None:
        self._cluster, self._job, self._folder, self._listen = cluster, job, folder, listen
        self._tests = tests
        self._receiver = Receiver(folder)
        self.host = ""
        self.rows = 0
        self.running: tuple[str, str] | None = None
        self.planned: dict[tuple[str, str], None] = {}
        #: Why it was in vain.
        self.why = ""

    async def run(self, stop: asyncio.Event) -> Ended | None:
        """How the job ended; None when its host was lost, or `stop` was set."""
        try:
            stream = self._cluster.submit(self._job, self._folder, self._tests)
        except InfrastructureError as error:
            self.why = str(error)
            return None
        reading = asyncio.ensure_future(self._read(stream))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not reading.done() and not stop.is_set():
                await asyncio.wait({reading, stopped}, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done() and not self.host and not self._cluster.can_run(self._job):
                    self.why = "the last host that could run it is gone"
                    return None
            if reading.done():
                return reading.result()
            self._cluster.cancel(stream)
            await asyncio.wait({reading}, timeout=_GRACE)
            return None
        finally:
            stopped.cancel()
            if not reading.done():
                reading.cancel()
                self._cluster.cancel(stream)
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, stream: Any) -> Ended | None:
        try:
            async for reference in stream:
                message: Message = await reference
                match message:
                    case Began(host):
                        self.host = host
                    case Told():
                        self._hear(entry_of(message))
                    case FilePiece() | Row():
                        self.rows += self._receiver.take(message) is not None
                    case Ended():
                        return message
            self.why = f"host {self.host} ended without a word"
        except self._cluster.errors as error:
            self.why = f"host {self.host or '(not begun)'} was lost: {_first_line(error)}"
        return None

    def _hear(self, entry: Entry) -> None:
        match entry.kind:
            case Kind.PLANNED:
                self.planned[entry.key] = None
            case Kind.BEGUN:
                self.running = entry.key
            case Kind.OVER:
                self.running = None
            case _:
                pass
        self._listen(entry)


def _first_line(error: Exception) -> str:
    cause = getattr(error, "cause", None)
    text = str(cause if isinstance(cause, InfrastructureError) else error).strip()
    return text.split("\n", 1)[0][:500]
