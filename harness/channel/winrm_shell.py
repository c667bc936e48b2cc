"""WS-Management's shells, typed: create, command, send, receive, signal, delete, each within a deadline.

pywinrm speaks the protocol; every error that it or the libraries below raise is one of the harness here.
Source of the protocol: [MS-WSMV], Web Services Management Protocol Extensions for Windows Vista.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import requests
from winrm.exceptions import (
    InvalidCredentialsError,
    WinRMOperationTimeoutError,
    WinRMTransportError,
    WSManFaultError,
)
from winrm.protocol import Protocol

from harness.channel.access import WinRmAccess
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError
from harness.channel.winrm_transport import BoundedTransport
from harness.errors import HarnessError, UsageError

__all__ = ["SEND_SIZE", "TRANSIT", "Output", "WinRmSession"]

#: Bytes of input in one message. Base64 and the envelope must fit the smallest MaxEnvelopeSizekb in use, 150.
SEND_SIZE: Final = 96 * 1024
#: Seconds the service holds an answer that has nothing to say yet. The protocol counts in whole seconds.
_HOLD: Final = 20
#: Seconds on top in which an answer must arrive.
TRANSIT: Final = 15.0
_UTF8: Final = 65001


@dataclass(frozen=True, slots=True)
class Output:
    """What a command wrote since the last time, and its exit code (unsigned) once it has ended."""

    stdout: bytes
    stderr: bytes
    exit_code: int | None


class WinRmSession:
    """One connection, logged in on first use. For one thread; sessions of one user share their shells."""

    def __init__(self, access: WinRmAccess, password: str) -> None:
        self.name = f"WinRM at {access.endpoint} as {access.user}"
        self._protocol = Protocol(access.endpoint, transport="ntlm", username=access.user, password=password)
        self._transport = BoundedTransport(access, password)
        self._protocol.transport = self._transport

    def create_shell(self, deadline: Deadline) -> str:
        """The id of a new shell with pipes for stdin, stdout and stderr, in UTF-8."""
        with self._call("creating a shell", deadline):
            return _id(self._protocol.open_shell(noprofile=True, codepage=_UTF8))

    def start(self, shell: str, line: str, deadline: Deadline) -> str:
        """Run a command line under cmd.exe; returns the command's id."""
        if re.search(r"[^\t\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", line):
            raise UsageError(f"WinRM can't carry the control characters of the command {line[:200]!r}")
        with self._call("starting a command", deadline):
            return _id(self._protocol.run_command(shell, line, console_mode_stdin=False))

    def send(self, shell: str, command: str, data: bytes, deadline: Deadline, *, end: bool = False) -> None:
        """Up to `SEND_SIZE` bytes to the command's stdin; `end` closes it."""
        with self._call("sending input", deadline):
            self._protocol.send_command_input(shell, command, data, end=end)

    def receive(self, shell: str, command: str, deadline: Deadline, *, hold: int = _HOLD) -> Output:
        """What the command has written; the service waits up to `hold` seconds for something.

        Raises `TimeoutError` when nothing came. After a `ChannelTimeoutError` output may be lost.
        """
        with self._call("receiving output", deadline, hold):
            try:
                out, err, code, done = self._protocol.get_command_output_raw(shell, command)
            except WinRMOperationTimeoutError:
                raise TimeoutError from None
        return Output(out, err, code & 0xFFFF_FFFF if done else None)

    def terminate(self, shell: str, command: str, deadline: Deadline) -> None:
        """Signal the command to end, or, once it has ended, that its output was read."""
        with self._call("ending a command", deadline):
            self._protocol.cleanup_command(shell, command)

    def delete_shell(self, shell: str, deadline: Deadline) -> None:
        """End a shell and everything that runs in it."""
        with self._call("deleting a shell", deadline):
            self._protocol.close_shell(shell, close_session=False)

    def interrupt(self) -> None:
        """Break the connection: a call of another thread ends at once, every later one fails."""
        self._transport.interrupt()

    def close(self) -> None:
        self._transport.close_session()

    @contextmanager
    def _call(self, what: str, deadline: Deadline, hold: int = _HOLD) -> Iterator[None]:
        if deadline.passed:
            raise ChannelTimeoutError(f"{self.name}: no time was left for {what} ({deadline.seconds:g} s)")
        hold = max(1, math.floor(deadline.at_most(hold)))
        self._protocol.operation_timeout_sec = hold
        self._transport.start_call(deadline, deadline.at_most(hold + TRANSIT))
        try:
            with self._translated(what, deadline):
                yield
        except ChannelError:
            # NTLM and its keys belong to the connection, which may be in the middle of anything.
            self._transport.close_session()
            raise

    @contextmanager
    def _translated(self, what: str, deadline: Deadline) -> Iterator[None]:
        try:
            yield
        except (HarnessError, TimeoutError):
            raise
        except requests.Timeout:
            raise ChannelTimeoutError(
                f"{self.name}: no answer within {deadline.seconds:g} s while {what}; is the guest up?"
            ) from None
        except InvalidCredentialsError:
            raise ChannelError(f"{self.name}: refused; check user and password") from None
        except WSManFaultError as error:
            raise ChannelError(f"{self.name}: {what} failed: {_shown(error.reason)}") from None
        except WinRMTransportError as error:
            raise ChannelError(f"{self.name}: {what} failed with HTTP {error.code}") from None
        except requests.exceptions.SSLError as error:
            raise ChannelError(
                f"{self.name}: not the machine that was pinned ({_shown(error)}); if its image was rebuilt, "
                "the certificate's SHA-256 must follow"
            ) from None
        except requests.RequestException as error:
            if deadline.passed:
                raise ChannelTimeoutError(
                    f"{self.name}: no answer within {deadline.seconds:g} s while {what}; is the guest up?"
                ) from None
            raise ChannelClosedError(
                f"{self.name}: the connection broke while {what} ({_shown(error)}); is the guest up?"
            ) from None
        except Exception as error:
            # pywinrm takes answers apart unchecked: whatever a lying guest makes it raise comes out here.
            raise ChannelError(
                f"{self.name}: the answer to {what} makes no sense ({type(error).__name__}: {_shown(error)})"
            ) from error


def _id(text: object) -> str:
    """A shell's or command's id as the service gave it: it goes back into XML and messages."""
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9{}-]{1,64}", text):
        raise ChannelError(f"the WinRM service gave the id {_shown(text)}")
    return text


def _shown(text: object) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in str(text))[:400]
