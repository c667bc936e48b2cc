"""Who is running: the processes and threads of the machine as the processor needs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.reference.levels import Stack

__all__ = ["KERNEL_MODE", "USER_MODE", "Process", "Thread"]

KERNEL_MODE = 0
USER_MODE = 1


@dataclass(slots=True, eq=False)
class Process:
    """A process. `address` is its EPROCESS in guest memory (0 until the object manager makes one)."""

    pid: int
    name: str
    address: int = 0
    system: bool = False
    #: Whatever the object manager keeps for it (handle table, token ...).
    body: Any = None


@dataclass(slots=True, eq=False)
class Thread:
    """A thread with its kernel stack. `previous_mode` is KERNEL_MODE or USER_MODE."""

    process: Process
    tid: int
    stack: Stack = field(repr=False)
    previous_mode: int = KERNEL_MODE
    address: int = 0  # its ETHREAD
    body: Any = None

    @property
    def system(self) -> bool:
        """Whether it is a system thread: it has no user mode to return to."""
        return self.process.system
