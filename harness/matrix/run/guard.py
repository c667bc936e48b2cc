"""Everything a job started, found by a mark in its environment, and ended when nobody waits for it any more.

A job's pytest process gets the job's folder as an environment variable, and hands it on to whatever it
starts. So a process that was left behind by a killed one says itself whose it is. Machines have no such mark:
they are swept by the guard of the pytest process that started them (`machine.keep.guard`), spared here.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from harness.errors import InfrastructureError
from harness.machine.keep.guard import GuardProcess
from harness.machine.keep.processes import Process, end, start_time

__all__ = ["MARK", "JobGuard", "end_marked", "main", "marked"]

#: Names the folder of the job that a process belongs to.
MARK: Final = "HARNESS_JOB_FOLDER"

_PROC: Final = Path("/proc")
#: Guards end by themselves once they have swept.
_GUARDS: Final = (b"\0harness.machine.keep.guard\0", b"\0harness.matrix.run.guard\0")
#: A process that was being started while others were ended shows up in the next round.
_ROUNDS: Final = 5


def marked(folder: Path) -> tuple[Process, ...]:
    """The running processes of the job in `folder`, or of every job in a folder below it."""
    wanted = os.fsencode(f"{MARK}={folder}")
    found = []
    for entry in os.scandir(_PROC):
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        place = Path(entry.path)
        try:
            environment = (place / "environ").read_bytes().split(b"\0")
            command = (place / "cmdline").read_bytes()
        except OSError:  # gone, or somebody else's
            continue
        if any(each == wanted or each.startswith(wanted + b"/") for each in environment):
            start = start_time(int(entry.name))
            if start is not None and not any(guard in command for guard in _GUARDS):
                text = command.replace(b"\0", b" ").decode(errors="replace").strip()
                found.append(Process(int(entry.name), start, text))
    return tuple(found)


def end_marked(folder: Path) -> None:
    """End what `marked` finds. Raises `InfrastructureError` for what resists."""
    for _ in range(_ROUNDS):
        found = marked(folder)
        if not found:
            return
        end(found)
    names = "; ".join(f"{process.pid} ({process.command[:120]})" for process in found)
    raise InfrastructureError(f"processes of {folder} can't be ended: {names}; end them by hand")


class JobGuard(GuardProcess):
    """A small process that ends the jobs below a folder once this process is gone, however it went.

    A context manager: at its end the guard sweeps too, when there should be nothing left to end.
    """

    def __init__(self, folder: Path) -> None:
        # Without the mark of the job that this process itself may belong to.
        super().__init__("harness.matrix.run.guard", folder, without=MARK)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()


def main(folder: Path) -> int:
    """Wait until standard input ends, with whoever holds its other end, then end the jobs below `folder`."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdin.buffer.read()
    try:
        end_marked(folder)
    except InfrastructureError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
