"""The standard streams of a program that a WinRM service runs."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Final

from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelError, ChannelTimeoutError
from harness.channel.winrm_shell import SEND_SIZE, TRANSIT, WinRmSession

__all__ = ["WinRmProgram"]

_MAX_STDERR: Final = 8192
#: Seconds the service holds a question for output; it answers earlier when there is some.
_HOLD: Final = 20
_GOODBYE: Final = 20.0


class WinRmProgram:
    """A command in a shell of its own, as a byte stream. Owns shell and sessions.

    Two sessions: a question for output stays open until there is some, and input must not wait for it.
    `last_session` makes the one that ends the shell after both were broken off.
    """

    def __init__(
        self,
        new_session: Callable[[], WinRmSession],
        last_session: Callable[[], WinRmSession],
        line: str,
        deadline: Deadline,
    ) -> None:
        self._last_session = last_session
        self._reader = new_session()
        self._writer = new_session()
        try:
            self._shell = self._reader.create_shell(deadline)
            self._command = self._reader.start(self._shell, line, deadline)
        except BaseException:
            self._reader.close()
            raise
        self._interrupted = threading.Event()
        self._ended = False
        self._received = 0
        self._sent = 0
        self.stderr = b""

    @property
    def moved(self) -> int:
        return self._received + self._sent

    def receive(self, timeout: float | None) -> bytes:
        hold = _HOLD if timeout is None else max(1, math.ceil(timeout))
        while not self._ended and not self._interrupted.is_set():
            try:
                # An answer cut off would lose output: it has time to arrive, whatever `timeout` is.
                deadline = Deadline.after(hold + 2 * TRANSIT)
                output = self._reader.receive(self._shell, self._command, deadline, hold=hold)
            except TimeoutError:
                if timeout is not None:
                    raise
                continue
            self._received += len(output.stdout) + len(output.stderr)
            self.stderr = (self.stderr + output.stderr)[-_MAX_STDERR:]
            self._ended = output.exit_code is not None
            if output.stdout:
                return output.stdout
        return b""

    def send(self, data: bytes, deadline: Deadline) -> None:
        for start in range(0, len(data), SEND_SIZE):
            piece = data[start : start + SEND_SIZE]
            try:
                self._writer.send(self._shell, self._command, piece, deadline)
            except ChannelTimeoutError:
                raise TimeoutError from None
            except ChannelError as error:
                raise BrokenPipeError(str(error)) from None
            self._sent += len(piece)

    def interrupt(self) -> None:
        self._interrupted.set()
        self._reader.interrupt()
        self._writer.interrupt()

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        # The guest may be gone, and the shell with it; its idle time-out ends it otherwise.
        with suppress(ChannelError), closing(self._last_session()) as last:
            last.delete_shell(self._shell, Deadline.after(_GOODBYE))
