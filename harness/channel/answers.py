"""What the runner's answers amount to, typed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from harness.channel.abi import constant
from harness.channel.errors import ChannelError
from harness.channel.replies import Reply
from harness.guest.base import Arch
from harness.workload.codec import FORMAT_VERSION

__all__ = [
    "ClockChange",
    "CrashKind",
    "FileDigest",
    "Hello",
    "OpenedDevice",
    "ProgramState",
    "ServiceCaller",
    "ServiceOutcome",
    "ServiceState",
    "read_hello",
]

_MAJOR: Final = constant("REGRUN_PROTOCOL_MAJOR")
_MINOR: Final = constant("REGRUN_PROTOCOL_MINOR")


@dataclass(frozen=True, slots=True)
class Hello:
    """Who answers. `pid` is the runner's process in the guest, `build` its own description."""

    major: int
    minor: int
    program_format: int
    arch: Arch
    pid: int
    max_payload: int
    build: str


@dataclass(frozen=True, slots=True)
class FileDigest:
    size: int
    sha256: bytes


class ServiceState(IntEnum):
    """SERVICE_xxx of winsvc.h."""

    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4
    CONTINUE_PENDING = 5
    PAUSE_PENDING = 6
    PAUSED = 7


class ServiceCaller(StrEnum):
    """What the runner started or stopped a driver through."""

    NATIVE = "native"  # NtLoadDriver, NtUnloadDriver: they return the driver's own status
    SCM = "scm"  # the service control manager


@dataclass(frozen=True, slots=True)
class ServiceOutcome:
    """How starting or stopping a driver ended: an NTSTATUS, a Win32 error, None for what `by` can't tell."""

    status: int | None
    win32: int | None
    by: ServiceCaller

    @property
    def succeeded(self) -> bool:
        return self.status == 0 if self.status is not None else self.win32 == 0


@dataclass(frozen=True, slots=True)
class OpenedDevice:
    """`status` of the open; `handle` is the runner's number for it, 0 when it failed."""

    status: int
    handle: int


@dataclass(frozen=True, slots=True)
class ClockChange:
    """Microseconds since 1970 UTC: what the guest's clock said, and says now."""

    previous_unix_us: int
    unix_us: int


@dataclass(frozen=True, slots=True)
class ProgramState:
    """How far the runner's program is: `operation` runs, is held, or comes next.

    `statuses` are those of the operations before it, empty where nobody asked for them.
    """

    running: bool
    held: bool
    operation: int
    statuses: tuple[int, ...] = ()


class CrashKind(StrEnum):
    """Ways to bring the guest down on purpose."""

    CRITICAL_PROCESS = "critical-process"
    HARD_ERROR = "hard-error"
    HANG = "hang"


def read_hello(payload: bytes) -> Hello:
    """Decode the answer to HELLO.

    Raises `ChannelError` naming both versions when runner and harness can't work together.
    """
    reply = Reply.read("HELLO", payload)
    major, minor = reply.integer("major", most=0xFF), reply.integer("minor", most=0xFFFF)
    if major != _MAJOR:
        raise ChannelError(
            f"the guest's runner speaks protocol {major}.{minor}, this harness {_MAJOR}.{_MINOR}; put the "
            "runner of this harness into the guest"
        )
    program_format = reply.integer("program_format")
    if program_format != FORMAT_VERSION:
        raise ChannelError(
            f"the guest's runner takes programs of format {program_format}, this harness writes "
            f"{FORMAT_VERSION}; put the runner of this harness into the guest"
        )
    arch = reply.choice("arch", Arch)
    if reply.integer("pointer_size", most=8) != arch.pointer_size:
        raise ChannelError(
            f"the guest's runner says {arch.value} and a pointer size that is not {arch.value}'s"
        )
    return Hello(
        major,
        minor,
        program_format,
        arch,
        reply.integer("pid"),
        reply.integer("max_payload"),
        reply.text("build"),
    )
