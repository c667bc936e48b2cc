"""The runner behind a channel that has to start it: one process, made on first use and kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from harness.channel.answers import read_hello
from harness.channel.base import Channel
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError
from harness.channel.link import Link
from harness.channel.stream import ByteStream

__all__ = ["KeptRunner", "ProgramStream", "StartedRunner"]


class ProgramStream(ByteStream, Protocol):
    """The standard streams of a program in the guest."""

    @property
    def stderr(self) -> bytes:
        """The end of what it wrote to stderr so far."""


class KeptRunner:
    """Starts the runner with `start` when it is first needed, or when the last one has ended.

    `name` is the channel's, `path` the runner's in the guest, for messages. Safe for several threads.
    """

    def __init__(self, name: str, path: str, start: Callable[[Deadline], ProgramStream]) -> None:
        self._name = name
        self._path = path
        self._start = start
        self._starting = threading.Lock()
        self._state = threading.Lock()  # of the two below
        self._link: Link | None = None
        self._failed: BaseException | None = None

    @property
    def moved(self) -> int:
        """Bytes to and from the runner so far."""
        with self._state:
            return 0 if self._link is None else self._link.moved

    def link(self, deadline: Deadline) -> Link:
        """The link to a runner that has said HELLO.

        Raises `ChannelError` when the runner does not run in the guest or is of another version.
        """
        if not self._starting.acquire(timeout=deadline.left):
            raise ChannelTimeoutError(f"{self._name}: the runner did not start within {deadline.seconds:g} s")
        try:
            self.check()
            if self._link is not None:
                if self._link.failed is None:
                    return self._link
                self._link.close()
            return self._started(deadline)
        finally:
            self._starting.release()

    def check(self) -> None:
        """Raise what `fail` was given, if it was."""
        with self._state:
            if self._failed is not None:
                raise self._failed

    def fail(self, error: BaseException) -> None:
        """As `Link.fail`, also for a runner that starts later."""
        with self._state:
            if self._failed is None:
                self._failed = error
            link = self._link
        if link is not None:
            link.fail(error)

    def close(self) -> None:
        """End the link, after `fail`."""
        with self._starting:
            if self._link is not None:
                self._link.close()

    def _started(self, deadline: Deadline) -> Link:
        program = self._start(deadline)
        link = Link(program, f"{self._name}, runner")
        with self._state:
            failed = self._failed
            self._link = link
        if failed is not None:
            link.fail(failed)
        try:
            read_hello(link.hello(timeout=deadline.left))
        except BaseException as error:
            link.close()
            self.check()
            if isinstance(error, ChannelClosedError):
                raise self._not_there(program) from None
            raise
        return link

    def _not_there(self, program: ProgramStream) -> ChannelError:
        said = program.stderr.decode("utf-8", "replace").strip()
        shown = "".join(letter if letter.isprintable() else " " for letter in said)[:400]
        return ChannelError(
            f"{self._name}: {self._path} does not run in the guest ({shown or 'it said nothing'}); put the "
            "runner there first"
        )


class StartedRunner(Channel):
    """The part of a channel that its kept runner answers: requests, and whether it lives."""

    _runner: KeptRunner

    def request(self, type: int, payload: bytes = b"", *, timeout: float = 60.0) -> bytes:
        deadline = Deadline.after(timeout)
        return self._runner.link(deadline).request(type, payload, timeout=deadline.left)

    @property
    def moved(self) -> int:
        return self._runner.moved

    def ping(self, *, timeout: float = 5.0) -> None:
        deadline = Deadline.after(timeout)
        self._runner.link(deadline).ping(timeout=deadline.left)
