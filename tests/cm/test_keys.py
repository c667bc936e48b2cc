"""Creating, opening, deleting and renaming keys."""

from typing import Any

import pytest

from harness.reference.cm.manager import Caller
from harness.reference.cm.sddl import parse_sddl
from harness.registry.access import (
    ACCESS_SYSTEM_SECURITY,
    DELETE,
    KEY_ALL_ACCESS,
    KEY_QUERY_VALUE,
    KEY_READ,
    KEY_SET_VALUE,
    KEY_WRITE,
    MAXIMUM_ALLOWED,
)
from harness.registry.options import REG_CREATED_NEW_KEY, REG_OPENED_EXISTING_KEY, KeyOptions
from harness.registry.status import NTSTATUS
from harness.registry.version import WIN10_22H2, WIN11_22H2, WIN11_24H2, XP


def test_create_then_open(machine: Any) -> None:
    first = machine.parse("App", start=machine.test, create=True, class_name="cls")
    assert (first.status, first.disposition) == (NTSTATUS.SUCCESS, REG_CREATED_NEW_KEY)
    second = machine.parse(r"MACHINE\SOFTWARE\test\APP", create=True)
    assert (second.status, second.disposition) == (NTSTATUS.SUCCESS, REG_OPENED_EXISTING_KEY)
    assert second.key is first.key
    assert first.key.class_name == "cls"
    assert machine.cm.path_of(first.key) == r"\REGISTRY\MACHINE\SOFTWARE\Test\App"


def test_missing_keys(machine: Any) -> None:
    assert machine.status(r"MACHINE\Software\Test\No") == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert machine.status(r"MACHINE\Software\Test\No\Deep") == NTSTATUS.OBJECT_NAME_NOT_FOUND
    # Only the last level is made (B-CRE-15: Win32 makes the levels one by one).
    assert machine.status(r"MACHINE\Software\Test\No\Deep", create=True) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert machine.names(machine.test) == []


def test_an_empty_name_is_the_key_itself(machine: Any) -> None:
    assert machine.parse("", start=machine.test).key is machine.test


@pytest.mark.parametrize("name", ["MACHINE\\New", "USER\\New", "New"])
def test_only_hives_live_at_the_top(machine: Any, name: str) -> None:
    assert machine.status(name, create=True) == NTSTATUS.INVALID_PARAMETER


def test_name_limits(machine: Any) -> None:
    assert machine.status("x" * 255, start=machine.test, create=True) == NTSTATUS.SUCCESS
    assert machine.status("x" * 256, start=machine.test, create=True) == NTSTATUS.INVALID_PARAMETER
    # An astral character is two units.
    assert machine.status("\U0001f511" * 128, start=machine.test, create=True) == NTSTATUS.INVALID_PARAMETER


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "/", " ", "\u0131", "name with trailing dot."])
def test_odd_names(machine: Any, name: str) -> None:
    key = machine.create(name, start=machine.test)
    assert machine.parse(name, start=machine.test).key is key


def test_depth_limit(machine: Any) -> None:
    key = machine.test  # level 1 of its hive
    for _ in range(511):
        key = machine.create("d", start=key)
    assert machine.status("d", start=key, create=True) == NTSTATUS.INVALID_PARAMETER


def test_volatile_keys_have_volatile_children_only(machine: Any) -> None:
    key = machine.create("v", start=machine.test, options=KeyOptions.VOLATILE)
    assert machine.status("s", start=key, create=True) == NTSTATUS.CHILD_MUST_BE_VOLATILE
    assert machine.status("w", start=key, create=True, options=KeyOptions.VOLATILE) == NTSTATUS.SUCCESS


def test_enumeration_order(machine: Any) -> None:
    machine.create("Vola", start=machine.test, options=KeyOptions.VOLATILE)
    for name in ("b", "_", "A", "C", "\uff21", "\U00010000"):
        machine.create(name, start=machine.test)
    # By upcased UTF-16 units (a surrogate is below U+FF21), volatile keys last.
    assert machine.names(machine.test) == ["A", "b", "C", "_", "\U00010000", "\uff21", "Vola"]


def test_delete(machine: Any) -> None:
    parent = machine.create("p", start=machine.test)
    child = machine.create("c", start=parent)
    assert machine.cm.delete_key(parent) == NTSTATUS.CANNOT_DELETE
    assert machine.cm.delete_key(child) == NTSTATUS.SUCCESS
    assert machine.status("c", start=parent) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert machine.cm.delete_key(parent) == NTSTATUS.SUCCESS


def test_a_deleted_key_answers_nothing_else(machine: Any, admin: Caller) -> None:
    cm, key = machine.cm, machine.create("k", start=machine.test)
    cm.set_value(key, "v", 1, b"")
    assert cm.delete_key(key) == NTSTATUS.SUCCESS
    again = machine.create("k", start=machine.test)
    assert again.object_id != key.object_id
    assert {
        cm.delete_key(key),
        cm.set_value(key, "v", 1, b""),
        cm.delete_value(key, "v"),
        cm.query_value(key, "v", 2, 100).status,
        cm.query_key(key, 0, 100).status,
        cm.enumerate_key(key, 0, 0, 100).status,
        cm.enumerate_value(key, 0, 0, 100).status,
        cm.query_multiple_values(key, ["v"], 100).status,
        cm.rename_key(key, "n", caller=admin),
        cm.flush_key(key),
        cm.query_security(key, 7, 1000).status,
        cm.set_information(key, 0, bytes(8)),
        cm.save_key(key, 1, caller=admin).status,
        machine.status("", start=key),
        machine.status("x", start=key, create=True),
    } == {NTSTATUS.KEY_DELETED}
    assert machine.names(again) == []


def test_roots_can_not_be_deleted(machine: Any) -> None:
    for path in ("", "MACHINE", r"MACHINE\SOFTWARE", r"USER\.DEFAULT"):
        assert machine.cm.delete_key(machine.parse(path).key) == NTSTATUS.CANNOT_DELETE


def test_rename(machine: Any, admin: Caller) -> None:
    cm, key = machine.cm, machine.create("old", start=machine.test)
    inner = machine.create("inner", start=key)
    identifier = key.object_id
    machine.create("taken", start=machine.test)
    assert cm.rename_key(key, "New", caller=admin) == NTSTATUS.SUCCESS
    assert cm.path_of(inner) == r"\REGISTRY\MACHINE\SOFTWARE\Test\New\inner"
    assert key.object_id == identifier  # B-INF-06
    assert machine.status("old", start=machine.test) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert machine.parse("new", start=machine.test).key is key
    assert cm.rename_key(key, "TAKEN", caller=admin) == NTSTATUS.CANNOT_DELETE
    assert cm.rename_key(key, "NEW", caller=admin) == NTSTATUS.SUCCESS
    assert machine.names(machine.test) == ["NEW", "taken"]


@pytest.mark.parametrize("name", ["", "a\\b", "x" * 256])
def test_rename_to_what_is_no_name(machine: Any, admin: Caller, name: str) -> None:
    key = machine.create("k", start=machine.test)
    assert machine.cm.rename_key(key, name, caller=admin) == NTSTATUS.INVALID_PARAMETER


def test_rename_needs_rights_on_the_whole_subtree(machine: Any, admin: Caller, user: Caller) -> None:
    key = machine.create("k", start=machine.test)
    assert machine.cm.rename_key(key, "n", caller=user) == NTSTATUS.ACCESS_DENIED
    guarded = parse_sddl("O:SYG:SYD:P(A;;KR;;;BA)(A;;KA;;;SY)").encode()
    machine.create("guarded", start=key, descriptor=guarded, access=KEY_READ)
    assert machine.cm.rename_key(key, "n", caller=admin) == NTSTATUS.ACCESS_DENIED


def test_hive_roots_keep_their_name(machine: Any, admin: Caller) -> None:
    root = machine.parse(r"MACHINE\SOFTWARE").key
    assert machine.cm.rename_key(root, "x", caller=admin) == NTSTATUS.ACCESS_DENIED


def test_write_times_of_key_and_parent(machine: Any, admin: Caller) -> None:
    before = machine.test.state().last_write
    key = machine.create("k", start=machine.test)
    created = machine.test.state().last_write
    assert created > before
    machine.cm.set_value(key, "v", 1, b"")
    assert key.state().last_write > created
    assert machine.test.state().last_write == created
    written = key.state().last_write
    machine.cm.rename_key(key, "renamed", caller=admin)
    assert key.state().last_write > written
    machine.cm.delete_key(key)
    assert machine.test.state().last_write > created


# -- access -------------------------------------------------------------------------------------------


def test_standard_users_read_and_do_not_write(machine: Any, user: Caller) -> None:
    assert machine.parse(r"MACHINE\Software\Test", caller=user, access=KEY_READ).granted_access == KEY_READ
    assert machine.status(r"MACHINE\Software\Test", caller=user, access=KEY_WRITE) == NTSTATUS.ACCESS_DENIED
    assert machine.status("n", start=machine.test, caller=user, create=True) == NTSTATUS.ACCESS_DENIED
    assert machine.status(r"MACHINE\SAM\SAM", caller=user, access=KEY_READ) == NTSTATUS.ACCESS_DENIED


def test_maximum_allowed(machine: Any, user: Caller, admin: Caller) -> None:
    def granted(caller: Caller) -> int:
        return machine.parse(r"MACHINE\Software\Test", caller=caller, access=MAXIMUM_ALLOWED).granted_access

    assert granted(user) == KEY_READ
    assert granted(admin) == KEY_ALL_ACCESS


def test_the_system_is_not_checked_unless_it_asks(machine: Any, kernel: Caller) -> None:
    # B-CRE-06: an administrator may not delete below Enum; an unchecked replay may.
    path = r"MACHINE\SYSTEM\ControlSet001\Enum"
    assert machine.status(path, access=DELETE) == NTSTATUS.ACCESS_DENIED
    assert machine.parse(path, caller=kernel, access=DELETE).granted_access == DELETE


def test_view_bits_are_no_rights(machine: Any) -> None:
    result = machine.parse(r"MACHINE\Software\Test", access=KEY_QUERY_VALUE | 0x100)
    assert result.granted_access == KEY_QUERY_VALUE


def test_the_creator_is_held_to_the_descriptor_it_gives(machine: Any) -> None:
    descriptor = parse_sddl("D:P(A;;KR;;;BA)").encode()
    status = machine.status("k", start=machine.test, create=True, descriptor=descriptor)
    assert status == NTSTATUS.ACCESS_DENIED
    assert machine.names(machine.test) == []
    result = machine.parse(
        "k", start=machine.test, create=True, descriptor=descriptor, access=KEY_QUERY_VALUE
    )
    assert result.granted_access == KEY_QUERY_VALUE


def test_a_broken_descriptor_creates_nothing(machine: Any) -> None:
    status = machine.status("k", start=machine.test, create=True, descriptor=b"\1\0\0\x80nonsense" * 3)
    assert status == NTSTATUS.INVALID_SECURITY_DESCR
    assert machine.names(machine.test) == []


def test_backup_restore_option_goes_by_privilege(machine: Any, user: Caller) -> None:
    result = machine.parse(r"MACHINE\SAM\SAM", access=KEY_SET_VALUE, options=KeyOptions.BACKUP_RESTORE)
    assert result.granted_access == ACCESS_SYSTEM_SECURITY | KEY_READ | KEY_WRITE | DELETE
    status = machine.status(
        r"MACHINE\SAM\SAM", caller=user, access=KEY_READ, options=KeyOptions.BACKUP_RESTORE
    )
    assert status == NTSTATUS.ACCESS_DENIED


# -- the tree a machine starts with -----------------------------------------------------------------------


def test_the_machine_knows_its_version(make: Any) -> None:
    path = r"MACHINE\Software\Microsoft\Windows NT\CurrentVersion"
    new, old = make(WIN11_24H2), make(XP, 4)
    assert new.data(new.parse(path).key, "CurrentBuildNumber") == "26100\0".encode("utf-16-le")
    assert new.data(new.parse(path).key, "CurrentMajorVersionNumber") == b"\x0a\0\0\0"
    assert old.data(old.parse(path).key, "CurrentVersion") == "5.1\0".encode("utf-16-le")
    assert old.status("A") == NTSTATUS.ACCESS_DENIED
    assert old.cm.applications is None


def test_top_level_is_enumerated(machine: Any) -> None:
    assert machine.names(machine.cm.machine) == ["HARDWARE", "SAM", "SECURITY", "SOFTWARE", "SYSTEM"]
    assert machine.names(machine.cm.root) == ["A", "MACHINE", "USER"]


@pytest.mark.parametrize(
    ("version", "status"),
    [(WIN10_22H2, NTSTATUS.PREDEFINED_HANDLE), (WIN11_22H2, NTSTATUS.SUCCESS)],
    ids=str,
)
def test_predefined_handle_keys(make: Any, version: Any, status: int) -> None:
    path = r"MACHINE\Software\Microsoft\Windows NT\CurrentVersion\Perflib\009"
    result = make(version).parse(path)
    assert result.status == status
    assert result.key is not None
