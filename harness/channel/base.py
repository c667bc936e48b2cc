"""Channel: the ways to talk to a machine, behind one interface.

A channel moves files, runs commands and carries requests to the runner; nothing else. What these amount to
(programs, drivers, devices, environment) is written once above it, in `harness.channel.runner`. The line runs
here: a channel knows how bytes reach the guest, and knows nothing of the registry.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from harness.cleanup import Closing
from harness.guest.base import ExecResult

__all__ = ["Channel", "ChannelKind", "Progress"]

#: Called with the bytes moved so far and the bytes there are in all.
Progress = Callable[[int, int], None]


class ChannelKind(StrEnum):
    SERIAL = "serial"  # the runner's frames over a virtio-serial or COM port: no network, from XP on
    SSH = "ssh"
    WINRM = "winrm"


class Channel(Closing):
    """One way into one guest; a context manager.

    Paths are DOS paths of the guest (``C:\\harness\\app.dat``), missing folders are made. `timeout` is in
    seconds and bounds the whole call; when it passes, the call raises `ChannelTimeoutError` and the channel
    stays usable or says that it is closed. Every error is a `ChannelError` (an `InfrastructureError`) that
    names the channel and what to do. One thread uses a channel; `ping` and `fail` may be called from others
    while a call runs.
    """

    kind: ChannelKind

    @abstractmethod
    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, input: bytes = b"") -> ExecResult:
        """Run a program of the guest to its end. `argv` is quoted by the rules of the C runtime's parser.

        Raises `ChannelTimeoutError` when it has not ended in time; the program is ended then.
        """

    @abstractmethod
    def put(
        self, path: str, source: bytes | Path, *, timeout: float = 600.0, progress: Progress | None = None
    ) -> None:
        """Store a file, replacing one that is there; its size and digest are checked where possible."""

    @abstractmethod
    def get(
        self, path: str, *, limit: int = 1 << 30, timeout: float = 600.0, progress: Progress | None = None
    ) -> bytes:
        """Read a file. Raises `ChannelError` when there is none or it is larger than `limit` bytes."""

    @abstractmethod
    def request(self, type: int, payload: bytes = b"", *, timeout: float = 60.0) -> bytes:
        """One request to the runner (driver-src/abi/regrun.h): its payload in, the reply's payload out.

        Raises `RunnerError` for a REGRUN_FAILED reply. The runner behind one channel stays the same
        process: a device it opened stays open from one request to the next.
        """

    @property
    @abstractmethod
    def moved(self) -> int:
        """Bytes that went to and from the runner so far: a slow channel is told from a silent one by it."""

    @abstractmethod
    def ping(self, *, timeout: float = 5.0) -> None:
        """Return when the guest's runner answers, also while a call of another thread runs.

        Raises `ChannelTimeoutError` when it doesn't. Without a runner in use so far, it is started.
        """

    @abstractmethod
    def fail(self, error: BaseException) -> None:
        """End the running call of another thread at once with `error`, and every later call too.

        This is how a watcher that sees the guest bugcheck or hang ends a call that waits for it.
        """

    @abstractmethod
    def close(self) -> None:
        """End the channel and whatever it started in the guest. May be called again."""
