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
    """Waits for one pid, and for that one only: others belong to whoever started them."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        #: How it ended, as `os.waitstatus_to_exitcode` gives it; None while it runs or if it isn't our child.
        self.exit_code: int | None = None
        self._thread = threading.Thread(target=self._wait, name=f"reap-{pid}", daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:  # another process's, or a daemon of libvirt started it
            return
        self.exit_code = os.waitstatus_to_exitcode(status)

    def join(self, timeout: float) -> None:
        """Wait until it has ended, `timeout` seconds at most."""
        self._thread.join(timeout)
