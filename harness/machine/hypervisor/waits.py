"""What a busy host takes of a machine's time: how long its threads were ready to run and did not."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["waited_since", "waits"]

_NANOSECONDS: Final = 1e-9


def waits(pid: int | None) -> dict[int, float]:
    """Seconds that each thread of process `pid` has waited for a processor of the host, by thread id.

    The second number of /proc/PID/task/TID/schedstat (the kernel's scheduler/sched-stats.rst). Empty where
    the process is not known or gone, and where the kernel keeps no account.
    """
    found: dict[int, float] = {}
    if pid is None:
        return found
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError, IndexError, ValueError):  # a thread may end meanwhile
                found[int(task.name)] = int((task / "schedstat").read_text().split()[1]) * _NANOSECONDS
    return found


def waited_since(before: Mapping[int, float], now: Mapping[int, float]) -> float:
    """The longest that one thread has waited between two answers of `waits`, in seconds."""
    return max((seconds - before.get(thread, 0.0) for thread, seconds in now.items()), default=0.0)
