"""Values, and the buffers of every query."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reference.cm.information import Encoded, deliver
from harness.registry.infoclasses import (
    KeyInformationClass,
    KeySetInformationClass,
    KeyValueInformationClass,
)
from harness.registry.options import KeyOptions
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.registry.version import VISTA, WIN7, WIN10, WIN10_1607, XP

BIG = 1 << 20


@pytest.mark.parametrize("data", [b"", b"x", b"1234", b"12345", b"\0" * 16345, b"y" * 2_000_000])
@pytest.mark.parametrize("kind", [ValueType.NONE, ValueType.BINARY, 0xFFFFFFFF])
def test_any_type_any_size(machine: Any, data: bytes, kind: int) -> None:
    assert machine.cm.set_value(machine.test, "v", kind, data) == NTSTATUS.SUCCESS
    result = machine.cm.query_value(machine.test, "V", KeyValueInformationClass.PARTIAL, 1 << 22)
    assert struct.unpack_from("<III", result.data) == (0, kind, len(data))
    assert result.data[12:] == data


def test_the_default_value(machine: Any) -> None:
    assert machine.data(machine.test, "") is None
    machine.cm.set_value(machine.test, "", 1, b"d")
    assert machine.data(machine.test, "") == b"d"
    assert machine.cm.delete_value(machine.test, "") == NTSTATUS.SUCCESS
    assert machine.cm.delete_value(machine.test, "") == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_name_limits(machine: Any) -> None:
    assert machine.cm.set_value(machine.test, "n" * 16383, 1, b"") == NTSTATUS.SUCCESS
    assert machine.cm.set_value(machine.test, "n" * 16384, 1, b"") == NTSTATUS.INVALID_PARAMETER


def test_the_first_spelling_and_the_order_of_setting_stay(machine: Any) -> None:
    for name in ("b", "A", "c"):
        machine.cm.set_value(machine.test, name, 1, b"1")
    machine.cm.set_value(machine.test, "B", 2, b"2")
    found = []
    for index in range(3):
        result = machine.cm.enumerate_value(machine.test, index, KeyValueInformationClass.BASIC, BIG)
        found.append((result.data[12:].decode("utf-16-le"), result.data[4]))
    assert found == [("b", 2), ("A", 1), ("c", 1)]
    status = machine.cm.enumerate_value(machine.test, 3, KeyValueInformationClass.BASIC, BIG).status
    assert status == NTSTATUS.NO_MORE_ENTRIES


@pytest.mark.parametrize(
    ("info_class", "expected", "fixed"),
    [
        (KeyValueInformationClass.BASIC, struct.pack("<III", 0, 1, 6) + b"a\0b\0c\0", 12),
        # Data follows the name at the next multiple of 4 or 8 from the start.
        (
            KeyValueInformationClass.FULL,
            struct.pack("<IIIII", 0, 1, 28, 5, 6) + b"a\0b\0c\0" + b"\0\0" + b"hello",
            20,
        ),
        (KeyValueInformationClass.PARTIAL, struct.pack("<III", 0, 1, 5) + b"hello", 12),
        (
            KeyValueInformationClass.FULL_ALIGN64,
            struct.pack("<IIIII", 0, 1, 32, 5, 6) + b"a\0b\0c\0" + b"\0" * 6 + b"hello",
            20,
        ),
        (KeyValueInformationClass.PARTIAL_ALIGN64, struct.pack("<II", 1, 5) + b"hello", 8),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_value_layouts(machine: Any, info_class: int, expected: bytes, fixed: int) -> None:
    machine.cm.set_value(machine.test, "abc", 1, b"hello")
    for length in range(len(expected) + 2):
        result = machine.cm.query_value(machine.test, "ABC", info_class, length)
        assert result.result_length == len(expected)
        if length < fixed:
            assert (result.status, result.data) == (NTSTATUS.BUFFER_TOO_SMALL, b"")
        elif length < len(expected):
            assert (result.status, result.data) == (NTSTATUS.BUFFER_OVERFLOW, expected[:length])
        else:
            assert (result.status, result.data) == (NTSTATUS.SUCCESS, expected)


def test_invalid_value_classes(machine: Any, make: Any) -> None:
    machine.cm.set_value(machine.test, "v", 1, b"")
    assert machine.cm.query_value(machine.test, "v", 6, BIG).status == NTSTATUS.INVALID_PARAMETER
    assert machine.cm.query_value(machine.test, "v", 5, BIG).status == NTSTATUS.SUCCESS
    old = make(WIN10)
    old.cm.set_value(old.test, "v", 1, b"")
    assert old.cm.query_value(old.test, "v", 5, BIG).status == NTSTATUS.INVALID_PARAMETER


def test_key_basic_and_node(machine: Any) -> None:
    key = machine.create("Name", start=machine.test, class_name="cls")
    time = key.state().last_write
    basic = machine.cm.query_key(key, KeyInformationClass.BASIC, BIG).data
    assert basic == struct.pack("<QII", time, 0, 8) + "Name".encode("utf-16-le")
    node = machine.cm.enumerate_key(machine.test, 0, KeyInformationClass.NODE, BIG).data
    assert node == struct.pack("<QIIII", time, 0, 32, 6, 8) + "Namecls".encode("utf-16-le")
    plain = machine.create("P", start=machine.test)
    node = machine.cm.query_key(plain, KeyInformationClass.NODE, BIG).data
    assert struct.unpack_from("<IIII", node, 8) == (0, 0xFFFFFFFF, 0, 2)


def test_key_full_and_cached(machine: Any) -> None:
    key = machine.create("k", start=machine.test, class_name="cl")
    machine.create("longest", start=key, class_name="classy")
    machine.create("x", start=key)
    machine.cm.set_value(key, "value", 1, b"123456")
    full = machine.cm.query_key(key, KeyInformationClass.FULL, BIG)
    assert struct.unpack_from("<IIIIIIIII", full.data, 8) == (0, 44, 4, 2, 14, 12, 1, 10, 6)
    assert full.data[44:] == "cl".encode("utf-16-le")
    assert full.result_length == 48
    cached = machine.cm.query_key(key, KeyInformationClass.CACHED, BIG).data
    assert struct.unpack_from("<IIIIIII", cached, 8) == (0, 2, 14, 1, 10, 6, 2)
    assert len(cached) == 40


def test_key_name_and_flags(machine: Any) -> None:
    name = machine.cm.query_key(machine.test, KeyInformationClass.NAME, BIG).data
    text = r"\REGISTRY\MACHINE\SOFTWARE\Test".encode("utf-16-le")
    assert name == struct.pack("<I", len(text)) + text
    short = machine.cm.query_key(machine.test, KeyInformationClass.NAME, 10)
    assert (short.status, len(short.data)) == (NTSTATUS.BUFFER_OVERFLOW, 10)
    volatile = machine.create("v", start=machine.test, options=KeyOptions.VOLATILE)
    assert machine.cm.query_key(volatile, KeyInformationClass.FLAGS, BIG).data == struct.pack("<III", 0, 1, 0)


@pytest.mark.parametrize("info_class", [3, 4, 5, 6, 7, 8, 9, 10, 1000])
def test_enumeration_has_three_classes(machine: Any, info_class: int) -> None:
    machine.create("k", start=machine.test)
    status = machine.cm.enumerate_key(machine.test, 0, info_class, BIG).status
    assert status == NTSTATUS.INVALID_PARAMETER


def test_key_classes_by_version(make: Any) -> None:
    highest = {XP: 4, VISTA: 6, WIN7: 7, WIN10: 8, WIN10_1607: 9}
    for version, last in highest.items():
        machine = make(version)
        valid = [
            number
            for number in range(12)
            if machine.cm.query_key(machine.test, number, BIG).status == NTSTATUS.SUCCESS
        ]
        assert valid == list(range(last + 1)), str(version)


def test_multiple_values(machine: Any) -> None:
    for name, data in (("a", b"12345"), ("b", b"xy"), ("c", b"")):
        machine.cm.set_value(machine.test, name, 3, data)
    result = machine.cm.query_multiple_values(machine.test, ["B", "a", "c"], 100)
    assert result.status == NTSTATUS.SUCCESS
    assert [(entry.data_offset, entry.data_length) for entry in result.entries] == [(0, 2), (4, 5), (12, 0)]
    assert result.data == b"xy\0\0" + b"12345\0\0\0"
    assert result.required == 12
    short = machine.cm.query_multiple_values(machine.test, ["b", "a"], 6)
    assert (short.status, short.required, short.data) == (NTSTATUS.BUFFER_OVERFLOW, 9, b"xy")
    missing = machine.cm.query_multiple_values(machine.test, ["a", "no"], 100)
    assert missing.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_set_information(machine: Any) -> None:
    cm, key = machine.cm, machine.test
    written = (132_000_000_000_000_000).to_bytes(8, "little")
    assert cm.set_information(key, KeySetInformationClass.WRITE_TIME, written) == NTSTATUS.SUCCESS
    assert cm.query_key(key, KeyInformationClass.BASIC, BIG).data[:8] == written
    assert cm.set_information(key, 0, b"1234") == NTSTATUS.INFO_LENGTH_MISMATCH
    assert cm.set_information(key, 2, b"\2\0\0\0") == NTSTATUS.SUCCESS
    assert cm.query_key(key, KeyInformationClass.FLAGS, BIG).data[8:] == b"\2\0\0\0"
    assert cm.set_information(key, 1, b"") == NTSTATUS.INFO_LENGTH_MISMATCH
    assert cm.set_information(key, 9, b"") == NTSTATUS.INVALID_PARAMETER


@given(st.binary(max_size=40), st.integers(0, 40), st.integers(0, 60))
def test_delivery_never_exceeds_the_buffer(data: bytes, fixed: int, length: int) -> None:
    result = deliver(Encoded(data, min(fixed, len(data))), length)
    assert len(result.data) <= length
    assert result.result_length == len(data)
    assert data.startswith(result.data)
    assert (result.status == NTSTATUS.SUCCESS) == (result.data == data and length >= len(data))
