"""The one exception tree of the harness.

Every message says what happened, where, and what to do next. Outcomes follow from the type: a
`GuestCrashed` is CRASH, a `GuestHung` is HANG, an `InfrastructureError` is INFRA, an assertion is FAIL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.guest.bugcheck import Bugcheck

__all__ = [
    "AbiMismatchError",
    "DriverRefusedError",
    "GuestCrashed",
    "GuestHung",
    "HarnessError",
    "InfrastructureError",
    "ToolMissingError",
    "TraceIncompleteError",
    "UnsupportedError",
    "UsageError",
]


class HarnessError(Exception):
    """Base of everything the harness raises on purpose; the command prints it without a traceback."""


class UsageError(HarnessError):
    """The caller asked for something that can't be: an unknown target, a bad path, a wrong argument."""


class InfrastructureError(HarnessError):
    """The harness or its host failed; says nothing about the driver under test."""


class ToolMissingError(InfrastructureError):
    """A program or package is missing; the message names the command that installs it."""


class DriverRefusedError(HarnessError):
    """The guest would not load the driver: signature, image, unmodelled imports or DriverEntry's status."""

    def __init__(self, message: str, *, status: int, unmodelled: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.unmodelled = unmodelled


class AbiMismatchError(InfrastructureError):
    """Driver and host speak different versions of driver-src/abi; both are named."""


class TraceIncompleteError(InfrastructureError):
    """The driver dropped events, so the trace can't support any claim."""


class UnsupportedError(HarnessError):
    """The guest can't do this; tests turn it into a skip with this reason."""


class GuestCrashed(HarnessError):  # noqa: N818 - an outcome, named as the field names it
    """The guest bugchecked. `bugcheck` has code, parameters, driver and symbolised stack.

    `operation` is the index of the operation of a program during which it did, where the guest can tell.
    """

    def __init__(self, bugcheck: Bugcheck) -> None:
        super().__init__(str(bugcheck))
        self.bugcheck = bugcheck
        self.operation: int | None = None


class GuestHung(GuestCrashed):
    """The guest stopped making progress; `bugcheck` says where it was."""
