"""The guard: a small process that outlives a killed harness long enough to end what it had started.

It waits until the harness is gone, by a pipe and by a pidfd (a forked child of the harness may keep the pipe
open), then sweeps the session's folders. When it is killed as well, the next start finds what is left.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import harness
from harness.machine.keep.ledger import SessionId
from harness.machine.keep.processes import start_time
from harness.machine.keep.sweep import folders_of, sweep

__all__ = ["Guard", "GuardProcess", "main"]

log = logging.getLogger(__name__)

_SWEEP_SECONDS: Final = 120.0


class GuardProcess:
    """``python -m MODULE FOLDER`` in a session of its own; its standard input ends with this process.

    `without` names a variable of the environment that it doesn't get.
    """

    def __init__(self, module: str, folder: Path, *, without: str = "") -> None:
        root = str(Path(harness.__file__).parent.parent)
        inherited = os.environ.get("PYTHONPATH")
        environment = {name: value for name, value in os.environ.items() if name != without}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, inherited)))
        self._folder = folder
        self._process = subprocess.Popen(
            # -P: a module named like one of ours in the current folder is not ours.
            [sys.executable, "-P", "-m", module, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=environment,
            start_new_session=True,  # not ended by the terminal's Ctrl-C
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def release(self) -> None:
        """Let the guard sweep, and wait for it; there should be little left to it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_SWEEP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            log.warning(
                "the guard of %s did not end in %.0f s; run: harness clean", self._folder, _SWEEP_SECONDS
            )


class Guard(GuardProcess):
    """The guard of one session folder. `release` ends it; so does the end of this process."""

    def __init__(self, folder: Path) -> None:
        super().__init__("harness.machine.keep.guard", folder)


def _wait_for_end_of(pid: int, start: int) -> None:
    """Return when process `pid` is gone or has closed its end of standard input."""
    poll = select.poll()
    poll.register(sys.stdin.fileno(), select.POLLIN | select.POLLHUP)
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if start_time(pid) == start:
            poll.register(descriptor, select.POLLIN)
            poll.poll()
    finally:
        os.close(descriptor)


def main(folder: Path) -> int:
    """Guard the session of `folder`; the exit status is 1 when something is left."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    session = SessionId.parse(folder.name)
    if session is None:
        return 2
    folders = folders_of(folder)
    _wait_for_end_of(session.pid, session.start)
    return 1 if sweep(folders) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
