"""The runner's frames over a unix socket: a virtio-serial or COM port of a machine, or a process's stdio.

No network in the guest, and alive at once after a clone resumes.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from harness.channel.answers import Hello, read_hello
from harness.channel.base import Channel, ChannelKind, Progress
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelError
from harness.channel.link import Link
from harness.channel.runner import RunnerClient
from harness.channel.stream import SocketStream
from harness.guest.base import ExecResult

__all__ = ["SerialChannel"]


class SerialChannel(Channel):
    """A channel whose every call is a request to the runner. `hello` says who answered.

    `ping` and `fail` are safe from other threads, and so is everything else: requests queue in the guest.
    """

    kind = ChannelKind.SERIAL

    def __init__(self, link: Link, hello: Hello) -> None:
        self._link = link
        self._runner = RunnerClient(link)
        self.hello = hello

    @classmethod
    def connect(cls, path: Path, *, timeout: float = 60.0) -> Self:
        """Connect to the socket and say HELLO until the runner answers.

        Raises `ChannelError` when nobody listens there or the runner's version is another one, and
        `ChannelTimeoutError` when no runner answers within `timeout` seconds.
        """
        deadline = Deadline.after(timeout)
        return cls.over(_connected(path), f"serial channel {path}", timeout=deadline.left)

    @classmethod
    def over(cls, connected: socket.socket, name: str, *, timeout: float = 60.0) -> Self:
        """The same over a socket that is connected; owns it, also when it raises."""
        link = Link(SocketStream(connected), name)
        try:
            return cls(link, read_hello(link.hello(timeout=timeout)))
        except BaseException:
            link.close()
            raise

    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, input: bytes = b"") -> ExecResult:
        return self._runner.execute(argv, timeout=timeout, input=input)

    def put(
        self, path: str, source: bytes | Path, *, timeout: float = 600.0, progress: Progress | None = None
    ) -> None:
        self._runner.put(path, source, timeout=timeout, progress=progress)

    def get(
        self, path: str, *, limit: int = 1 << 30, timeout: float = 600.0, progress: Progress | None = None
    ) -> bytes:
        return self._runner.get(path, limit=limit, timeout=timeout, progress=progress)

    def request(self, type: int, payload: bytes = b"", *, timeout: float = 60.0) -> bytes:
        return self._link.request(type, payload, timeout=timeout)

    def ping(self, *, timeout: float = 5.0) -> None:
        self._link.ping(timeout=timeout)

    @property
    def moved(self) -> int:
        """Bytes that went either way so far."""
        return self._link.moved

    def fail(self, error: BaseException) -> None:
        self._link.fail(error)

    def close(self) -> None:
        self._link.close()


def _connected(path: Path) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.connect(str(path))
    except OSError as error:
        connected.close()
        raise ChannelError(
            f"no machine listens on {path} ({error.strerror or error}); is it running, and is this "
            "the socket of its channel?"
        ) from error
    return connected
