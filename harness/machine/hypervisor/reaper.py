"""QEMU's process, seen from the harness: its pid, its end, and that nobody has to wait for PID 1 to notice.

QEMU goes into the background, so it is nobody's child, and whoever ends it waits until it has been reaped.
Where PID 1 is slow at that, ending a machine takes seconds. A subreaper gets such orphans itself.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError

__all__ = ["Reaper", "become_subreaper", "read_pid"]

_LOOK_SECONDS: Final = 0.005
_PR_SET_CHILD_SUBREAPER: Final = 36  # prctl(2)


@functools.cache
def become_subreaper() -> None:
    """From now on orphans of this process's descendants become its children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise InfrastructureError(f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(ctypes.get_errno())}")


def read_pid(path: Path) -> int | None:
    """The number in a pid file; None without one."""
    try:
        return int(path.read_text().strip())
    except (OSError, ValueError):
        return None


class Reaper:
    """Waits for the process that a pid file will name, and for no other: those have others waiting.

    To be made before the process starts, because one that fails at once has to be reaped too; then `settle`.
    """

    def __init__(self, pid_file: Path) -> None:
        #: How it ended, as `os.waitstatus_to_exitcode` gives it; None while it runs or if not our child.
        self.exit_code: int | None = None
        self._pid_file = pid_file
        self._stale = read_pid(pid_file)
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"reap-{pid_file.stem}", daemon=True)
        self._thread.start()

    def settle(self) -> int | None:
        """The start is over, well or not; returns the pid. What isn't our child by now never will be."""
        self._settled.set()
        return self._pid()

    def join(self, timeout: float) -> None:
        """Wait until it has ended, `timeout` seconds at most."""
        self._thread.join(timeout)

    def _pid(self) -> int | None:
        pid = read_pid(self._pid_file)
        return None if pid == self._stale else pid

    def _run(self) -> None:
        while True:
            last = self._settled.is_set()
            pid = self._pid()
            # It becomes our child only when the process between has ended.
            if pid is not None and self._reaped(pid):
                return
            if last:
                return
            self._settled.wait(_LOOK_SECONDS)

    def _reaped(self, pid: int) -> bool:
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:
            return False
        self.exit_code = os.waitstatus_to_exitcode(status)
        return True
