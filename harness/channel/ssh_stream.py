"""The standard streams of a program that an SSH server runs."""

from __future__ import annotations

import select
from typing import Final

import paramiko

from harness.channel.deadline import Deadline

__all__ = ["SshProgram"]

_CHUNK: Final = 1 << 18
_PACKET: Final = 1 << 15
#: Bytes of what a program wrote to stderr that are kept, for messages.
_MAX_STDERR: Final = 8192


class SshProgram:
    """A program as a byte stream: its stdin and stdout. `stderr` is the end of what it said there."""

    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._ready = select.poll()
        self._ready.register(channel.fileno(), select.POLLIN)
        self._received = 0
        self._sent = 0
        self.stderr = b""

    @property
    def moved(self) -> int:
        return self._received + self._sent

    def receive(self, timeout: float | None) -> bytes:
        deadline = None if timeout is None else Deadline.after(timeout)
        while True:
            data, said, ended = self.receive_both(None if deadline is None else deadline.left)
            self.stderr = (self.stderr + said)[-_MAX_STDERR:]
            if data or ended:
                return data

    def receive_both(self, timeout: float | None) -> tuple[bytes, bytes, bool]:
        """Some of stdout, some of stderr, and whether there will be no more; raises `TimeoutError`."""
        while True:
            # Asked first: what came before the end is there by then.
            ended = self._channel.eof_received or self._channel.closed
            data = self._channel.recv(_CHUNK) if self._channel.recv_ready() else b""
            said = self._channel.recv_stderr(_CHUNK) if self._channel.recv_stderr_ready() else b""
            self._received += len(data) + len(said)
            if data or said or ended:
                return data, said, ended and not data and not said
            if not self._ready.poll(None if timeout is None else timeout * 1000):
                raise TimeoutError

    def send(self, data: bytes, deadline: Deadline) -> None:
        view = memoryview(data)
        while view:
            # The channel's time-out is that of sending alone: receiving only takes what is there.
            self._channel.settimeout(deadline.left)
            sent = self._channel.send(bytes(view[:_PACKET]))
            if sent == 0:
                raise BrokenPipeError("the program ended")
            self._sent += sent
            view = view[sent:]

    def end_input(self) -> None:
        """Nothing more comes on stdin."""
        self._channel.shutdown_write()

    def exit_status(self, timeout: float) -> int | None:
        """The exit code once both streams ended; None when the server never told. Raises `TimeoutError`."""
        if not self._channel.status_event.wait(timeout):
            raise TimeoutError
        status: int = self._channel.recv_exit_status()
        return None if status == -1 else status & 0xFFFF_FFFF

    def interrupt(self) -> None:
        self._channel.close()

    def close(self) -> None:
        self._channel.close()
