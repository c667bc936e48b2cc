"""Output buffers decoded: KEY_*_INFORMATION, KEY_VALUE_*_INFORMATION, OBJECT_*_INFORMATION.

The bytes come from a guest, so every length in them is checked against the buffer. Sources: the
ns-wdm-_key_*_information and ns-wdm-_key_value_*_information pages, nf-winternl-ntqueryobject.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from harness.errors import InfrastructureError, UsageError
from harness.registry.infoclasses import KeyInformationClass, KeyValueInformationClass
from harness.registry.status import NTSTATUS, status_name
from harness.workload.opcodes import FILL_BYTE, Opcode
from harness.workload.program import Operation
from harness.workload.result import OperationResult
from harness.workload.values import decode_text

__all__ = [
    "KeyInformation",
    "ObjectBasicInformation",
    "ValueInformation",
    "full_buffer",
    "key_information",
    "multiple_values",
    "object_basic",
    "object_name",
    "returned",
    "value_information",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInformation:
    """What a key query told; `None` where its information class has no such member. Lengths in bytes."""

    name: str | None = None
    class_name: str | None = None
    #: 100 ns since 1601.
    last_write_time: int | None = None
    title_index: int | None = None
    subkeys: int | None = None
    values: int | None = None
    max_name_length: int | None = None
    max_class_length: int | None = None
    max_value_name_length: int | None = None
    max_value_data_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueInformation:
    """What a value query told. `data` is what fitted, `data_length` what there is (bytes)."""

    type: int
    name: str | None = None
    data: bytes | None = None
    data_length: int | None = None
    title_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectBasicInformation:
    """PUBLIC_OBJECT_BASIC_INFORMATION and what follows it."""

    attributes: int
    granted_access: int
    handle_count: int
    pointer_count: int


#: The native class whose layout the result of a Win32 call has.
_WIN32_CLASSES: Final = {
    Opcode.WIN32_QUERY_VALUE: KeyValueInformationClass.PARTIAL,
    Opcode.WIN32_GET_VALUE: KeyValueInformationClass.PARTIAL,
    Opcode.WIN32_ENUMERATE_VALUE: KeyValueInformationClass.FULL,
    Opcode.WIN32_ENUMERATE_KEY: KeyInformationClass.BASIC,
    Opcode.WIN32_QUERY_KEY: KeyInformationClass.FULL,
}


def _information_class(operation: Operation) -> int:
    return _WIN32_CLASSES.get(operation.opcode, operation.info_class)


def full_buffer(operation: Operation, result: OperationResult) -> bytes:
    """The whole output buffer as it is after the call, untouched bytes (FILL_BYTE) included."""
    if operation.opcode.is_win32:
        return result.buffer  # the runner laid it out, around what the call wrote
    return result.buffer.ljust(operation.length, bytes([FILL_BYTE]))[: operation.length]


def returned(operation: Operation, result: OperationResult) -> bytes:
    """The bytes the call returned: as many as ResultLength says and the buffer has.

    Empty for a status without data (an error, STATUS_BUFFER_TOO_SMALL); STATUS_BUFFER_OVERFLOW has some.
    """
    if not result.succeeded and result.status != NTSTATUS.BUFFER_OVERFLOW:
        return b""
    whole = full_buffer(operation, result)
    if operation.opcode.is_win32:
        return whole
    if operation.opcode is Opcode.QUERY_MULTIPLE:
        return whole[: result.buffer_length or 0]
    return whole if result.result_length is None else whole[: result.result_length]


class _Reader:
    """Fixed members and counted texts out of one returned buffer, with the limits checked."""

    __slots__ = ("raw", "truncated", "what")

    def __init__(self, operation: Operation, result: OperationResult, what: str) -> None:
        self.what = what
        self.truncated = result.status == NTSTATUS.BUFFER_OVERFLOW
        if not result.succeeded and not self.truncated:
            name = operation.opcode.name.lower()
            raise UsageError(f"{name} returned {status_name(result.status)}, so there is no {what}")
        self.raw = returned(operation, result)

    def fixed(self, form: str) -> tuple[int, ...]:
        size = struct.calcsize(form)
        if len(self.raw) < size:
            if self.truncated:
                self.raw = self.raw.ljust(size, b"\0")
            else:
                raise InfrastructureError(
                    f"the guest returned {len(self.raw)} bytes of {self.what}, which has {size} at least"
                )
        return struct.unpack_from(form, self.raw)

    def bytes_at(self, offset: int, length: int, member: str) -> bytes:
        if offset + length > len(self.raw) and not self.truncated:
            raise InfrastructureError(
                f"{self.what}: {member} of {length} bytes at offset {offset} leaves the "
                f"{len(self.raw)} bytes the guest returned"
            )
        return self.raw[offset : offset + length]

    def text_at(self, offset: int, length: int, member: str) -> str:
        return decode_text(self.bytes_at(offset, length, member))


def key_information(operation: Operation, result: OperationResult) -> KeyInformation:
    """Decode a QUERY_KEY or ENUMERATE_KEY. Raises `UsageError` without data or for a class unknown here."""
    read = _Reader(operation, result, "key information")
    match _information_class(operation):
        case KeyInformationClass.BASIC:
            time, title, length = read.fixed("<QII")
            return KeyInformation(
                last_write_time=time, title_index=title, name=read.text_at(16, length, "NameLength")
            )
        case KeyInformationClass.NODE:
            time, title, class_offset, class_length, length = read.fixed("<QIIII")
            return KeyInformation(
                last_write_time=time,
                title_index=title,
                name=read.text_at(24, length, "NameLength"),
                class_name=_class_name(read, class_offset, class_length),
            )
        case KeyInformationClass.FULL:
            time, title, class_offset, class_length, *counts = read.fixed("<QIIIIIIIII")
            subkeys, max_name, max_class, values, max_value_name, max_value_data = counts
            return KeyInformation(
                last_write_time=time,
                title_index=title,
                class_name=_class_name(read, class_offset, class_length),
                subkeys=subkeys,
                values=values,
                max_name_length=max_name,
                max_class_length=max_class,
                max_value_name_length=max_value_name,
                max_value_data_length=max_value_data,
            )
        case KeyInformationClass.NAME:
            (length,) = read.fixed("<I")
            return KeyInformation(name=read.text_at(4, length, "NameLength"))
        case KeyInformationClass.CACHED:
            time, title, subkeys, max_name, values, max_value_name, max_value_data = read.fixed("<QIIIIII")
            return KeyInformation(
                last_write_time=time,
                title_index=title,
                subkeys=subkeys,
                values=values,
                max_name_length=max_name,
                max_value_name_length=max_value_name,
                max_value_data_length=max_value_data,
            )
    raise UsageError(f"key information class {operation.info_class} has no decoding; read .output")


def _class_name(read: _Reader, offset: int, length: int) -> str:
    return read.text_at(offset, length, "ClassOffset") if length else ""


def value_information(operation: Operation, result: OperationResult) -> ValueInformation:
    """Decode a QUERY_VALUE or ENUMERATE_VALUE. Raises `UsageError` when it has no data."""
    read = _Reader(operation, result, "value information")
    match _information_class(operation):
        case KeyValueInformationClass.BASIC:
            title, type, length = read.fixed("<III")
            return ValueInformation(title_index=title, type=type, name=read.text_at(12, length, "NameLength"))
        case KeyValueInformationClass.FULL | KeyValueInformationClass.FULL_ALIGN64:
            title, type, offset, size, length = read.fixed("<IIIII")
            return ValueInformation(
                title_index=title,
                type=type,
                name=read.text_at(20, length, "NameLength"),
                data=read.bytes_at(offset, size, "DataOffset") if size else b"",
                data_length=size,
            )
        case KeyValueInformationClass.PARTIAL:
            title, type, size = read.fixed("<III")
            return ValueInformation(
                title_index=title, type=type, data=read.bytes_at(12, size, "DataLength"), data_length=size
            )
        case KeyValueInformationClass.PARTIAL_ALIGN64:
            type, size = read.fixed("<II")
            return ValueInformation(type=type, data=read.bytes_at(8, size, "DataLength"), data_length=size)
    raise UsageError(f"value information class {operation.info_class} has no decoding; read .output")


def object_name(operation: Operation, result: OperationResult, pointer_size: int) -> str:
    """Name out of OBJECT_NAME_INFORMATION: a UNICODE_STRING whose buffer lies behind it in the output."""
    read = _Reader(operation, result, "object name")
    if pointer_size == 8:
        length, _, _, pointer = read.fixed("<HHIQ")
    else:
        length, _, pointer = read.fixed("<HHI")
    if length == 0:
        return ""
    offset = pointer - result.output_address
    if offset < 2 * pointer_size:
        raise InfrastructureError(
            f"object name: Buffer {pointer:#x} lies outside the output buffer at {result.output_address:#x}"
        )
    return read.text_at(offset, length, "Name.Buffer")


def object_basic(operation: Operation, result: OperationResult) -> ObjectBasicInformation:
    """Decode a QUERY_OBJECT_BASIC."""
    attributes, access, handles, pointers = _Reader(operation, result, "object information").fixed("<IIII")
    return ObjectBasicInformation(
        attributes=attributes, granted_access=access, handle_count=handles, pointer_count=pointers
    )


def multiple_values(operation: Operation, result: OperationResult) -> dict[str, ValueInformation]:
    """The values of a QUERY_MULTIPLE by name, as far as their data lies in the returned buffer."""
    if len(result.entries) != len(operation.value_names):
        raise InfrastructureError(
            f"the guest answered {len(result.entries)} entries for {len(operation.value_names)} value names"
        )
    read = _Reader(operation, result, "value entries")
    out: dict[str, ValueInformation] = {}
    for name, entry in zip(operation.value_names, result.entries, strict=True):
        data = read.bytes_at(entry.data_offset, entry.data_length, "DataOffset") if entry.data_length else b""
        out[name] = ValueInformation(name=name, type=entry.type, data=data, data_length=entry.data_length)
    return out
