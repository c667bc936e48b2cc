"""A guest behind an SSH server: OpenSSH on Windows, or on Linux with Wine.

Files go by SFTP. The runner is started once, on first use, and its frames travel on its stdin and stdout;
commands run under it, since SSH itself has no means to end a program of Windows together with its children.
A guest that has no runner yet runs them under the server's shell.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import paramiko

from harness.channel.access import SshAccess
from harness.channel.base import ChannelKind, Progress
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError
from harness.channel.kept_runner import KeptRunner, StartedRunner
from harness.channel.link import Link
from harness.channel.quoting import shell_line
from harness.channel.runner import MAX_OUTPUT, RunnerClient
from harness.channel.sftp import sftp_get, sftp_put
from harness.channel.ssh_connect import connect_ssh
from harness.channel.ssh_stream import SshProgram
from harness.guest.base import ExecResult

__all__ = ["SshChannel"]


class SshChannel(StartedRunner):
    """One connection, one runner behind it."""

    kind = ChannelKind.SSH

    def __init__(self, client: paramiko.SSHClient, access: SshAccess) -> None:
        self.name = f"SSH channel {access.user}@{access.host}:{access.port}"
        self._client = client
        self._access = access
        self._runner = KeptRunner(self.name, access.runner, self._start_runner)
        self._no_runner = False

    @classmethod
    def connect(cls, access: SshAccess, *, timeout: float = 60.0) -> Self:
        """Log in. Raises `ChannelError` for another host key, `UsageError` for a secret others can read."""
        return cls(connect_ssh(access, Deadline.after(timeout)), access)

    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, input: bytes = b"") -> ExecResult:
        """As `Channel.execute`. Without a runner in the guest, a time-out ends the program's streams only."""
        deadline = Deadline.after(timeout)
        link = self._link_or_none(deadline)
        if link is None:
            return self._execute_bare(argv, deadline, input)
        return RunnerClient(link).execute(argv, timeout=timeout, input=input)

    def put(
        self, path: str, source: bytes | Path, *, timeout: float = 600.0, progress: Progress | None = None
    ) -> None:
        deadline = Deadline.after(timeout)
        with self._sftp(f"putting {path}", deadline) as sftp:
            sftp_put(sftp, self._access.files, path, source, progress)
        if path.lower() == self._access.runner.lower():
            self._no_runner = False
        elif (link := self._link_or_none(deadline)) is not None:
            RunnerClient(link).check(path, source, timeout=deadline.left)

    def get(
        self, path: str, *, limit: int = 1 << 30, timeout: float = 600.0, progress: Progress | None = None
    ) -> bytes:
        with self._sftp(f"getting {path}", Deadline.after(timeout)) as sftp:
            return sftp_get(sftp, self._access.files, path, limit, progress)

    def fail(self, error: BaseException) -> None:
        self._runner.fail(error)
        self._client.close()

    def close(self) -> None:
        self.fail(ChannelClosedError(f"{self.name} was closed; open another one"))
        self._runner.close()

    def _start_runner(self, deadline: Deadline) -> SshProgram:
        with self._translated("starting the runner", deadline):
            return SshProgram(self._exec([self._access.runner], deadline))

    def _link_or_none(self, deadline: Deadline) -> Link | None:
        if self._no_runner:
            self._runner.check()
            return None
        try:
            return self._runner.link(deadline)
        except (ChannelTimeoutError, ChannelClosedError):
            raise
        except ChannelError:
            self._no_runner = True
            return None

    def _exec(self, argv: Sequence[str], deadline: Deadline) -> paramiko.Channel:
        channel = self._session(deadline)
        channel.settimeout(deadline.left)
        channel.exec_command(shell_line(self._access.shell, [*self._access.launcher, *argv]).encode("utf-8"))
        return channel

    def _session(self, deadline: Deadline) -> paramiko.Channel:
        transport = self._client.get_transport()
        if transport is None:
            raise EOFError("the connection is gone")
        return transport.open_session(timeout=max(deadline.left, 0.001))

    def _execute_bare(self, argv: Sequence[str], deadline: Deadline, input: bytes) -> ExecResult:
        with self._translated(f"running {argv[0]}", deadline):
            program = SshProgram(self._exec(argv, deadline))
            feeder = threading.Thread(target=_feed, args=(program, input, deadline), daemon=True)
            feeder.start()
            try:
                return self._collect(program, argv[0], deadline)
            finally:
                program.close()
                feeder.join()

    def _collect(self, program: SshProgram, name: str, deadline: Deadline) -> ExecResult:
        stdout, stderr = bytearray(), bytearray()
        ended = False
        while not ended:
            out, err, ended = program.receive_both(deadline.left)
            stdout += out
            stderr += err
            if max(len(stdout), len(stderr)) > MAX_OUTPUT:
                raise ChannelError(
                    f"{self.name}: {name} wrote more than the {MAX_OUTPUT} bytes that are kept; let it write "
                    "to a file and get that"
                )
            if deadline.passed and not ended:
                raise TimeoutError
        status = program.exit_status(deadline.left)
        if status is None:
            self._runner.check()
            raise ChannelError(f"{self.name}: {name} ended without an exit code; was the connection cut?")
        return ExecResult(status, bytes(stdout), bytes(stderr))

    @contextmanager
    def _sftp(self, what: str, deadline: Deadline) -> Iterator[paramiko.SFTPClient]:
        """A session of SFTP that ends when the time is up, whatever the server does."""
        with self._translated(what, deadline):
            channel = self._session(deadline)
            # A server that trickles would never run into a time-out of its own.
            limit = threading.Timer(deadline.left, channel.close)
            limit.start()
            try:
                channel.invoke_subsystem("sftp")
                with paramiko.SFTPClient(channel) as sftp:
                    yield sftp
            finally:
                limit.cancel()
                limit.join()
                channel.close()

    @contextmanager
    def _translated(self, what: str, deadline: Deadline) -> Iterator[None]:
        """Paramiko's errors as the harness's own; a watcher's error before all others."""
        self._runner.check()
        try:
            yield
        except (TimeoutError, paramiko.SSHException, OSError, EOFError, paramiko.SFTPError) as error:
            self._runner.check()
            if isinstance(error, TimeoutError) or deadline.passed:
                raise ChannelTimeoutError(
                    f"{self.name}: {what} did not end within {deadline.seconds:g} s"
                ) from None
            transport = self._client.get_transport()
            if transport is None or not transport.is_active():
                raise ChannelClosedError(
                    f"{self.name}: the connection broke while {what} ({error or type(error).__name__}); is "
                    "the guest up?"
                ) from None
            raise ChannelError(f"{self.name}: {what} failed: {error or type(error).__name__}") from None


def _feed(program: SshProgram, input: bytes, deadline: Deadline) -> None:
    try:
        program.send(input, deadline)
        program.end_input()
    except (OSError, EOFError, paramiko.SSHException):
        return  # a program need not read its input; how it ended says the rest
