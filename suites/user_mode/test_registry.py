"""Registry calls of user mode, without any filter: what a program sees on every guest, callbacks or not.

The ground the other suites stand on: if a call means something else here, a filter has nothing to do with it.
Each test names the page that says so.
"""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.registry.access import KEY_ALL_ACCESS, KEY_READ
from harness.registry.infoclasses import KeyInformationClass, KeyValueInformationClass
from harness.registry.options import REG_CREATED_NEW_KEY, REG_OPENED_EXISTING_KEY, KeyOptions
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.workload import Registry


def test_a_key_is_created_once_and_opened_afterwards(registry: Registry) -> None:
    """ZwCreateKey: Disposition (nf-wdm-zwcreatekey)."""
    with registry.program() as p:
        first = p.create_key(p.test_root / "app")
        second = p.create_key(p.test_root / "APP")
        missing = p.open_key(p.test_root / "none", access=KEY_READ)

    assert (first.status, first.disposition) == (NTSTATUS.SUCCESS, REG_CREATED_NEW_KEY)
    assert (second.status, second.disposition) == (NTSTATUS.SUCCESS, REG_OPENED_EXISTING_KEY)
    assert missing.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ValueType.BINARY, b""),
        (ValueType.BINARY, bytes(range(256)) * 300),
        (ValueType.SZ, "text\0".encode("utf-16-le")),
        (ValueType.SZ, "no terminator".encode("utf-16-le")),
        (ValueType.MULTI_SZ, "a\0b\0\0".encode("utf-16-le")),
        (ValueType.DWORD, b"\x78\x56\x34\x12"),
        (ValueType.QWORD, bytes(8)),
        (ValueType.NONE, b"odd"),
    ],
)
def test_a_value_comes_back_as_it_was_written(registry: Registry, kind: int, data: bytes) -> None:
    """ZwSetValueKey, ZwQueryValueKey: type and data are kept as given (nf-wdm-zwsetvaluekey)."""
    with registry.program() as p:
        key = p.create_key(p.test_root / "values")
        write = p.set_value(key, "v", data, type=kind)
        read = p.query_value(key, "V", length=len(data) + 64)

    assert write.status == NTSTATUS.SUCCESS
    assert read.status == NTSTATUS.SUCCESS
    assert (read.type, read.data) == (kind, data)


@pytest.mark.parametrize("name", ["", "with space", "back\\slash", "ünïcödé", "x" * 200])
def test_values_of_any_name(registry: Registry, name: str) -> None:
    """Any character may be in a name; the empty one is the default (sysinfo/structure-of-the-registry)."""
    with registry.program() as p:
        key = p.create_key(p.test_root / "names")
        p.set_value(key, name, "here")
        read = p.query_value(key, name)
        gone = p.delete_value(key, name)
        again = p.query_value(key, name)

    assert read.text == "here"
    assert gone.status == NTSTATUS.SUCCESS
    assert again.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_a_buffer_too_small_is_told_how_much_is_needed(registry: Registry) -> None:
    """ZwQueryValueKey: STATUS_BUFFER_TOO_SMALL and STATUS_BUFFER_OVERFLOW (nf-wdm-zwqueryvaluekey)."""
    data = bytes(100)
    with registry.program() as p:
        key = p.create_key(p.test_root / "sizes")
        p.set_value(key, "v", data, type=ValueType.BINARY)
        nothing = p.query_value(key, "v", KeyValueInformationClass.PARTIAL, length=4)
        part = p.query_value(key, "v", KeyValueInformationClass.PARTIAL, length=20)
        whole = p.query_value(key, "v", KeyValueInformationClass.PARTIAL, length=112)

    assert nothing.status == NTSTATUS.BUFFER_TOO_SMALL
    assert part.status == NTSTATUS.BUFFER_OVERFLOW
    assert whole.status == NTSTATUS.SUCCESS
    assert part.result_length == whole.result_length == 112


def test_keys_and_values_are_enumerated_each_once(registry: Registry) -> None:
    """ZwEnumerateKey, ZwEnumerateValueKey: by index, STATUS_NO_MORE_ENTRIES at the end."""
    with registry.program() as p:
        key = p.create_key(p.test_root / "list")
        for name in ("b", "a", "C"):
            p.close(p.create_key(key / name))
            p.set_value(key, f"v{name}", 1)
        keys = p.enumerate_keys(key, 3)
        values = p.enumerate_values(key, 3)
        beyond_keys = p.enumerate_key(key, 3)
        beyond_values = p.enumerate_value(key, 3)
        full = p.query_key(key, KeyInformationClass.FULL)

    assert sorted(keys.names) == ["C", "a", "b"]
    assert sorted(values.names) == ["vC", "va", "vb"]
    assert beyond_keys.status == beyond_values.status == NTSTATUS.NO_MORE_ENTRIES
    assert (full.key_information.subkeys, full.key_information.values) == (3, 3)


def test_a_key_with_subkeys_is_not_deleted(registry: Registry, record: Recorder) -> None:
    """ZwDeleteKey fails while there are subkeys (nf-wdm-zwdeletekey, which names no status)."""
    with registry.program() as p:
        parent = p.create_key(p.test_root / "parent")
        child = p.create_key(parent / "child")
        refused = p.delete_key(parent)
        p.delete_key(child)
        done = p.delete_key(parent)
        gone = p.open_key(p.test_root / "parent", access=KEY_READ)

    record("status", refused.status_name)
    assert not refused.succeeded
    assert done.status == NTSTATUS.SUCCESS
    assert gone.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_a_deleted_key_is_dead_for_its_open_handles(registry: Registry) -> None:
    """Handles stay valid, operations answer STATUS_KEY_DELETED (nf-wdm-zwdeletekey, ntstatus.h)."""
    with registry.program() as p:
        key = p.create_key(p.test_root / "dead")
        other = p.open_key(p.test_root / "dead", access=KEY_ALL_ACCESS)
        p.delete_key(key)
        write = p.set_value(other, "v", 1)
        closed = p.close(other)

    assert write.status == NTSTATUS.KEY_DELETED
    assert closed.status == NTSTATUS.SUCCESS


def test_access_that_was_not_asked_for_is_denied(registry: Registry) -> None:
    """A handle allows what its DesiredAccess named (sysinfo/registry-key-security-and-access-rights)."""
    with registry.program() as p:
        p.close(p.create_key(p.test_root / "readonly"))
        key = p.open_key(p.test_root / "readonly", access=KEY_READ)
        write = p.set_value(key, "v", 1)
        delete = p.delete_key(key)

    assert write.status == NTSTATUS.ACCESS_DENIED
    assert delete.status == NTSTATUS.ACCESS_DENIED


def test_a_volatile_key_takes_no_stable_subkey(registry: Registry) -> None:
    """STATUS_CHILD_MUST_BE_VOLATILE (nf-wdm-zwcreatekey: REG_OPTION_VOLATILE)."""
    with registry.program() as p:
        key = p.create_key(p.test_root / "volatile", options=KeyOptions.VOLATILE)
        stable = p.create_key(key / "stable")
        fleeting = p.create_key(key / "fleeting", options=KeyOptions.VOLATILE)

    assert stable.status == NTSTATUS.CHILD_MUST_BE_VOLATILE
    assert fleeting.status == NTSTATUS.SUCCESS


def test_a_bad_handle_is_refused(registry: Registry) -> None:
    """STATUS_INVALID_HANDLE (ntstatus.h)."""
    with registry.program() as p:
        write = p.set_value(p.null_handle(), "v", 1)

    assert write.status == NTSTATUS.INVALID_HANDLE


def test_operations_take_place_in_the_process_and_thread_that_are_named(registry: Registry) -> None:
    """Of the harness itself: what a filter is told about who asks rests on it."""
    with registry.program() as p:
        here = p.create_key(p.test_root / "here")
        with p.on(thread=1):
            beside = p.create_key(p.test_root / "beside")

    assert here.process_id == beside.process_id
    assert here.thread_id != beside.thread_id


@pytest.mark.requires("two-processes")
def test_a_handle_is_of_its_process_alone(registry: Registry) -> None:
    """A handle is an index into its process's table (sysinfo/handles-and-objects)."""
    with registry.program() as p:
        here = p.create_key(p.test_root / "mine")
        with p.on(process="second"):
            foreign = p.query_key(here, KeyInformationClass.BASIC, length=512)
        own = p.query_key(here, KeyInformationClass.BASIC, length=512)

    assert foreign.process_id != here.process_id
    assert own.name == "mine"
    # The number may mean something else there, but never this key.
    assert not (foreign.succeeded and foreign.name == "mine")
