"""A channel to the tiny guest: its lines stand for commands, and the runner's requests are answered for it.

What the guest can't tell (it has no Windows) is answered as ReactOS would; everything that
races with the watchers goes to the guest itself: commands, and PING beside them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import cbor2

from harness.channel.base import Channel, ChannelKind, Progress
from harness.channel.errors import ChannelClosedError, ChannelTimeoutError
from harness.channel.frames import RequestType
from harness.guest.base import ExecResult
from harness.machine.guest import MachineGuest
from harness.machine.watch.watchers import WatchLimits
from tests.machine.tinyguest import TinyLine

__all__ = ["ENVIRONMENT", "TinyChannel", "hangs_soon"]

#: What ReactOS says, as far as it has to.
ENVIRONMENT: dict[str, Any] = {
    "os": {"major": 5, "minor": 2, "build": 3790, "service_pack": 2, "product_type": 1, "product": "tiny"},
    "native_arch": "x86",
    "processors": 1,
    "uptime_ms": 1000,
    "reactos": "0.0-tiny",
    "verifier": {},
    "calls": [],
    "pretends": [],
}


def hangs_soon(guest: MachineGuest) -> None:
    """From now on a second of silence is a hang: for a guest that is about to fall silent.

    Any other one may be that late on a busy host.
    """
    guest.watch.limits = WatchLimits(silence=1.0)
    guest.watch.listen_to(guest.channel)


class TinyChannel(Channel):
    """`environment` overrides what the guest says it is; `skew` is by how many seconds its clock is wrong."""

    kind = ChannelKind.SERIAL

    def __init__(
        self,
        path: Path,
        *,
        timeout: float = 300.0,
        environment: dict[str, Any] | None = None,
        skew: float = 0.0,
    ) -> None:
        self._line = TinyLine(path, timeout=timeout)
        self._environment = {**ENVIRONMENT, **(environment or {})}
        self._skew = skew
        self._lock = threading.Lock()
        self._waiting: deque[SimpleQueue[str | BaseException]] = deque()
        self._failed: BaseException | None = None
        self._moved = 0
        self._line._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while True:
                answer = self._line._line()
                self._moved += len(answer) + 1
                with self._lock:
                    if self._failed is not None:
                        return  # it comes late: who waited has been told of the failure
                    box = self._waiting.popleft()
                box.put(answer)
        except (OSError, ConnectionError):
            self.fail(ChannelClosedError("the tiny guest's port was closed"))

    def ask(self, line: str, *, timeout: float) -> str:
        box: SimpleQueue[str | BaseException] = SimpleQueue()
        with self._lock:
            if self._failed is not None:
                raise self._failed
            self._waiting.append(box)
            try:
                self._line.send(line)
            except OSError as error:
                raise ChannelClosedError(f"the tiny guest's port broke: {error}") from None
            self._moved += len(line) + 1
        try:
            answer = box.get(timeout=timeout)
        except Empty:
            raise ChannelTimeoutError(f"no answer to {line!r} within {timeout:g} s") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, input: bytes = b"") -> ExecResult:
        try:
            return ExecResult(0, self.ask(" ".join(argv), timeout=timeout).encode(), b"")
        except ChannelTimeoutError as error:
            raise AssertionError(f"no watcher ended the call: {error}") from None

    def put(
        self, path: str, source: bytes | Path, *, timeout: float = 600.0, progress: Progress | None = None
    ) -> None:
        raise AssertionError("the tiny guest has no files")

    def get(
        self, path: str, *, limit: int = 1 << 30, timeout: float = 600.0, progress: Progress | None = None
    ) -> bytes:
        raise AssertionError("the tiny guest has no files")

    def request(self, type: int, payload: bytes = b"", *, timeout: float = 60.0) -> bytes:
        """`DEVICE_READ` of a device waits for ever, as a driver that never completes its request."""
        if type == RequestType.DEVICE_READ:
            raise ChannelTimeoutError(f"no answer to DEVICE_READ within {timeout:g} s")
        self.ask("echo alive", timeout=timeout)
        now = time.time() + self._skew
        clock = round(now * 1e6)
        answers: dict[int, dict[str, Any]] = {
            RequestType.ENVIRONMENT: {**self._environment, "clock_unix_us": clock},
            RequestType.CLOCK_SET: {"previous_unix_us": 0, "unix_us": clock},
            RequestType.QUIESCE: {},
        }
        return cbor2.dumps(answers[type])

    @property
    def moved(self) -> int:
        return self._moved

    def ping(self, *, timeout: float = 5.0) -> None:
        self.ask("echo ping", timeout=timeout)

    def fail(self, error: BaseException) -> None:
        with self._lock:
            if self._failed is not None:
                return
            self._failed = error
            waiting, self._waiting = self._waiting, deque()
        for box in waiting:
            box.put(error)

    def close(self) -> None:
        self.fail(ChannelClosedError("the channel was closed"))
        with contextlib.suppress(OSError):  # QEMU may be gone
            self._line._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._line.close()
