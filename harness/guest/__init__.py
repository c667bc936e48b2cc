"""The Guest interface, the environment a guest reports, and bugchecks."""

from harness.guest.base import (
    Arch,
    Capability,
    DriverParameters,
    ExecResult,
    Guest,
    GuestInfo,
    GuestKind,
    IoctlResult,
    OpenDevice,
    SystemFacts,
)
from harness.guest.bugcheck import Bugcheck, Frame

__all__ = [
    "Arch",
    "Bugcheck",
    "Capability",
    "DriverParameters",
    "ExecResult",
    "Frame",
    "Guest",
    "GuestInfo",
    "GuestKind",
    "IoctlResult",
    "OpenDevice",
    "SystemFacts",
]
