"""Programs and results as bytes: canonical CBOR, flat, readable from C.

A program is ``[1, handle_count, [[opcode, {field: value}], ...]]``; a result is
``[1, {process_id, thread_id, pointer_size, frequency, process_ids}, [{status, begin, end, ...}, ...]]``.
1 is `FORMAT_VERSION`. Field names, kinds and defaults: `harness.workload.fields`; defaults are left out.
"""

from __future__ import annotations

from typing import Final, cast

import cbor2

from harness.errors import InfrastructureError, UsageError
from harness.workload.cbor import Node, read_cbor
from harness.workload.fields import FIELDS, MAX_BUFFER, MAX_OPERATIONS, MAX_PROCESSES, FieldKind, FieldSpec
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation, Program
from harness.workload.result import MultipleEntry, OperationResult, ProgramResult

__all__ = [
    "FORMAT_VERSION",
    "MAX_ENCODED",
    "decode_program",
    "decode_result",
    "encode_program",
    "encode_result",
]

FORMAT_VERSION: Final = 1
#: Bytes of one encoded program or result.
MAX_ENCODED: Final = 128 * 1024 * 1024

_WIDE = "16"
_U32 = 0xFFFF_FFFF
_U64 = 0xFFFF_FFFF_FFFF_FFFF


# -- programs ---------------------------------------------------------------------------------------------


def encode_program(program: Program) -> bytes:
    """The bytes a runner takes. Raises `UsageError` beyond `MAX_ENCODED`."""
    operations = [[int(operation.opcode), _encode_fields(operation)] for operation in program.operations]
    return _dump([FORMAT_VERSION, program.handle_count, operations], "program")


def decode_program(data: bytes) -> Program:
    """Inverse of `encode_program`. Raises `UsageError` for anything that is not a valid program."""
    top = _top(data, "program")
    handle_count, listed = top[1], top[2]
    if type(handle_count) is not int:
        raise UsageError(f"a program's handle count must be an integer, not {type(handle_count).__name__}")
    if not isinstance(listed, list) or len(listed) > MAX_OPERATIONS:
        raise UsageError(f"a program's operations must be an array of at most {MAX_OPERATIONS}")
    return Program(tuple(_decode_operation(index, node) for index, node in enumerate(listed)), handle_count)


def _encode_fields(operation: Operation) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, value in operation.given().items():
        match FIELDS[name].kind:
            case FieldKind.TEXT:
                text = _encode_text(cast(str, value))
                out[name if isinstance(text, str) else name + _WIDE] = text
            case FieldKind.TEXTS:
                out[name] = [_encode_text(item) for item in cast("tuple[str, ...]", value)]
            case FieldKind.PATCHES:
                out[name] = [list(pair) for pair in cast("tuple[tuple[int, int], ...]", value)]
            case FieldKind.UNSIGNED:
                out[name] = int(cast(int, value))  # an IntEnum would be encoded by its own rules
            case _:
                out[name] = value
    return out


def _encode_text(text: str) -> str | bytes:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass")
    return text


def _decode_operation(index: int, node: Node) -> Operation:
    where = f"operation {index}"
    if (
        not isinstance(node, list)
        or len(node) != 2
        or type(node[0]) is not int
        or not isinstance(node[1], dict)
    ):
        raise UsageError(f"{where} must be [opcode, {{field: value}}]")
    try:
        opcode = Opcode(node[0])
    except ValueError:
        raise UsageError(f"{where} has the unknown opcode {node[0]}") from None
    values: dict[str, object] = {}
    for key, value in node[1].items():
        wide = key.endswith(_WIDE) and key[: -len(_WIDE)] in FIELDS
        field = FIELDS.get(key[: -len(_WIDE)] if wide else key)
        if field is None or (wide and field.kind is not FieldKind.TEXT):
            raise UsageError(f"{where} has the unknown field {key[:64]!r}")
        if field.name in values:
            raise UsageError(f"{where} has {field.name} twice, as text and as {key}")
        values[field.name] = _decode_field(f"{where}: {key}", field, value, wide=wide)
    try:
        return Operation(opcode=opcode, **values)  # type: ignore[arg-type]  # checked by Operation itself
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _decode_field(where: str, field: FieldSpec, value: Node, *, wide: bool) -> object:
    match field.kind:
        case FieldKind.TEXT:
            if isinstance(value, bytes) is not wide:
                raise UsageError(f"{where} must be {'bytes' if wide else 'text'}")
            return _decode_text(where, value)
        case FieldKind.TEXTS:
            if not isinstance(value, list):
                raise UsageError(f"{where} must be an array of texts")
            return tuple(_decode_text(where, item) for item in value)
        case FieldKind.PATCHES:
            if not isinstance(value, list):
                raise UsageError(f"{where} must be an array of [offset, slot]")
            return tuple(tuple(pair) if isinstance(pair, list) else pair for pair in value)
        case FieldKind.FLAG:
            if type(value) is not bool:
                raise UsageError(f"{where} must be true or false")
        case FieldKind.BYTES:
            if not isinstance(value, bytes):
                raise UsageError(f"{where} must be bytes")
        case FieldKind.UNSIGNED:
            if type(value) is not int:  # true and 1 are equal, but not the same to a reader in C
                raise UsageError(f"{where} must be an integer")
    return value


def _decode_text(where: str, value: Node) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, bytes):
        raise UsageError(f"{where} must be text or UTF-16 bytes, not {type(value).__name__}")
    if len(value) % 2:
        raise UsageError(f"{where} has an odd number of UTF-16 bytes ({len(value)})")
    return value.decode("utf-16-le", "surrogatepass")


# -- results ----------------------------------------------------------------------------------------------

_HEADER: Final = {"process_id": _U64, "thread_id": _U64, "pointer_size": 8, "frequency": _U64}
#: Scalars of an operation's result: limit and whether it is always there.
_SCALARS: Final = {
    "status": (_U32, True),
    "begin": (_U64, True),
    "end": (_U64, True),
    "process_id": (_U64, True),
    "thread_id": (_U64, True),
    "handle": (_U64, False),
    "result_length": (_U32, False),
    "buffer_length": (_U32, False),
    "disposition": (_U32, False),
    "input_address": (_U64, False),
    "output_address": (_U64, False),
    "name_address": (_U64, False),
}
_MAX_ENTRIES: Final = FIELDS["value_names"].maximum


def encode_result(result: ProgramResult) -> bytes:
    """The bytes a runner answers."""
    header: dict[str, object] = {name: getattr(result, name) for name in _HEADER}
    if result.process_ids:
        header["process_ids"] = list(result.process_ids)
    return _dump([FORMAT_VERSION, header, [_encode_operation(item) for item in result.operations]], "result")


def decode_result(data: bytes, program: Program | None = None) -> ProgramResult:
    """Inverse of `encode_result`; checks that it answers `program` when given.

    A guest is not trusted: anything malformed or out of bounds raises `InfrastructureError`.
    """
    try:
        result = _decode_result(data)
    except UsageError as error:
        raise InfrastructureError(f"the guest's program result is malformed: {error}") from None
    if program is not None and len(result) != len(program):
        raise InfrastructureError(
            f"the guest answered {len(result)} operations, the program has {len(program)}; "
            "the runner ended early or another program ran"
        )
    return result


def _encode_operation(item: OperationResult) -> dict[str, object]:
    out: dict[str, object] = {}
    for name, (_, always) in _SCALARS.items():
        value = getattr(item, name)
        if always or value not in (None, 0) or (value == 0 and name in _ABSENT_IS_NONE):
            out[name] = int(value)
    if item.buffer:
        out["buffer"] = item.buffer
    if item.entries:
        out["entries"] = [[entry.data_length, entry.data_offset, entry.type] for entry in item.entries]
    return out


_ABSENT_IS_NONE: Final = frozenset({"result_length", "buffer_length", "disposition"})


def _decode_result(data: bytes) -> ProgramResult:
    top = _top(data, "result")
    header, listed = top[1], top[2]
    if not isinstance(header, dict) or not isinstance(listed, list) or len(listed) > MAX_OPERATIONS:
        raise UsageError(f"it must be [1, {{header}}, [operations]], at most {MAX_OPERATIONS} of them")
    extra = header.keys() - _HEADER.keys() - {"process_ids"}
    if extra:
        raise UsageError(f"its header has the unknown field {sorted(extra)[0][:64]!r}")
    values = {name: _integer(f"header: {name}", header.get(name), limit) for name, limit in _HEADER.items()}
    if values["pointer_size"] not in (4, 8):
        raise UsageError(f"header: pointer_size is {values['pointer_size']}, neither 4 nor 8")
    ids = header.get("process_ids", [])
    if not isinstance(ids, list) or len(ids) > MAX_PROCESSES:
        raise UsageError(f"header: process_ids must be an array of at most {MAX_PROCESSES}")
    return ProgramResult(
        operations=tuple(_decode_operation_result(index, node) for index, node in enumerate(listed)),
        process_ids=tuple(_integer("header: process_ids", node, _U64) for node in ids),
        **values,
    )


def _decode_operation_result(index: int, node: Node) -> OperationResult:
    where = f"operation {index}"
    if not isinstance(node, dict):
        raise UsageError(f"{where} must be a map")
    values: dict[str, object] = {}
    for key, value in node.items():
        scalar = _SCALARS.get(key)
        if scalar is not None:
            values[key] = _integer(f"{where}: {key}", value, scalar[0])
        elif key == "buffer":
            if not isinstance(value, bytes) or len(value) > MAX_BUFFER:
                raise UsageError(f"{where}: buffer must be at most {MAX_BUFFER} bytes")
            values[key] = value
        elif key == "entries":
            values[key] = _decode_entries(f"{where}: entries", value)
        else:
            raise UsageError(f"{where} has the unknown field {key[:64]!r}")
    for key, (_, always) in _SCALARS.items():
        if always and key not in values:
            raise UsageError(f"{where} has no {key}")
    result = OperationResult(**values)  # type: ignore[arg-type]  # every value was checked above
    if result.end < result.begin:
        raise UsageError(f"{where} ends at {result.end}, before it begins at {result.begin}")
    return result


def _decode_entries(where: str, node: Node) -> tuple[MultipleEntry, ...]:
    if not isinstance(node, list) or len(node) > _MAX_ENTRIES:
        raise UsageError(f"{where} must be an array of at most {_MAX_ENTRIES}")
    out = []
    for item in node:
        if not isinstance(item, list) or len(item) != 3:
            raise UsageError(f"{where} must hold [data length, data offset, type]")
        out.append(MultipleEntry(*(_integer(where, number, _U32) for number in item)))
    return tuple(out)


def _integer(where: str, node: Node | None, limit: int) -> int:
    if type(node) is not int or not 0 <= node <= limit:
        raise UsageError(f"{where} must be an integer from 0 to {limit:#x}, not {_short(node)}")
    return node


def _short(node: object) -> str:
    text = repr(node)
    return text if len(text) <= 64 else text[:61] + "..."


def _top(data: bytes, what: str) -> list[Node]:
    if len(data) > MAX_ENCODED:
        raise UsageError(f"a {what} of {len(data)} bytes; the limit is {MAX_ENCODED}")
    top = read_cbor(data)
    if not isinstance(top, list) or len(top) != 3:
        raise UsageError(f"a {what} must be an array of three")
    if top[0] != FORMAT_VERSION or type(top[0]) is not int:
        raise UsageError(f"a {what} of format {_short(top[0])}; this harness speaks {FORMAT_VERSION}")
    return top


def _dump(item: list[object], what: str) -> bytes:
    data: bytes = cbor2.dumps(item, canonical=True)
    if len(data) > MAX_ENCODED:
        raise UsageError(f"a {what} of {len(data)} bytes; the limit is {MAX_ENCODED}")
    return data
