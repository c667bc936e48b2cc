"""A guest that keeps a journal: the Guest interface once more, over another guest.

It stands between a suite and whatever guest it runs on. Each call costs an object and an append.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.guest.base import DriverParameters, ExecResult, Guest, GuestInfo, IoctlResult, OpenDevice
from harness.guest.leaks import Outstanding
from harness.repro import journal as calls
from harness.repro.journal import MAX_REPLY, Journal
from harness.workload.program import Program
from harness.workload.result import ProgramResult

__all__ = ["RecordedGuest"]


class _RecordedDevice(OpenDevice):
    """An open device whose requests are kept."""

    guest: RecordedGuest

    def __init__(self, guest: RecordedGuest, name: str, inner: OpenDevice, held: int) -> None:
        super().__init__(guest, name)
        self._inner = inner
        self._held = held
        self._closed = False

    def ioctl(self, code: int, data: bytes = b"", *, output: int = 0) -> IoctlResult:
        call = calls.Requested(self.name, code, data, output, self._held)
        self.guest.journal.add(call)
        answer = self._inner.ioctl(code, data, output=output)
        call.status = answer.status
        if len(answer.data) <= MAX_REPLY:
            call.reply = answer.data
        return answer

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.guest.journal.add(calls.Closed(self._held))
        self._inner.close()


class RecordedGuest(Guest):
    """`inner` does the work, `journal` says what was asked. What else `inner` has is reached through this."""

    def __init__(self, inner: Guest) -> None:
        self.inner = inner
        self.journal = Journal()
        self._devices = itertools.count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __repr__(self) -> str:
        return repr(self.inner)

    @property
    def info(self) -> GuestInfo:
        return self.inner.info

    @property
    def activity(self) -> int | None:
        return self.inner.activity

    @property
    def usable(self) -> bool:
        return self.inner.usable

    def put(self, path: str, data: bytes) -> None:
        self.journal.add(calls.Put(path, data))
        self.inner.put(path, data)

    def get(self, path: str) -> bytes:
        return self.inner.get(path)

    def execute(self, argv: Sequence[str], *, timeout: float = 60.0, folder: str | None = None) -> ExecResult:
        self.journal.add(calls.Executed(tuple(argv), float(timeout), folder or ""))
        return self.inner.execute(argv, timeout=timeout, folder=folder)

    def install_driver(
        self, service: str, image: bytes, *, parameters: DriverParameters | None = None
    ) -> None:
        self.journal.add(calls.Installed(service, image, parameters))
        self.inner.install_driver(service, image, parameters=parameters)

    def start_driver(self, service: str) -> int:
        call = calls.Started(service)
        self.journal.add(call)
        call.status = self.inner.start_driver(service)
        return call.status

    def stop_driver(self, service: str) -> int:
        call = calls.Stopped(service)
        self.journal.add(call)
        call.status = self.inner.stop_driver(service)
        return call.status

    def remove_driver(self, service: str) -> None:
        self.journal.add(calls.Removed(service))
        self.inner.remove_driver(service)

    def ioctl(self, device: str, code: int, data: bytes = b"", *, output: int = 0) -> IoctlResult:
        call = calls.Requested(device, code, data, output)
        self.journal.add(call)
        answer = self.inner.ioctl(device, code, data, output=output)
        call.status = answer.status
        if len(answer.data) <= MAX_REPLY:
            call.reply = answer.data
        return answer

    def open_device(self, device: str) -> OpenDevice:
        held = next(self._devices)
        opened = self.inner.open_device(device)
        self.journal.add(calls.Opened(device, held))
        return _RecordedDevice(self, device, opened, held)

    def read_device(self, device: str, length: int) -> IoctlResult:
        self.journal.add(calls.Read(device, length))
        return self.inner.read_device(device, length)

    def write_device(self, device: str, data: bytes) -> IoctlResult:
        self.journal.add(calls.Wrote(device, data))
        return self.inner.write_device(device, data)

    def run(self, program: Program) -> ProgramResult:
        call = calls.Ran(program)
        self.journal.add(call)
        call.result = self.inner.run(program)
        return call.result

    def debug_output(self) -> list[str]:
        return self.inner.debug_output()

    def outstanding(self) -> Outstanding:
        return self.inner.outstanding()

    def note_open_keys(self) -> None:
        self.inner.note_open_keys()

    def save_evidence(
        self, folder: Path, error: BaseException | None, *, memory_mib: int = 0
    ) -> tuple[str, ...]:
        return self.inner.save_evidence(folder, error, memory_mib=memory_mib)

    def close(self) -> None:
        self.inner.close()
