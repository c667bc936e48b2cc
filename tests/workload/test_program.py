"""The builder, steps and their views, over a guest in memory."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import InfrastructureError, UsageError
from harness.registry.infoclasses import KeyInformationClass, KeyValueInformationClass
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.workload import (
    Opcode,
    Operation,
    OperationResult,
    Program,
    ProgramResult,
    Registry,
    TypedValue,
    views,
)
from harness.workload.values import encode_value, python_value
from tests.workload.fake_runner import FakeRunner


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture
def registry(runner: FakeRunner) -> Registry:
    return Registry(runner, name="t")


def test_a_program_runs_when_its_block_ends(registry: Registry, runner: FakeRunner) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")
        read = p.query_value(key, "v")
        missing = p.query_value(key, "missing")
        before = len(runner.programs)
    assert len(runner.programs) == before + 1
    assert (key.status, key.disposition, key.handle) == (0, 1, 4)
    assert write.succeeded
    assert (read.text, read.type, read.data) == ("x", ValueType.SZ, b"x\0\0\0")
    assert missing.status_name == "STATUS_OBJECT_NAME_NOT_FOUND"
    assert missing.output == b""
    assert write.begin < write.end < read.begin
    assert key.path == registry.test_root / "app"


def test_results_are_not_there_before_the_run(registry: Registry) -> None:
    p = registry.program()
    step = p.create_key(p.test_root / "app")
    with pytest.raises(UsageError, match="has not run yet"):
        _ = step.status
    assert "not run yet" in repr(step)
    p.run()
    assert step.succeeded
    assert "STATUS_SUCCESS" in repr(step)
    with pytest.raises(UsageError, match="has run"):
        p.run()
    with pytest.raises(UsageError, match="has run"):
        p.mark()


def test_a_block_that_raises_runs_nothing(registry: Registry, runner: FakeRunner) -> None:
    registry.set_up()
    before = len(runner.programs)
    p = registry.program()
    p.create_key(p.test_root / "app")
    with pytest.raises(ZeroDivisionError), p:
        raise ZeroDivisionError
    assert len(runner.programs) == before


def test_an_expected_status_is_checked(registry: Registry) -> None:
    p = registry.program()
    key = p.create_key(p.test_root / "app", expect=NTSTATUS.SUCCESS)
    p.query_value(key, "v", expect=(NTSTATUS.SUCCESS, NTSTATUS.BUFFER_OVERFLOW))
    with pytest.raises(AssertionError) as caught:
        p.run()
    message = str(caught.value)
    assert "operation 1 query_value" in message
    assert "returned STATUS_OBJECT_NAME_NOT_FOUND" in message
    assert "expected STATUS_BUFFER_OVERFLOW or STATUS_SUCCESS" in message


def test_check_all_spares_what_has_an_expectation(registry: Registry) -> None:
    with registry.program() as p:
        p.check_all()
        p.open_key(p.test_root / "missing", expect=NTSTATUS.OBJECT_NAME_NOT_FOUND)
    p = registry.program()
    p.check_all()
    p.open_key(p.test_root / "missing")
    with pytest.raises(AssertionError, match="expected success"):
        p.run()
    with registry.program() as p:
        p.open_key(p.test_root / "missing")
    with pytest.raises(AssertionError, match="expected success"):
        p.check_all()


def test_relative_names(registry: Registry) -> None:
    with registry.program() as p:
        app = p.create_key(p.test_root / "app")
        child = p.create_key(app / "child")
        same = p.open_key("child", root=app)
        deep = p.open_key(child / "a" / "b")
        again = p.open_key(None, root=app)
    assert child.path == same.path == registry.test_root / "app" / "child"
    assert deep.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert deep.operation.name == "a\\b"
    assert again.operation.name is None
    with pytest.raises(UsageError, match="absolute"):
        _ = app / "\\REGISTRY"
    with pytest.raises(UsageError, match="not both"):
        registry.program().open_key(app / "x", root=app)


def test_handles_stay_in_their_program(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", 1)
    other = registry.program()
    with pytest.raises(UsageError, match="another program"):
        other.query_key(key)
    with pytest.raises(UsageError, match="yields no handle"):
        p.slot_of(write)
    with pytest.raises(UsageError, match="is no handle"):
        other.query_key("key")  # type: ignore[arg-type]


def test_a_null_handle_is_bad(registry: Registry) -> None:
    with registry.program() as p:
        step = p.query_key(p.null_handle())
    assert step.status == NTSTATUS.INVALID_HANDLE


def test_processes_and_threads(registry: Registry) -> None:
    with registry.program() as p:
        one = p.mark("one")
        with p.on(process="second", thread=2):
            two = p.mark("two")
            with p.on(thread=3):
                three = p.mark()
        four = p.mark()
    assert [(s.operation.process, s.operation.thread) for s in (one, two, three, four)] == [
        (0, 0), (1, 2), (1, 3), (0, 0),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no process 'fifth'"), registry.program().on(process="fifth"):
        pass
    with pytest.raises(UsageError, match="thread must be an integer from 0 to 0xf"), p.on(thread=16):
        registry.program().record(Opcode.MARK, thread=16)


def test_enumerations_list_what_was_there(registry: Registry) -> None:
    with registry.program() as p:
        app = p.create_key(p.test_root / "app")
        for name in ("Beta", "alpha"):
            p.create_key(app / name)
        listed = p.enumerate_keys(app, 5)
        info = p.query_key(app)
    assert listed.names == ["alpha", "Beta"]
    assert listed[2].status == NTSTATUS.NO_MORE_ENTRIES
    assert info.key_information.subkeys == 2
    with pytest.raises(UsageError, match="has no value_information"):
        _ = info.value_information


def test_short_buffers(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", b"0123456789")
        some = p.query_value(key, "v", length=16)
        none = p.query_value(key, "v", length=8)
    assert some.status == NTSTATUS.BUFFER_OVERFLOW
    assert some.data == b"0123"
    assert some.value_information.data_length == 10
    assert some.result_length == 22
    assert none.status == NTSTATUS.BUFFER_TOO_SMALL
    assert none.output == none.data == b""
    assert none.buffer == b"\xa5" * 8
    with pytest.raises(UsageError, match="STATUS_BUFFER_TOO_SMALL"):
        _ = none.value_information


@pytest.mark.parametrize(
    ("value", "type", "data"),
    [
        ("x", ValueType.SZ, b"x\0\0\0"),
        (7, ValueType.DWORD, b"\7\0\0\0"),
        (1 << 32, ValueType.QWORD, b"\0\0\0\0\1\0\0\0"),
        (b"raw", ValueType.BINARY, b"raw"),
        (["a", "b"], ValueType.MULTI_SZ, b"a\0\0\0b\0\0\0\0\0"),
        (TypedValue(99, b"?"), 99, b"?"),
        (None, ValueType.NONE, None),
    ],
)
def test_python_values_are_stored_as_their_type(value: object, type: int, data: bytes | None) -> None:
    assert encode_value(value) == TypedValue(type, data)  # type: ignore[arg-type]


def test_types_can_be_said() -> None:
    assert encode_value("x", ValueType.EXPAND_SZ).data == b"x\0\0\0"
    assert encode_value("x", ValueType.LINK).data == b"x\0", "a link's target has no NUL"
    assert encode_value(1, ValueType.DWORD_BIG_ENDIAN).data == b"\0\0\0\1"
    for wrong in (True, 1.5, -1, 1 << 64, [1]):
        with pytest.raises(UsageError):
            encode_value(wrong)  # type: ignore[arg-type]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_text_comes_back(text: str) -> None:
    typed = encode_value(text)
    assert python_value(typed.type, typed.data or b"") == text


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)))
def test_several_texts_come_back(texts: list[str]) -> None:
    typed = encode_value(texts)
    assert python_value(typed.type, typed.data or b"") == tuple(texts)


@given(st.integers(0, 12), st.binary(max_size=20))
def test_any_stored_bytes_have_a_python_value(type: int, data: bytes) -> None:
    assert isinstance(python_value(type, data), str | int | bytes | tuple)


def _views(operation: Operation, result: OperationResult) -> None:
    program = ProgramResult(operations=(result,), process_id=1, thread_id=2)
    match operation.opcode:
        case Opcode.QUERY_KEY:
            views.key_information(operation, result)
        case Opcode.QUERY_VALUE:
            views.value_information(operation, result)
        case Opcode.QUERY_OBJECT_NAME:
            views.object_name(operation, result, program.pointer_size)
        case Opcode.QUERY_OBJECT_BASIC:
            views.object_basic(operation, result)
        case Opcode.QUERY_MULTIPLE:
            views.multiple_values(operation, result)


@given(
    st.sampled_from(
        [
            *(Operation(opcode=Opcode.QUERY_KEY, handle=0, info_class=n, length=64) for n in range(10)),
            *(Operation(opcode=Opcode.QUERY_VALUE, handle=0, info_class=n, length=64) for n in range(6)),
            Operation(opcode=Opcode.QUERY_OBJECT_NAME, handle=0, length=64),
            Operation(opcode=Opcode.QUERY_OBJECT_BASIC, handle=0, length=64),
            Operation(opcode=Opcode.QUERY_MULTIPLE, handle=0, value_names=("a",), length=64),
        ]
    ),
    st.binary(max_size=64),
    st.integers(0, 0xFFFF_FFFF) | st.none(),
    st.sampled_from([0, NTSTATUS.BUFFER_OVERFLOW, NTSTATUS.ACCESS_DENIED]),
)
def test_any_output_gets_a_view_or_a_clear_error(
    operation: Operation, buffer: bytes, length: int | None, status: int
) -> None:
    result = OperationResult(
        status=status, begin=1, end=2, process_id=1, thread_id=2, buffer=buffer, result_length=length
    )
    with suppress(UsageError, InfrastructureError):
        _views(operation, result)


def test_an_object_name_is_found_behind_its_pointer() -> None:
    operation = Operation(opcode=Opcode.QUERY_OBJECT_NAME, handle=0, length=64)
    text = "\\REGISTRY".encode("utf-16-le")
    for pointer_size, head in ((8, "<HHIQ"), (4, "<HHI")):
        size = 2 * pointer_size
        members = (len(text), len(text) + 2) + ((0,) if pointer_size == 8 else ())
        raw = struct.pack(head, *members, 0x1000 + size) + text
        result = OperationResult(
            status=0,
            begin=1,
            end=2,
            process_id=1,
            thread_id=2,
            buffer=raw,
            result_length=len(raw),
            output_address=0x1000,
        )
        assert views.object_name(operation, result, pointer_size) == "\\REGISTRY"
        wild = struct.pack(head, *members, 4) + text
        with pytest.raises(InfrastructureError, match="outside the output buffer"):
            views.object_name(operation, _with(result, wild), pointer_size)


def _with(result: OperationResult, buffer: bytes) -> OperationResult:
    return OperationResult(
        status=0,
        begin=1,
        end=2,
        process_id=1,
        thread_id=2,
        buffer=buffer,
        output_address=result.output_address,
    )


def test_every_value_class_decodes() -> None:
    name, data = "v".encode("utf-16-le"), b"\1\2\3\4"
    forms = {
        KeyValueInformationClass.BASIC: struct.pack("<III", 0, 4, len(name)) + name,
        KeyValueInformationClass.FULL: struct.pack("<IIIII", 0, 4, 24, 4, len(name)) + name + b"\0\0" + data,
        KeyValueInformationClass.PARTIAL: struct.pack("<III", 0, 4, 4) + data,
        KeyValueInformationClass.PARTIAL_ALIGN64: struct.pack("<II", 4, 4) + data,
    }
    for info_class, raw in forms.items():
        operation = Operation(opcode=Opcode.QUERY_VALUE, handle=0, info_class=info_class, length=64)
        found = views.value_information(operation, _with(OperationResult(
            status=0, begin=1, end=2, process_id=1, thread_id=2), raw))  # fmt: skip
        assert found.type == 4
        if found.data is not None:
            assert found.data == data
        else:
            assert found.name == "v"


def test_every_key_class_decodes() -> None:
    name, text = "child".encode("utf-16-le"), "cls".encode("utf-16-le")
    forms = {
        KeyInformationClass.BASIC: struct.pack("<QII", 9, 0, len(name)) + name,
        KeyInformationClass.NODE: struct.pack("<QIIII", 9, 0, 34, len(text), len(name)) + name + text,
        KeyInformationClass.FULL: struct.pack("<QIIIIIIIII", 9, 0, 44, len(text), 1, 2, 3, 4, 5, 6) + text,
        KeyInformationClass.NAME: struct.pack("<I", len(name)) + name,
        KeyInformationClass.CACHED: struct.pack("<QIIIIII", 9, 0, 1, 2, 4, 5, 6),
    }
    for info_class, raw in forms.items():
        operation = Operation(opcode=Opcode.QUERY_KEY, handle=0, info_class=info_class, length=128)
        result = OperationResult(
            status=0, begin=1, end=2, process_id=1, thread_id=2, buffer=raw, result_length=len(raw)
        )
        found = views.key_information(operation, result)
        assert found.name in ("child", None)
        assert found.class_name in ("cls", None)
        assert found.subkeys in (1, None)
        assert found.values in (4, None)


def test_a_program_takes_as_many_slots_as_it_names() -> None:
    program = Program.of([Operation(opcode=Opcode.CLOSE, handle=5)])
    assert program.handle_count == 6
    assert str(program.operations[0]) == "close(handle=5)"
    with pytest.raises(UsageError, match="can't end the runner"):
        Operation(opcode=Opcode.TERMINATE_PROCESS, process=0)
