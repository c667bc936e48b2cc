"""A machine's TPM 2.0: swtpm in a process of its own, on a folder of state of its own.

libvirt could start it, but takes seconds for making certificates nobody reads. swtpm ends itself when QEMU
closes the connection, so it does not outlive its machine, whatever happens to the harness.
"""

from __future__ import annotations

import shutil
import socket as sockets
import subprocess
from pathlib import Path
from typing import Final

from harness.cleanup import Closing
from harness.errors import InfrastructureError, ToolMissingError

__all__ = ["TOOLS", "Tpm"]

_END_SECONDS: Final = 30.0
#: Program and Debian package. libvirt gives no machine a TPM without swtpm_setup, though it is not to run it.
TOOLS: Final = {"swtpm": "swtpm", "swtpm_setup": "swtpm-tools"}
#: Of Ubuntu's package, for AppArmor: it knows the home folder and libvirt's folders, no other runtime folder.
_PROFILE: Final = Path("/etc/apparmor.d/usr.bin.swtpm")


class Tpm(Closing):
    """A running swtpm; a context manager. Its state stays in its folder."""

    def __init__(self, process: subprocess.Popen[bytes], state: Path, socket: Path, log: Path) -> None:
        self.process = process
        self.state = state
        self.socket = socket
        self.log = log

    @classmethod
    def start(cls, state: Path, socket: Path) -> Tpm:
        """Start swtpm on the folder `state`, which is made where it doesn't exist; QEMU connects to `socket`.

        A clone comes to life behind its firmware, which would have started the TPM up: so swtpm does it.
        """
        for tool, package in TOOLS.items():
            if shutil.which(tool) is None:
                raise ToolMissingError(f"{tool} is missing, for the machines' TPM: apt-get install {package}")
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            socket.unlink(missing_ok=True)
        except OSError as error:
            raise InfrastructureError(f"can't prepare the TPM's folder {state}: {error}") from error
        log = state.with_name(state.name + ".log")
        with _listen(socket) as server:  # QEMU's connection waits in it until swtpm is ready
            command = ["swtpm", "socket", "--tpm2", "--terminate", "--flags", "startup-clear"]
            command += ["--tpmstate", f"dir={state},mode=0600", "--ctrl", f"type=unixio,fd={server.fileno()}"]
            command += ["--log", f"file={log},level=1,truncate"]
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[server.fileno()],
            )
        return cls(process, state, socket, log)

    def trouble(self) -> str | None:
        """Why it ended early, in its own words; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        said = self.log.read_text(errors="replace").strip()[-500:] if self.log.exists() else "nothing"
        hint = f"; {_PROFILE} says where it may write: docs/systems.md" if _PROFILE.exists() else ""
        return f"swtpm on {self.state} ended with {code}; it said: {said}{hint}"

    def close(self) -> None:
        """End swtpm. May be called again."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.socket.unlink(missing_ok=True)


def _listen(path: Path) -> sockets.socket:
    server = sockets.socket(sockets.AF_UNIX)
    try:
        server.bind(str(path))
        path.chmod(0o600)
        server.listen(1)
    except OSError as error:
        server.close()
        raise InfrastructureError(f"can't make the TPM's socket {path}: {error}") from error
    return server
