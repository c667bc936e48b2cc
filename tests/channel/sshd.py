"""OpenSSH's server on 127.0.0.1 for tests: its own keys and configuration, one process a connection."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["Sshd", "sshd_is_missing"]

#: Where Debian's sshd, run as root, wants a folder that nobody else can write to.
_SEPARATION = Path("/run/sshd")
#: Of one that tests made, by which it is told from a system's own (0755).
_OURS = 0o711


def sshd_is_missing() -> str:
    """Why there can be no server here; empty when there can."""
    missing = [name for name in ("sshd", "ssh-keygen") if _tool(name) is None]
    return f"{' and '.join(missing)} not installed (apt-get install openssh-server)" if missing else ""


def _tool(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Sshd:
    """Lets this process's user in with `user_key`, and shows `host_key` (a line as ssh-keyscan prints it).

    The server runs as `sshd -i` on connections that are accepted here, so nothing needs to be waited for.
    """

    def __init__(self, folder: Path) -> None:
        self.user_key = folder / "user_key"
        host_key = folder / "host_key"
        for key in (self.user_key, host_key):
            command = [_tool("ssh-keygen") or "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
            subprocess.run(command, check=True)
        self.host_key = " ".join(host_key.with_suffix(".pub").read_text().split()[:2])
        self.log = folder / "sshd.log"
        self._mark = f"HARNESS_TEST_SSHD={folder}"
        self._config = folder / "sshd_config"
        self._config.write_text(
            f"HostKey {host_key}\nAuthorizedKeysFile {self.user_key}.pub\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPrintMotd no\nPrintLastLog no\nMaxSessions 40\n"
            f"Subsystem sftp internal-sftp\nSetEnv {self._mark}\n"
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="sshd")
        self._servers: list[subprocess.Popen[bytes]] = []
        self._stack = ExitStack()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, self.log.open("ab") as log:
                server = subprocess.Popen(
                    [_tool("sshd") or "sshd", "-i", "-e", "-f", str(self._config)],
                    stdin=connection,
                    stdout=connection,
                    stderr=log,
                )
            self._servers.append(server)

    def __enter__(self) -> Self:
        if os.geteuid() == 0:
            self._stack.enter_context(separation_folder(_SEPARATION))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for server in self._servers:
            server.terminate()
            server.wait(300)
        self._end_commands()
        self._stack.close()

    def _end_commands(self) -> None:
        """sshd leaves commands that don't end by themselves running, as nobody's children."""
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):  # ended, or somebody else's
                    if f"{self._mark}\0".encode() in (entry / "environ").read_bytes():
                        os.kill(int(entry.name), signal.SIGKILL)


@contextmanager
def separation_folder(path: Path) -> Iterator[None]:
    """`path` is there for the block, whoever else needs it: its last user of all removes what tests made."""
    folder = _shared(path)
    try:
        yield
    finally:
        with suppress(BlockingIOError):  # others still use it
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if stat.S_IMODE(path.stat().st_mode) == _OURS:
                path.rmdir()
        os.close(folder)


def _shared(path: Path) -> int:
    """A shared lock on the folder, which is made when it isn't there."""
    while True:
        with suppress(FileExistsError):
            path.mkdir()
            path.chmod(_OURS)
        with suppress(FileNotFoundError), ExitStack() as stack:  # its last user may have just left
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(folder), path.stat()):
                stack.pop_all()
                return folder
