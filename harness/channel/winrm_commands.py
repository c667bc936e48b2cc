"""Commands in a WinRM shell, run to their end with input beside output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelError, ChannelTimeoutError
from harness.channel.winrm_shell import WinRmSession
from harness.errors import HarnessError
from harness.guest.base import ExecResult

__all__ = ["run_line"]

_GOODBYE: Final = 20.0


def run_line(
    session: WinRmSession,
    shell: str,
    line: str,
    deadline: Deadline,
    *,
    input: Iterable[bytes] = (),
    input_session: Callable[[], WinRmSession] | None = None,
    limit: int,
) -> ExecResult:
    """Run a command line of cmd.exe to its end in an open shell.

    Input comes in pieces of at most SEND_SIZE bytes. It goes over a session of its own where one is given, so
    that a command may write while it reads; a command that writes little needs none. Raises
    `ChannelTimeoutError` after ending the command, `ChannelError` beyond `limit` bytes on one stream.
    """
    command = session.start(shell, line, deadline)
    try:
        if input_session is None:
            _feed(session, shell, command, input, deadline)
            result = _collect(session, shell, command, line, deadline, limit)
        else:
            with _Feeder(input_session(), shell, command, input, deadline):
                result = _collect(session, shell, command, line, deadline, limit)
    except HarnessError:
        # Its shell is given up by the caller; this ends the program when the guest still listens.
        with suppress(ChannelError):
            session.terminate(shell, command, Deadline.after(_GOODBYE))
        raise
    session.terminate(shell, command, deadline)  # lets the service forget it
    return result


def _collect(
    session: WinRmSession, shell: str, command: str, line: str, deadline: Deadline, limit: int
) -> ExecResult:
    stdout, stderr = bytearray(), bytearray()
    while True:
        try:
            output = session.receive(shell, command, deadline)
        except TimeoutError:
            continue  # nothing was said for a while; `receive` minds the deadline
        except ChannelTimeoutError:
            raise ChannelTimeoutError(
                f"{session.name}: {line[:200]!r} did not end within {deadline.seconds:g} s"
            ) from None
        stdout += output.stdout
        stderr += output.stderr
        if max(len(stdout), len(stderr)) > limit:
            raise ChannelError(
                f"{session.name}: {line[:200]!r} wrote more than the {limit} bytes that are kept; let it "
                "write to a file and get that"
            )
        if output.exit_code is not None:
            return ExecResult(output.exit_code, bytes(stdout), bytes(stderr))


def _feed(
    session: WinRmSession, shell: str, command: str, input: Iterable[bytes], deadline: Deadline
) -> None:
    for piece in input:
        session.send(shell, command, piece, deadline)
    session.send(shell, command, b"", deadline, end=True)


class _Feeder:
    """Sends input in a thread; the command ending, or failing, ends it."""

    def __init__(
        self, session: WinRmSession, shell: str, command: str, input: Iterable[bytes], deadline: Deadline
    ) -> None:
        self._session = session
        self._thread = threading.Thread(
            target=self._send, args=(shell, command, input, deadline), daemon=True
        )

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        # A command need not read its input, and may have ended before all of it was sent.
        self._session.interrupt()
        self._thread.join()
        self._session.close()

    def _send(self, shell: str, command: str, input: Iterable[bytes], deadline: Deadline) -> None:
        with suppress(ChannelError):
            _feed(self._session, shell, command, input, deadline)
