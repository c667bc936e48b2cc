"""What user mode does with devices: open by Win32 name, control, read, write, close.

The current thread is the requester: its token is checked, its buffers lie in user memory.
Source: kernel/introduction-to-ms-dos-device-names, nf-ntifs-ntdeviceiocontrolfile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.kernel.irp_buffers import Control
from harness.reference.kernel.objects import KernelObject
from harness.reference.kernel.synchronous import IoResult
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__ = ["Requests"]

_GENERIC_READ: Final = 0x80000000
_GENERIC_WRITE: Final = 0x40000000
_READ_DATA: Final = 1
_WRITE_DATA: Final = 2


class Requests:
    """User-mode I/O requests of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.m = machine

    def open(self, device: str, access: int = _GENERIC_READ | _GENERIC_WRITE) -> int:
        """A handle in the current process, or a failure status. `device` is ``\\\\.\\Name`` or an object
        path."""
        m = self.m
        path = device
        if device.startswith("\\\\.\\"):
            path = "\\GLOBAL??\\" + device[4:]
        found = m.kernel.namespace.find(path)
        if isinstance(found, int):
            return found
        if found.object.type is not m.kernel.io.device_type:
            return NTSTATUS.OBJECT_TYPE_MISMATCH
        file = m.kernel.io.open_device(found.object, found.rest, access)
        if isinstance(file, int):
            return file
        handle = m.objects.open_handle(file, access, table=m.current.process.body.handles)
        m.objects.dereference(file)
        return handle

    def _on(self, device: str, request: Callable[[KernelObject, KernelObject], IoResult]) -> IoResult:
        """Open, one request, close."""
        m = self.m
        handle = self.open(device)
        if handle >= 0x80000000:
            return IoResult(handle, 0)
        try:
            file = m.objects.resolve(handle)
            assert isinstance(file, KernelObject)
            return request(m.kernel.io.top_of_stack(file.body.device), file)
        finally:
            self.close(handle)

    def device_control(self, device: str, code: int, data: bytes, output: int) -> IoResult:
        """Open, DeviceIoControl, close; see `control`."""
        return self._on(device, lambda target, file: self._control(target, file, code, data, output))

    def control(self, handle: int, code: int, data: bytes, output: int) -> IoResult:
        """DeviceIoControl on a handle of `open`, with `output` bytes of room.

        The data returned is what Information counts.
        """
        file = self.m.objects.resolve(handle)
        if not isinstance(file, KernelObject):
            return IoResult(file, 0)
        target = self.m.kernel.io.top_of_stack(file.body.device)
        try:
            return self._control(target, file, code, data, output)
        finally:
            self._drain()

    def close(self, handle: int) -> None:
        """Close a handle of `open`."""
        if self.m.crash is None:
            self.m.objects.close(handle, 1)
            self._drain()

    def _drain(self) -> None:
        if self.m.crash is None:
            self.m.kernel.scheduler.drain()

    def _control(
        self, target: KernelObject, file: KernelObject, code: int, data: bytes, output: int
    ) -> IoResult:
        m = self.m
        wanted = code >> 14 & 3
        if wanted & ~self._granted(file):
            return IoResult(NTSTATUS.ACCESS_DENIED, 0)
        source = m.memory.alloc_user(len(data)) if data else 0
        if data:
            m.memory.write(source, data)
        buffer = m.memory.alloc_user(output) if output else 0
        result = m.kernel.io.synchronous.control(
            target, file, Control(code, source, len(data), buffer, output)
        )
        size = min(result.information, output)
        failed = result.status & 0xC0000000 == 0xC0000000
        out = b"" if failed or not size else m.memory.read(buffer, size)
        return IoResult(result.status, result.information, out)

    @staticmethod
    def _granted(file: KernelObject) -> int:
        access = file.body.access
        return (1 if access & _READ_DATA else 0) | (2 if access & _WRITE_DATA else 0)

    def read(self, device: str, length: int) -> IoResult:
        """ReadFile of `length` bytes."""
        m = self.m

        def request(target: KernelObject, file: KernelObject) -> IoResult:
            buffer = m.memory.alloc_user(length) if length else 0
            result = m.kernel.io.synchronous.read(target, file, buffer, length)
            size = min(result.information, length)
            failed = result.status & 0xC0000000 == 0xC0000000
            out = b"" if failed or not size else m.memory.read(buffer, size)
            return IoResult(result.status, result.information, out)

        return self._on(device, request)

    def write(self, device: str, data: bytes) -> IoResult:
        """WriteFile."""
        m = self.m

        def request(target: KernelObject, file: KernelObject) -> IoResult:
            buffer = m.memory.alloc_user(len(data)) if data else 0
            if data:
                m.memory.write(buffer, data)
            return m.kernel.io.synchronous.write(target, file, buffer, len(data))

        return self._on(device, request)
