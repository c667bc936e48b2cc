"""A machine's TPM 2.0: swtpm in a process of its own, on a folder of state of its own.

libvirt could start it, but takes seconds for making certificates nobody reads. swtpm ends itself when QEMU
closes the connection, so it does not outlive its machine, whatever happens to the harness.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from harness.errors import InfrastructureError, ToolMissingError

__all__ = ["Tpm"]

_START_SECONDS: Final = 10.0
_END_SECONDS: Final = 5.0


class Tpm:
    """A running swtpm; a context manager. Its state stays in its folder."""

    def __init__(self, process: subprocess.Popen[bytes], state: Path, socket: Path) -> None:
        self.process = process
        self.state = state
        self.socket = socket

    @classmethod
    def start(cls, state: Path, socket: Path) -> Tpm:
        """Start swtpm on the folder `state`, which is made where it doesn't exist; QEMU connects to `socket`.

        A clone comes to life behind its firmware, which would have started the TPM up: so swtpm does it.
        """
        program = shutil.which("swtpm")
        if program is None:
            raise ToolMissingError("swtpm is missing, which is the machines' TPM: apt-get install swtpm")
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            socket.unlink(missing_ok=True)
        except OSError as error:
            raise InfrastructureError(f"can't prepare the TPM's folder {state}: {error}") from error
        log = state.with_name(state.name + ".log")
        command = [program, "socket", "--tpm2", "--terminate"]
        command += ["--tpmstate", f"dir={state},mode=0600", "--ctrl", f"type=unixio,path={socket},mode=0600"]
        command += ["--flags", "startup-clear", "--log", f"file={log},level=1,truncate"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        tpm = cls(process, state, socket)
        try:
            tpm._wait_until_ready(log)
        except BaseException:
            tpm.close()
            raise
        return tpm

    def _wait_until_ready(self, log: Path) -> None:
        """The socket exists as soon as swtpm listens; there is nothing else to be told by."""
        tick = threading.Event()
        waited = 0.0
        while not self.socket.exists():
            if self.process.poll() is not None or waited >= _START_SECONDS:
                said = log.read_text(errors="replace").strip()[-500:] if log.exists() else "nothing"
                raise InfrastructureError(f"swtpm did not start on {self.state}; it said: {said}")
            tick.wait(0.002)
            waited += 0.002

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
