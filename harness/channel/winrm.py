"""A guest behind Windows Remote Management, which every Windows since Vista has.

Commands run in a shell of the service; the runner is a command too, its frames are its stdin and stdout.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from harness.channel.access import RemoteShell, WinRmAccess
from harness.channel.base import ChannelKind, Progress
from harness.channel.deadline import Deadline
from harness.channel.errors import ChannelClosedError, ChannelError, ChannelTimeoutError
from harness.channel.kept_runner import KeptRunner, StartedRunner
from harness.channel.quoting import shell_line
from harness.channel.runner import MAX_OUTPUT, RunnerClient
from harness.channel.secret import read_secret
from harness.channel.sources import open_source
from harness.channel.winrm_commands import run_line
from harness.channel.winrm_files import SMALL, WinRmFiles
from harness.channel.winrm_shell import SEND_SIZE, WinRmSession
from harness.channel.winrm_stream import WinRmProgram
from harness.errors import HarnessError
from harness.guest.base import ExecResult

__all__ = ["WinRmChannel"]

_GOODBYE: Final = 20.0


class WinRmChannel(StartedRunner):
    """NTLM over HTTP with every message encrypted, or over HTTPS with a pinned certificate."""

    kind = ChannelKind.WINRM

    def __init__(self, access: WinRmAccess, password: str) -> None:
        self.name = f"WinRM channel {access.user}@{access.endpoint}"
        self._access = access
        self._password = password
        self._sessions: weakref.WeakSet[WinRmSession] = weakref.WeakSet()
        self._lock = threading.Lock()  # of the sessions
        self._abandoned = False
        self._runner = KeptRunner(self.name, access.runner, self._start_runner)
        self._session = self._new_session()
        self._shell: str | None = None
        self._files = WinRmFiles(self._new_session, access.runner)

    @classmethod
    def connect(cls, access: WinRmAccess, *, timeout: float = 60.0) -> Self:
        """Log in. Raises `ChannelError` for another certificate, `UsageError` for a bad password file."""
        channel = cls(access, read_secret(access.password_file))
        try:
            channel._open_shell(Deadline.after(timeout))
        except BaseException:
            channel.close()
            raise
        return channel

    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, input: bytes = b"") -> ExecResult:
        """As `Channel.execute`, under cmd.exe; the shell with everything in it is ended at a time-out."""
        deadline = Deadline.after(timeout)
        line = shell_line(RemoteShell.CMD, argv)
        shell = self._open_shell(deadline)
        pieces = [input[at : at + SEND_SIZE] for at in range(0, len(input), SEND_SIZE)]
        try:
            with self._watched():
                return run_line(
                    self._session,
                    shell,
                    line,
                    deadline,
                    input=pieces,
                    input_session=self._new_session if input else None,
                    limit=MAX_OUTPUT,
                )
        except HarnessError:
            self._give_up_shell()
            raise

    def put(
        self, path: str, source: bytes | Path, *, timeout: float = 600.0, progress: Progress | None = None
    ) -> None:
        deadline = Deadline.after(timeout)
        with open_source(source) as (stream, size):
            if path.lower() == self._access.runner.lower() and not self._has_runner(deadline):
                self._files.bring_in(path, stream.read(), deadline)
                return
            client = RunnerClient(self._runner.link(deadline))
            if size <= SMALL:
                client.put(path, source, timeout=deadline.left, progress=progress)
                return
        # Makes missing folders, and cuts what was there.
        client.put(path, b"", timeout=deadline.left)
        with self._watched():
            self._files.write(path, source, deadline, progress)
        client.check(path, source, timeout=deadline.left)

    def get(
        self, path: str, *, limit: int = 1 << 30, timeout: float = 600.0, progress: Progress | None = None
    ) -> bytes:
        deadline = Deadline.after(timeout)
        client = RunnerClient(self._runner.link(deadline))
        known = client.digest(path, timeout=deadline.left)
        if known.size <= SMALL:
            return client.get(path, limit=limit, timeout=deadline.left, progress=progress)
        if known.size > limit:
            raise ChannelError(f"{path} in the guest has {known.size} bytes; the limit is {limit}")
        with self._watched():
            content = self._files.read(path, known.size, deadline, progress)
        if hashlib.sha256(content).digest() != known.sha256:
            raise ChannelError(f"{path} in the guest changed while it was read; try when nothing writes it")
        return content

    def fail(self, error: BaseException) -> None:
        self._abandoned = True  # nobody answers there any more: no goodbyes
        self._end(error)

    def close(self) -> None:
        self._end(ChannelClosedError(f"{self.name} was closed; open another one"))
        self._runner.close()
        self._session.close()
        if self._shell is not None:
            with suppress(HarnessError), closing(self._last_session()) as session:
                session.delete_shell(self._shell, Deadline.after(_GOODBYE))
            self._shell = None

    def _end(self, error: BaseException) -> None:
        self._runner.fail(error)
        with self._lock:
            sessions = list(self._sessions)
        for session in sessions:
            session.interrupt()

    def _new_session(self) -> WinRmSession:
        """A session that `fail` ends."""
        session = WinRmSession(self._access, self._password)
        with self._lock:
            self._sessions.add(session)
        self._runner.check()
        return session

    def _last_session(self) -> WinRmSession:
        """A session for taking leave after the others were ended."""
        if self._abandoned:
            raise ChannelClosedError(f"{self.name}: the guest is given up")
        return WinRmSession(self._access, self._password)

    def _start_runner(self, deadline: Deadline) -> WinRmProgram:
        line = shell_line(RemoteShell.CMD, [self._access.runner])
        with self._watched():
            return WinRmProgram(self._new_session, self._last_session, line, deadline)

    def _has_runner(self, deadline: Deadline) -> bool:
        try:
            self._runner.link(deadline)
        except (ChannelTimeoutError, ChannelClosedError):
            raise
        except ChannelError:
            return False
        return True

    def _open_shell(self, deadline: Deadline) -> str:
        """The shell that commands run in; made when there is none."""
        with self._watched():
            if self._shell is None:
                self._shell = self._session.create_shell(deadline)
            return self._shell

    def _give_up_shell(self) -> None:
        """End the shell, and with it whatever a failed call left running there."""
        shell, self._shell = self._shell, None
        if shell is not None:
            with suppress(HarnessError):  # it, or the guest, may be what failed
                self._session.delete_shell(shell, Deadline.after(_GOODBYE))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """A watcher's error before those that its ending of the sessions brings about."""
        self._runner.check()
        try:
            yield
        except HarnessError:
            self._runner.check()
            raise
