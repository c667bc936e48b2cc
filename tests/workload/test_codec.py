"""Programs and results survive their encoding; hostile bytes get one clear error."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InfrastructureError, UsageError
from harness.workload import (
    FIELDS,
    SPECS,
    FieldKind,
    MultipleEntry,
    Opcode,
    Operation,
    OperationResult,
    Program,
    ProgramResult,
    decode_program,
    decode_result,
    encode_program,
    encode_result,
)

U32 = st.integers(0, 0xFFFF_FFFF)
U64 = st.integers(0, 0xFFFF_FFFF_FFFF_FFFF)
#: Counted UTF-16: NULs, astral characters and unpaired surrogates included.
TEXT = (
    st.lists(st.sampled_from("aZ\\\0é\uffff\U0001f600\ud800\udc00"), max_size=12)
    .map("".join)
    .filter(lambda text: _round_trips(text))
)


def _round_trips(text: str) -> bool:
    # A high and a low surrogate beside each other are one character in UTF-16 and two in Python.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") == text


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    spec = SPECS[draw(st.sampled_from(Opcode))]
    values: dict[str, object] = {}
    for field in spec.field_specs():
        if field.name not in spec.required and draw(st.booleans()):
            continue
        match field.kind:
            case FieldKind.HANDLE:
                values[field.name] = draw(st.integers(0, 7))
            case FieldKind.UNSIGNED:
                lowest = 1 if spec.opcode is Opcode.TERMINATE_PROCESS and field.name == "process" else 0
                values[field.name] = draw(st.integers(lowest, field.maximum))
            case FieldKind.FLAG:
                values[field.name] = draw(st.booleans())
            case FieldKind.TEXT:
                values[field.name] = draw(TEXT)
            case FieldKind.TEXTS:
                values[field.name] = tuple(draw(st.lists(TEXT, max_size=4)))
            case FieldKind.BYTES:
                values[field.name] = draw(st.binary(min_size=8, max_size=40))
            case FieldKind.PATCHES:
                pass  # needs data of its own, see the test of patches
    if spec.opcode in (Opcode.IMPERSONATE, Opcode.REVERT):
        values.update(process=0, thread=1)
    if spec.opcode is Opcode.TERMINATE_PROCESS or not (values.get("process") or values.get("thread")):
        values.pop("background", None)  # there it can't go on
    return Operation(opcode=spec.opcode, **values)  # type: ignore[arg-type]


@given(st.lists(operations(), max_size=8))
def test_a_program_survives_its_encoding(listed: list[Operation]) -> None:
    program = Program.of(listed)
    data = encode_program(program)
    assert decode_program(data) == program
    assert encode_program(decode_program(data)) == data


RESULTS = st.builds(
    lambda begin, length, **rest: OperationResult(begin=begin, end=begin + length, **rest),
    begin=st.integers(0, 1 << 62),
    length=st.integers(0, 1 << 20),
    status=U32,
    process_id=U64,
    thread_id=U64,
    handle=U64,
    buffer=st.binary(max_size=40),
    result_length=st.none() | U32,
    buffer_length=st.none() | U32,
    disposition=st.none() | U32,
    entries=st.lists(st.builds(MultipleEntry, U32, U32, U32), max_size=3).map(tuple),
    input_address=U64,
    output_address=U64,
    name_address=U64,
)


@given(st.lists(RESULTS, max_size=5), U64, U64, st.sampled_from([4, 8]), st.lists(U64, max_size=4))
def test_a_result_survives_its_encoding(
    listed: list[OperationResult], process: int, thread: int, pointer_size: int, ids: list[int]
) -> None:
    result = ProgramResult(
        operations=tuple(listed),
        process_id=process,
        thread_id=thread,
        pointer_size=pointer_size,
        process_ids=tuple(ids),
    )
    assert decode_result(encode_result(result)) == result


def test_every_field_of_an_operation_is_documented() -> None:
    attributes = {field.name for field in dataclasses.fields(Operation)} - {"opcode"}
    assert attributes == set(FIELDS)
    for field in dataclasses.fields(Operation):
        if field.name != "opcode":
            assert field.default == FIELDS[field.name].default, field.name


def test_every_opcode_is_documented() -> None:
    assert set(SPECS) == set(Opcode)
    used: set[str] = set()
    for spec in SPECS.values():
        assert spec.fields <= set(FIELDS)
        assert spec.meaning
        assert spec.source
        used |= spec.fields
    assert used == set(FIELDS), "a field that no operation takes"


def test_text_without_a_utf8_form_travels_as_utf16() -> None:
    program = Program.of([Operation(opcode=Opcode.OPEN_KEY, out=0, name="\\x\udc00")])
    fields = cbor2.loads(program.encode())[2][0][1]
    assert fields["name16"] == "\\x".encode("utf-16-le") + b"\x00\xdc"
    assert "name" not in fields
    assert decode_program(program.encode()) == program


def test_handles_are_patched_where_they_fit() -> None:
    control = {"opcode": Opcode.DEVICE_CONTROL, "device": r"\\.\X", "code": 4}
    program = Program.of([Operation(**control, data=bytes(16), patches=((8, 3),))])
    assert program.handle_count == 4
    assert decode_program(program.encode()) == program
    with pytest.raises(UsageError, match="offset 9 lies outside the 16 bytes"):
        Operation(**control, data=bytes(16), patches=((9, 3),))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ([1, 0], "array of three"),
        ({"a": 1}, "array of three"),
        ([2, 0, []], "format 2; this harness speaks 1"),
        ([True, 0, []], "format True"),
        ([1, "x", []], "handle count"),
        ([1, 5000, []], "5000 handle slots"),
        ([1, 0, [[1]]], r"operation 0 must be \[opcode"),
        ([1, 0, [[999, {}]]], "unknown opcode 999"),
        ([1, 1, [[3, {}]]], "operation 0: close needs handle"),
        ([1, 1, [[3, {"handle": 1}]]], "names handle slot 1, the program has 1"),
        ([1, 1, [[3, {"handle": True}]]], "must be a handle slot"),
        ([1, 1, [[3, {"handle": 0, "form": True}]]], "form must be an integer"),
        ([1, 1, [[3, {"handle": 0, "null_result": 0}]]], "null_result must be true or false"),
        ([1, 1, [[3, {"handle": 0, "wrong": 1}]]], "unknown field 'wrong'"),
        ([1, 1, [[3, {"handle": 0, "handle16": b""}]]], "unknown field 'handle16'"),
        ([1, 1, [[3, {"handle": 0, "access": 1}]]], "close takes no access"),
        ([1, 1, [[2, {"out": 0, "name": b"x"}]]], "name must be text"),
        ([1, 1, [[2, {"out": 0, "name16": b"x"}]]], "odd number of UTF-16 bytes"),
        ([1, 1, [[2, {"out": 0, "name": "x", "name16": b"x\0"}]]], "name twice"),
        ([1, 1, [[2, {"out": 0, "access": 1 << 32}]]], "access must be an integer from 0 to 0xffffffff"),
        ([1, 1, [[2, {"out": 0, "name": "x" * 32768}]]], "more than 32767 UTF-16 units"),
    ],
)
def test_what_is_no_program_is_refused(item: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        decode_program(cbor2.dumps(item))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends at byte 0"),
        (b"\x83", "announced"),
        (b"\x9f\xff", "indefinite"),
        (b"\xc5\x82\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\x01", "a tag"),
        (b"\x20", "negative"),
        (b"\xf6", "no integer"),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "elements announced"),
        (b"\x5b\x00\x00\x00\x10\x00\x00\x00\x00", "bytes are left"),
        (b"\x62\xff\xfe", "not UTF-8"),
        (b"\xa1\x00\x00", "key at byte 1 is not text"),
        (b"\xa2\x61a\x00\x61a\x00", "comes twice"),
        (b"\x81" * 400 + b"\x00", "levels"),
        (b"\x83\x01\x00\x80\x00", "1 bytes follow"),
        (b"\x1b\x00", "ends inside the number"),
    ],
)
def test_cbor_outside_the_format_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        decode_program(data)
    with pytest.raises(InfrastructureError, match=message):
        decode_result(data)


@given(st.binary(max_size=200))
def test_any_bytes_get_a_clear_error_or_a_program(data: bytes) -> None:
    for decode, expected in ((decode_program, UsageError), (decode_result, InfrastructureError)):
        with suppress(expected):
            decode(data)


SEEDS = [
    encode_program(
        Program.of(
            [
                Operation(opcode=Opcode.CREATE_KEY, out=0, name="\\REGISTRY\\x\udc00", access=0xF003F),
                Operation(opcode=Opcode.SET_VALUE, handle=0, value_name="v", type=1, data=b"abc"),
                Operation(opcode=Opcode.QUERY_MULTIPLE, handle=0, value_names=("a", "b"), length=64),
            ]
        )
    ),
    encode_result(
        ProgramResult(
            operations=(
                OperationResult(status=0, begin=1, end=2, process_id=3, thread_id=4, buffer=b"xyz"),
                OperationResult(
                    status=5, begin=1, end=2, process_id=3, thread_id=4, entries=(MultipleEntry(1, 2, 3),)
                ),
            ),
            process_id=1,
            thread_id=2,
        )
    ),
]


@settings(max_examples=400)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6))
def test_damaged_bytes_get_a_clear_error_or_decode(seed: bytes, damage: list[tuple[int, int]]) -> None:
    data = bytearray(seed)
    for position, value in damage:
        data[position % len(data)] = value
    for decode, expected in ((decode_program, UsageError), (decode_result, InfrastructureError)):
        with suppress(expected):
            decode(bytes(data))


def test_a_result_must_answer_its_program() -> None:
    program = Program.of([Operation(opcode=Opcode.MARK), Operation(opcode=Opcode.MARK)])
    result = ProgramResult(
        operations=(OperationResult(status=0, begin=1, end=2, process_id=3, thread_id=4),),
        process_id=3,
        thread_id=4,
    )
    with pytest.raises(InfrastructureError, match="answered 1 operations, the program has 2"):
        decode_result(encode_result(result), program)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"end": 0}, "before it begins"),
        ({"status": 1 << 32}, "status must be an integer"),
        ({"extra": 1}, "unknown field 'extra'"),
        ({"buffer": "text"}, "buffer must be"),
        ({"entries": [[1, 2]]}, "entries must hold"),
    ],
)
def test_a_lying_runner_is_named(change: dict[str, object], message: str) -> None:
    operation = {"status": 0, "begin": 1, "end": 2, "process_id": 3, "thread_id": 4} | change
    header = {"process_id": 1, "thread_id": 2, "pointer_size": 8, "frequency": 10}
    with pytest.raises(InfrastructureError, match=message):
        decode_result(cbor2.dumps([1, header, [operation]]))
    with pytest.raises(InfrastructureError, match="neither 4 nor 8"):
        decode_result(cbor2.dumps([1, header | {"pointer_size": 7}, []]))
