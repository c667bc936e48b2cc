"""What can go wrong while guest code runs, as Python sees it.

`GuestFault` is a bad address met by Python code that reads or writes on the guest's behalf,
`RaiseInGuest` is an exception an API raises at its caller, `GuestException` is an exception that no
handler of the guest took. Bugchecks are `harness.errors.GuestCrashed`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from harness.registry.status import status_name

__all__ = [
    "EXCEPTION_NONCONTINUABLE",
    "Access",
    "ExceptionRecord",
    "GuestException",
    "GuestFault",
    "MemoryExhausted",
    "RaiseInGuest",
    "StatusCode",
    "access_violation",
]

EXCEPTION_NONCONTINUABLE: Final = 0x1


class StatusCode(IntEnum):
    """The NTSTATUS values that processor exceptions become (ntstatus.h, "EXCEPTION_RECORD" page)."""

    DATATYPE_MISALIGNMENT = 0x80000002
    BREAKPOINT = 0x80000003
    SINGLE_STEP = 0x80000004
    ACCESS_VIOLATION = 0xC0000005
    ILLEGAL_INSTRUCTION = 0xC000001D
    NONCONTINUABLE_EXCEPTION = 0xC0000025
    INVALID_DISPOSITION = 0xC0000026
    UNWIND = 0xC0000027
    BAD_STACK = 0xC0000028
    INTEGER_DIVIDE_BY_ZERO = 0xC0000094
    INTEGER_OVERFLOW = 0xC0000095
    PRIVILEGED_INSTRUCTION = 0xC0000096
    STACK_OVERFLOW = 0xC00000FD
    ASSERTION_FAILURE = 0xC0000420


class Access(IntEnum):
    """How memory was touched; the values are ExceptionInformation[0] of an access violation."""

    READ = 0
    WRITE = 1
    EXECUTE = 8


class GuestFault(Exception):  # noqa: N818 - named as the field names it
    """An address that can't be accessed that way, met by Python code working for the guest.

    Raised out of an export it becomes an access violation at the caller, as in the real routine.
    """

    def __init__(self, address: int, access: Access = Access.READ) -> None:
        super().__init__(f"{access.name.lower()} of {address:#x}")
        self.address = address
        self.access = access


@dataclass(frozen=True, slots=True)
class ExceptionRecord:
    """EXCEPTION_RECORD: NTSTATUS, EXCEPTION_* flags, address of the instruction, up to 15 parameters."""

    code: int
    flags: int = 0
    address: int = 0
    parameters: tuple[int, ...] = ()


def access_violation(address: int, access: Access, at: int = 0) -> ExceptionRecord:
    """The record of STATUS_ACCESS_VIOLATION: parameters are the kind of access and the address."""
    return ExceptionRecord(StatusCode.ACCESS_VIOLATION, 0, at, (int(access), address))


class RaiseInGuest(Exception):  # noqa: N818
    """Raised by an export to raise an exception in its caller (ExRaiseStatus, ProbeForRead ...)."""

    def __init__(self, record: ExceptionRecord) -> None:
        super().__init__(f"exception {record.code:#x}")
        self.record = record


class GuestException(Exception):  # noqa: N818
    """An exception that no handler of the called guest code took.

    `code` is the NTSTATUS, `address` the instruction that raised it, `pc` the innermost instruction (of the
    export, when an export raised it). `context` is the guest address of a CONTEXT record and
    `record_address` of the EXCEPTION_RECORD, valid until the next call into the guest. `stack` are the frame
    addresses, `unprotected` says that user memory was touched outside of any try block.
    """

    def __init__(
        self, record: ExceptionRecord, *, pc: int, context: int = 0, record_address: int = 0
    ) -> None:
        super().__init__(f"exception {record.code:#x} at {record.address:#x}")
        self.record = record
        self.code = record.code
        self.address = record.address
        self.pc = pc
        self.context = context
        self.record_address = record_address
        self.stack: tuple[int, ...] = ()
        self.unprotected = False

    def describe(self) -> str:
        """One line: what happened."""
        if self.record.code == StatusCode.ACCESS_VIOLATION and len(self.record.parameters) == 2:
            kind, address = self.record.parameters
            verb = {0: "read", 1: "write", 8: "execution"}.get(kind, "access")
            text = f"access violation, {verb} of {address:#x}"
        else:
            text = f"exception {status_name(self.record.code)}"
        if self.unprotected:
            text += " (user memory outside of try/except)"
        return f"{text} not handled"


class MemoryExhausted(Exception):  # noqa: N818 - an answer (STATUS_INSUFFICIENT_RESOURCES), not a failure
    """The guest's memory, or a region of it, has no free page left."""
