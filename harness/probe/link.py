"""Requests to the probe's device: one record in, one record out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from harness.errors import AbiMismatchError
from harness.probe import abi
from harness.probe.errors import ProbeError
from harness.registry.status import NTSTATUS

__all__ = ["IoctlReply", "Link", "SupportsIoctl", "SupportsRequests"]


class IoctlReply(Protocol):
    """What a request came to: an unsigned NTSTATUS, and the bytes of the answer."""

    @property
    def status(self) -> int: ...
    @property
    def data(self) -> bytes: ...


class SupportsRequests(Protocol):
    """An open device."""

    def ioctl(self, code: int, data: bytes = b"", *, output: int = 0) -> IoctlReply: ...
    def close(self) -> None: ...


class SupportsIoctl(Protocol):
    """Whoever can open a device for control requests: every guest."""

    def open_device(self, device: str) -> SupportsRequests: ...


class Link:
    """Speaks the ABI to a guest's probe device, which it keeps open. Statuses are unsigned."""

    def __init__(self, guest: SupportsIoctl) -> None:
        self.guest = guest
        self._device = guest.open_device(abi.DEVICE)

    def close(self) -> None:
        """Close the device; the driver can't be unloaded before."""
        self._device.close()

    def send(self, code: str, request: bytes, *, output: int = 0, what: str = "") -> bytes:
        """One request; `code` is the constant's name. Raises `ProbeError` or `AbiMismatchError`."""
        answer = self._device.ioctl(abi.constant(code), request, output=output)
        if answer.status == NTSTATUS.REVISION_MISMATCH:
            raise AbiMismatchError(self._versions())
        if answer.status >= 0x8000_0000:
            raise ProbeError(what or code, answer.status)
        return answer.data

    def call(
        self, code: str, request: str, reply: str, what: str = "", /, **values: int | bytes
    ) -> dict[str, Any]:
        """Pack `request`, send, unpack `reply`."""
        answer = abi.record(reply)
        data = self.send(code, abi.record(request).pack(**values), output=answer.size, what=what)
        return answer.unpack(data)

    def info(self) -> Mapping[str, Any]:
        """REGPROBE_INFO, with the versions compared. Raises `AbiMismatchError` naming both."""
        info = self._info()
        if info["abi_version"] >> 16 != abi.constant("REGPROBE_ABI_MAJOR"):
            raise AbiMismatchError(self._versions(info["abi_version"]))
        event = abi.record("REGPROBE_EVENT").size
        if info["event_size"] != event:
            raise AbiMismatchError(
                f"the probe's events have {info['event_size']} bytes, this harness expects {event}; "
                "rebuild the driver (harness driver build) and start it again"
            )
        return info

    def _info(self) -> dict[str, Any]:
        # Every version answers this one, so that a mismatch can be named.
        request = abi.record("REGPROBE_HEADER").pack()
        reply = abi.record("REGPROBE_INFO_REPLY")
        code = abi.constant("IOCTL_REGPROBE_INFO")
        answer = self._device.ioctl(code, request, output=reply.size)
        if answer.status >= 0x8000_0000:
            raise ProbeError("the probe does not answer, is the driver started?", answer.status)
        return reply.unpack(answer.data)

    def _versions(self, theirs: int | None = None) -> str:
        if theirs is None:
            theirs = self._info()["abi_version"]
        ours = abi.constant("REGPROBE_ABI_VERSION")
        return (
            f"the probe speaks ABI {theirs >> 16}.{theirs & 0xFFFF}, "
            f"this harness {ours >> 16}.{ours & 0xFFFF}; "
            "rebuild the driver (harness driver build) and start it again"
        )
