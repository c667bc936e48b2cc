"""What queries return: the buffer encodings of every key and value information class.

Layouts: ns-wdm-_key_basic_information, _key_node_information, _key_full_information, _key_name_information,
_key_value_*_information (wdm.h), ns-ntddk-_key_cached_information; flags, trust and layer as public headers
declare them. None holds pointers, so 32-bit and 64-bit Windows agree; KEY_VALUE_ENTRY is the exception and
is written by the caller.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from harness.registry.infoclasses import KeyInformationClass, KeyValueInformationClass
from harness.registry.status import NTSTATUS
from harness.registry.version import VISTA, WIN7, WIN8, WIN10_1607, WindowsVersion

from .key import Key, Value
from .names import encode_utf16, units
from .transaction import Transaction

__all__ = ["Encoded", "QueryResult", "deliver", "encode_key", "encode_value"]

#: The offset members hold this when there is nothing to point at.
_NOWHERE: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The outcome of a query.

    data: what to write to the caller's buffer; not empty also with BUFFER_OVERFLOW, which fills the buffer.
    result_length: the size a complete answer needs, given with BUFFER_OVERFLOW and BUFFER_TOO_SMALL too.
    """

    status: int
    data: bytes = b""
    result_length: int = 0


@dataclass(frozen=True, slots=True)
class Encoded:
    """A complete answer; its first `fixed` bytes are the least a buffer must hold."""

    data: bytes
    fixed: int


def deliver(answer: Encoded, length: int) -> QueryResult:
    """Fit an answer into a buffer of `length` bytes (nf-wdm-zwquerykey, nf-wdm-zwqueryvaluekey)."""
    needed = len(answer.data)
    if length < answer.fixed:
        return QueryResult(NTSTATUS.BUFFER_TOO_SMALL, b"", needed)
    if length < needed:
        return QueryResult(NTSTATUS.BUFFER_OVERFLOW, answer.data[:length], needed)
    return QueryResult(NTSTATUS.SUCCESS, answer.data, needed)


#: First version of the key information classes that not every version has.
_SINCE: Final[dict[int, WindowsVersion]] = {
    KeyInformationClass.FLAGS: VISTA,
    KeyInformationClass.VIRTUALIZATION: VISTA,
    KeyInformationClass.HANDLE_TAGS: WIN7,
    KeyInformationClass.TRUST: WIN8,
    KeyInformationClass.LAYER: WIN10_1607,
}
_ENUMERABLE: Final = (KeyInformationClass.BASIC, KeyInformationClass.NODE, KeyInformationClass.FULL)


def _longest(names: list[str]) -> int:
    return max((2 * units(name) for name in names), default=0)


def encode_key(
    key: Key,
    info_class: int,
    version: WindowsVersion,
    view: Transaction | None,
    *,
    enumerating: bool = False,
) -> Encoded | None:
    """The answer to NtQueryKey or, `enumerating`, NtEnumerateKey of this subkey; None: invalid class."""
    if enumerating and info_class not in _ENUMERABLE:
        return None
    if info_class in _SINCE and version < _SINCE[info_class]:
        return None
    state = key.state(view)
    name = encode_utf16(state.name)
    class_name = encode_utf16(key.class_name)
    match info_class:
        case KeyInformationClass.BASIC:
            return Encoded(struct.pack("<QII", state.last_write, 0, len(name)) + name, 16)
        case KeyInformationClass.NODE:
            body = name + bytes(-len(name) % 4) if class_name else name
            offset = 24 + len(body) if class_name else _NOWHERE
            head = struct.pack("<QIIII", state.last_write, 0, offset, len(class_name), len(name))
            return Encoded(head + body + class_name, 24)
        case KeyInformationClass.FULL:
            subkeys = list(state.subkeys.values())
            head = struct.pack(
                "<QIIIIIIIIII",
                state.last_write,
                0,
                44 if class_name else _NOWHERE,
                len(class_name),
                len(subkeys),
                _longest([child.state(view).name for child in subkeys]),
                _longest([child.class_name for child in subkeys]),
                len(state.values),
                _longest([value.name for value in state.values.values()]),
                max((len(value.data) for value in state.values.values()), default=0),
                0,
            )[:44]
            return Encoded(head + class_name, 44)
        case KeyInformationClass.NAME:
            path = encode_utf16(key.path(view))
            return Encoded(struct.pack("<I", len(path)) + path, 4)
        case KeyInformationClass.CACHED:
            return _whole(
                struct.pack(
                    "<QIIIIIII4x",
                    state.last_write,
                    0,
                    len(state.subkeys),
                    _longest([child.state(view).name for child in state.subkeys.values()]),
                    len(state.values),
                    _longest([value.name for value in state.values.values()]),
                    max((len(value.data) for value in state.values.values()), default=0),
                    len(name),
                )
            )
        case KeyInformationClass.FLAGS:
            kind = (1 if key.volatile else 0) | (2 if key.is_link else 0)
            return _whole(struct.pack("<III", key.wow64_flags, kind, key.control_flags))
        case (
            KeyInformationClass.VIRTUALIZATION
            | KeyInformationClass.HANDLE_TAGS
            | KeyInformationClass.TRUST
            | KeyInformationClass.LAYER
        ):
            # Neither UAC virtualization nor handle tags nor layered hives are modelled: no bit is set.
            return _whole(bytes(4))
        case _:
            return None


def _whole(data: bytes) -> Encoded:
    return Encoded(data, len(data))


def encode_value(value: Value, info_class: int, version: WindowsVersion) -> Encoded | None:
    """The answer to NtQueryValueKey or NtEnumerateValueKey; None for an invalid class."""
    name, data = encode_utf16(value.name), value.data
    match info_class:
        case KeyValueInformationClass.BASIC:
            return Encoded(struct.pack("<III", 0, value.type, len(name)) + name, 12)
        case KeyValueInformationClass.FULL | KeyValueInformationClass.FULL_ALIGN64:
            alignment = 8 if info_class == KeyValueInformationClass.FULL_ALIGN64 else 4
            padding = bytes(-(20 + len(name)) % alignment) if data else b""
            offset = 20 + len(name) + len(padding) if data else _NOWHERE
            head = struct.pack("<IIIII", 0, value.type, offset, len(data), len(name))
            return Encoded(head + name + padding + data, 20)
        case KeyValueInformationClass.PARTIAL:
            return Encoded(struct.pack("<III", 0, value.type, len(data)) + data, 12)
        case KeyValueInformationClass.PARTIAL_ALIGN64:
            return Encoded(struct.pack("<II", value.type, len(data)) + data, 8)
        case KeyValueInformationClass.LAYER if version >= WIN10_1607:
            return _whole(bytes(4))
        case _:
            return None
