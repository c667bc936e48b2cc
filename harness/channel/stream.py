"""Byte streams that frames travel on: what a link needs of one, and the one over a socket."""

from __future__ import annotations

import select
import socket
from typing import Final, Protocol

from harness.channel.deadline import Deadline

__all__ = ["ByteStream", "SocketStream"]

_CHUNK: Final = 1 << 18


class ByteStream(Protocol):
    """Bytes both ways. One thread receives, another one sends, any may interrupt."""

    @property
    def moved(self) -> int:
        """Bytes that went either way so far: a slow stream is told from a silent one by it."""

    def receive(self, timeout: float | None) -> bytes:
        """Some bytes, at least one; empty when the other side has ended.

        Raises `TimeoutError` when none came within `timeout` seconds (None: no limit), `OSError` when the
        stream broke.
        """

    def send(self, data: bytes, deadline: Deadline) -> None:
        """All of `data`. Raises `TimeoutError`, after which part of it may have been sent, or `OSError`."""

    def interrupt(self) -> None:
        """End both directions: whatever waits in `receive` or `send` returns or raises at once.

        From any thread, and again.
        """

    def close(self) -> None:
        """Free what the stream holds, after `interrupt` and when nobody uses it any more."""


class SocketStream:
    """A connected stream socket; owns it."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._received = 0
        self._sent = 0
        # Waiting is done by poll: a socket's own time-out would be shared by both directions.
        connected.setblocking(False)

    @property
    def moved(self) -> int:
        return self._received + self._sent

    def receive(self, timeout: float | None) -> bytes:
        while True:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                self._wait(select.POLLIN, timeout)
            else:
                self._received += len(data)
                return data

    def send(self, data: bytes, deadline: Deadline) -> None:
        view = memoryview(data)
        while view:
            try:
                count = self._socket.send(view)
                self._sent += count
                view = view[count:]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline.left)

    def interrupt(self) -> None:
        try:
            # Wakes whoever polls; closing alone would leave it waiting on a number that may be reused.
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the other side, or an earlier call, was first

    def close(self) -> None:
        self._socket.close()

    def _wait(self, event: int, timeout: float | None) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError
