"""Several processes that perform scenarios at the same time, answering in the order of asking."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

from harness.errors import InfrastructureError
from harness.pytest_command import pytest_command
from harness.repro.bundle import Bundle
from harness.repro.rerun import find_test
from harness.repro.unpacked import Unpacked
from harness.repro.worker import Answer, Order, Setting

__all__ = ["Workers", "default_jobs"]

#: INFRA is tried again so often before it ends the work.
_RETRIES: Final = 2
#: How long one scenario may take, a machine's template made for it included.
_SECONDS: Final = 1800.0
_TAIL: Final = 2000
_MOST: Final = 4


def default_jobs(target: str) -> int:
    """How many guests of a target at a time: machines are heavier."""
    return 1 if target.startswith("vm:") else max(1, min(_MOST, os.cpu_count() or 1))


class _Worker:
    """One process. `ask` is for one thread at a time."""

    def __init__(self, bundle: Bundle, setting: Setting, target: str, place: Path) -> None:
        self._bundle, self._setting, self._target, self._place = bundle, setting, target, place
        self._stack = ExitStack()
        self._abandoned = False
        self._connection = self._start()

    def _start(self) -> Connection:
        with ExitStack() as stack:
            ours, theirs = socket.socketpair()
            log = stack.enter_context(tempfile.TemporaryFile())
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="worker-", dir=self._place))
            with theirs:
                process = subprocess.Popen(
                    _command(self._bundle, self._target, theirs.fileno(), Path(folder)),
                    cwd=_root(self._bundle),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            self._process, self._log = process, log
            stack.callback(self._end)
            connection = stack.enter_context(Connection(ours.detach()))
            self._stack = stack.pop_all()
        with contextlib.suppress(OSError):  # a worker that didn't start is noticed when it is asked
            connection.send(self._setting)
        return connection

    def ask(self, order: Order) -> Answer:
        """The answer; a worker that dies of it answers INFRA, and another takes its place."""
        try:
            self._connection.send(order)
            if self._connection.poll(_SECONDS):
                answer = self._connection.recv()
                assert isinstance(answer, Answer)
                return answer
            why = f"no answer within {_SECONDS:g} s"
        except (EOFError, OSError) as error:
            why = f"the worker ended: {error or type(error).__name__}"
        said = self._said()
        self.close()
        if self._abandoned:
            return Answer(infra="interrupted")
        self._connection = self._start()
        return Answer(infra=f"{why}\n{said}".strip())

    def abandon(self) -> None:
        """From another thread: let it end now, with what it started, whatever it is doing."""
        self._abandoned = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def _said(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - _TAIL))
        return self._log.read().decode("utf-8", "replace").strip()

    def _end(self) -> None:
        """It ends by itself when its connection does; what doesn't is killed with everything it started."""
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        self._stack.close()


class Workers:
    """A context manager. `ask` blocks until every answer is there; INFRA is tried again, then raised."""

    def __init__(self, bundle: Bundle, unpacked: Unpacked, target: str, jobs: int) -> None:
        self.jobs = jobs
        self.performed = 0
        self._count = threading.Lock()
        self._abandoned = False
        images = {driver.member: bundle.image(driver) for driver in bundle.manifest.drivers}
        symbols = {}
        for driver in bundle.manifest.drivers:
            debug = unpacked.driver(driver).with_suffix(".debug")
            if debug.is_file():
                symbols[driver.member] = str(debug)
        record = bundle.manifest.test
        setting = Setting(images, symbols, record.recipes, record.channel)
        self._stack = ExitStack()
        self._free: SimpleQueue[_Worker] = SimpleQueue()
        self._all: list[_Worker] = []
        for _ in range(jobs):
            worker = _Worker(bundle, setting, target, unpacked.folder)
            self._all.append(worker)
            self._stack.callback(worker.close)
            self._free.put(worker)
        self._threads = self._stack.enter_context(ThreadPoolExecutor(jobs))

    def ask(self, orders: Iterable[Order]) -> Sequence[Answer]:
        """The answers in the order of the orders. Raises `InfrastructureError` when INFRA stays."""
        return list(self._threads.map(self._one, orders))

    def _one(self, order: Order) -> Answer:
        worker = self._free.get()
        try:
            for attempt in range(_RETRIES + 1):
                answer = worker.ask(order)
                with self._count:
                    self.performed += 1
                if answer.bug:
                    raise RuntimeError(
                        f"a mistake of the harness while it performed a scenario:\n{answer.bug}"
                    )
                if not answer.infra:
                    return answer
                if attempt == _RETRIES or self._abandoned:
                    raise InfrastructureError(f"{order.target}: {answer.infra}")
            raise AssertionError("unreachable")
        finally:
            self._free.put(worker)

    def abandon(self) -> None:
        """Nobody waits for answers any more: end what runs, and start nothing again."""
        self._abandoned = True
        for worker in self._all:
            worker.abandon()

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self.abandon()
        self.close()


def _root(bundle: Bundle) -> Path:
    test = find_test(bundle)
    return Path.cwd() if test is None else test.root


def _command(bundle: Bundle, target: str, descriptor: int, folder: Path) -> list[str]:
    record = bundle.manifest.test
    command = [*pytest_command(), "-q", "-p", "no:cacheprovider", "-p", "harness.repro.worker"]
    command += [f"--repro-worker={descriptor}", f"--run-folder={folder / 'run'}", "--target", target]
    for plugin in record.plugins:
        command += ["-p", plugin]
    command += [f"--recipes={each}" for each in record.recipes if Path(each).is_dir()]
    test = find_test(bundle)
    if test is not None:
        command.append(str(test.file))
    return command
