"""What running a program gave: one result for each operation, in order.

Decoded views (`text`, `dword`, `key_information`, ...) live in `harness.workload.views` and are reachable
from the builder's steps; here is only what the runner reports.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["MultipleEntry", "OperationResult", "ProgramResult"]

#: NTSTATUS_FROM_WIN32 (ntstatus.h): an error of FACILITY_NTWIN32.
_FACILITY_WIN32: Final = 0xC007


@dataclass(frozen=True, slots=True)
class MultipleEntry:
    """KEY_VALUE_ENTRY of a multiple query as the guest wrote it; `data_offset` counts in the buffer."""

    data_length: int
    data_offset: int
    type: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationResult:
    """Result of one operation. Unsigned integers; `None`: the call has no such output or did not write it."""

    #: NTSTATUS the native call returned (unsigned).
    status: int
    #: Performance counter right before and after the native call (ticks of `ProgramResult.frequency`).
    begin: int
    end: int
    process_id: int
    thread_id: int
    #: Raw handle value given out; 0 for none.
    handle: int = 0
    #: The output buffer after the call, from its start, without the trailing bytes that still hold FILL_BYTE.
    buffer: bytes = b""
    #: ResultLength, LengthNeeded, RequiredBufferLength or Information, where the call wrote it.
    result_length: int | None = None
    #: QUERY_MULTIPLE: BufferLength on return.
    buffer_length: int | None = None
    #: REG_CREATED_NEW_KEY 1, REG_OPENED_EXISTING_KEY 2, where the call wrote it.
    disposition: int | None = None
    #: QUERY_MULTIPLE: one entry for each name.
    entries: tuple[MultipleEntry, ...] = ()
    #: User addresses passed to the call: input data, output buffer, characters of the name; 0: NULL or none.
    input_address: int = 0
    output_address: int = 0
    name_address: int = 0

    @property
    def succeeded(self) -> bool:
        """NT_SUCCESS of the status."""
        return self.status < 0x8000_0000

    @property
    def win32_error(self) -> int | None:
        """The error a Win32 call returned; 0 for success, None for a status that is no Win32 error."""
        if self.status >> 16 == _FACILITY_WIN32:
            return self.status & 0xFFFF
        return 0 if self.status == 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramResult:
    """`operations` answer the program's operations one to one."""

    operations: tuple[OperationResult, ...]
    #: The runner's process and its first thread.
    process_id: int
    thread_id: int
    #: Of the runner process: 4 under WOW64.
    pointer_size: int = 8
    #: Performance counter ticks per second.
    frequency: int = 10_000_000
    #: Process id of each process role the program used; index 0 is the runner.
    process_ids: tuple[int, ...] = field(default=())

    def __getitem__(self, index: int) -> OperationResult:
        return self.operations[index]

    def __len__(self) -> int:
        return len(self.operations)

    def __iter__(self) -> Iterator[OperationResult]:
        return iter(self.operations)

    @property
    def statuses(self) -> tuple[int, ...]:
        """The status of every operation."""
        return tuple(operation.status for operation in self.operations)

    def encode(self) -> bytes:
        """Canonical CBOR, see `harness.workload.codec`."""
        from harness.workload.codec import encode_result

        return encode_result(self)
