"""Save, merged save, restore, replace."""

from typing import Any

import pytest

from harness.reference.cm.image import HiveImage, KeyImage, ValueImage
from harness.reference.cm.manager import Caller
from harness.reference.cm.regf_read import read_hive
from harness.reference.cm.regf_write import write_hive
from harness.reference.cm.sddl import parse_sddl
from harness.reference.cm.tokens import SYSTEM
from harness.registry.options import KeyOptions, LoadFlags, SaveFormat
from harness.registry.status import NTSTATUS

FILE = "C:\\hive.dat"
SECURITY = parse_sddl("O:BAG:SYD:P(A;CI;KA;;;BA)(A;CI;KA;;;SY)").encode()


@pytest.fixture
def tree(machine: Any) -> Any:
    top = machine.create("Top", start=machine.test, class_name="top")
    machine.cm.set_value(top, "v", 1, b"1")
    one = machine.create("One", start=top)
    machine.cm.set_value(one, "big", 3, b"z" * 40_000)
    machine.create("Volatile", start=top, options=KeyOptions.VOLATILE)
    return top


@pytest.mark.parametrize(("form", "minor"), [(SaveFormat.STANDARD, 3), (SaveFormat.LATEST, 5)])
def test_saved_trees_restore(machine: Any, admin: Caller, tree: Any, form: int, minor: int) -> None:
    saved = machine.cm.save_key(tree, form, caller=admin)
    assert saved.status == NTSTATUS.SUCCESS
    image = read_hive(saved.data)
    assert image.minor_version == minor
    assert [key.name for key in image.root.subkeys] == ["One"]
    target = machine.create("Target", start=machine.test)
    machine.create("gone", start=target)
    machine.cm.set_value(target, "gone", 1, b"")
    assert machine.cm.restore_key(target, saved.data, 0, caller=admin) == NTSTATUS.SUCCESS
    assert target.name == "Target"
    assert target.class_name == "top"
    assert machine.names(target) == ["One"]
    assert machine.data(target, "v") == b"1"
    assert machine.data(target, "gone") is None
    assert machine.data(machine.parse("One", start=target).key, "big") == b"z" * 40_000
    assert machine.cm.path_of(target.subkey("one")).endswith(r"\Test\Target\One")


def test_formats(machine: Any, admin: Caller, tree: Any) -> None:
    root = machine.parse(r"MACHINE\SOFTWARE").key
    whole = machine.cm.save_key(root, SaveFormat.NO_COMPRESSION, caller=admin)
    assert whole.status == NTSTATUS.SUCCESS
    for key, form in ((tree, SaveFormat.NO_COMPRESSION), (tree, 0), (tree, 3), (root, 8)):
        assert machine.cm.save_key(key, form, caller=admin).status == NTSTATUS.INVALID_PARAMETER
    status = machine.cm.save_key(machine.cm.machine, SaveFormat.LATEST, caller=admin).status
    assert status == NTSTATUS.ACCESS_DENIED


def test_privileges(machine: Any, user: Caller, tree: Any) -> None:
    cm = machine.cm
    assert {
        cm.save_key(tree, 1, caller=user).status,
        cm.save_merged_keys(tree, tree, caller=user).status,
        cm.restore_key(tree, b"", 0, caller=user),
        cm.replace_key(tree, FILE, "C:\\old.dat", caller=user),
    } == {NTSTATUS.PRIVILEGE_NOT_HELD}


def test_open_subkeys_refuse_a_restore_unless_forced(machine: Any, admin: Caller, tree: Any) -> None:
    data = machine.cm.save_key(tree, SaveFormat.LATEST, caller=admin).data
    one = tree.subkey("One")
    machine.cm.opened(tree, 1)  # the key itself may be open
    assert machine.cm.restore_key(tree, data, 0, caller=admin) == NTSTATUS.SUCCESS
    one = tree.subkey("One")
    machine.cm.opened(one, 1)
    assert machine.cm.restore_key(tree, data, 0, caller=admin) == NTSTATUS.ACCESS_DENIED  # B-HIV-25
    assert machine.cm.restore_key(tree, data, LoadFlags.FORCE_RESTORE, caller=admin) == NTSTATUS.SUCCESS
    assert machine.cm.query_key(one, 0, 100).status == NTSTATUS.KEY_DELETED
    assert machine.names(tree) == ["One"]


def test_restoring_what_is_no_hive(machine: Any, admin: Caller, tree: Any) -> None:
    status = machine.cm.restore_key(tree, b"nonsense", 0, caller=admin)
    assert status == NTSTATUS.NOT_REGISTRY_FILE
    assert machine.names(tree) == ["One", "Volatile"]


@pytest.mark.parametrize("flags", [LoadFlags.WHOLE_HIVE_VOLATILE, LoadFlags.NO_LAZY_FLUSH, 0x80000000])
def test_flags_that_do_not_fit(machine: Any, admin: Caller, tree: Any, flags: int) -> None:
    data = machine.cm.save_key(tree, SaveFormat.LATEST, caller=admin).data
    assert machine.cm.restore_key(tree, data, flags, caller=admin) == NTSTATUS.INVALID_PARAMETER


def test_a_volatile_hive_below_the_machine(machine: Any, admin: Caller, tree: Any) -> None:
    data = machine.cm.save_key(tree, SaveFormat.LATEST, caller=admin).data
    flags = LoadFlags.WHOLE_HIVE_VOLATILE
    assert machine.cm.restore_key(machine.cm.machine, data, flags, caller=admin) == NTSTATUS.SUCCESS
    key = machine.parse(r"MACHINE\One").key
    assert key.volatile
    assert key.is_hive_root
    assert machine.cm.restore_key(machine.cm.machine, data, flags, caller=admin) == NTSTATUS.ACCESS_DENIED


def test_refresh_goes_back_to_the_file(machine: Any, admin: Caller) -> None:
    system = Caller(SYSTEM, process=4)
    flags = LoadFlags.NO_LAZY_FLUSH
    root = machine.cm.load_key(machine.cm.root, "MACHINE\\H", FILE, flags, caller=admin).root
    machine.cm.set_value(root, "kept", 1, b"")
    machine.cm.flush_key(root)
    machine.cm.set_value(root, "lost", 1, b"")
    refresh = LoadFlags.REFRESH_HIVE
    assert machine.cm.restore_key(root, b"", refresh, caller=admin) == NTSTATUS.PRIVILEGE_NOT_HELD
    assert machine.cm.restore_key(root, b"", refresh, caller=system) == NTSTATUS.SUCCESS
    assert machine.data(root, "kept") == b""
    assert machine.data(root, "lost") is None
    assert machine.cm.restore_key(machine.test, b"", refresh, caller=system) == NTSTATUS.INVALID_PARAMETER


def test_replace_exchanges_the_files(machine: Any, admin: Caller) -> None:
    root = machine.load(FILE)
    machine.cm.set_value(root, "v", 1, b"old")
    new = write_hive(HiveImage(KeyImage("n", SECURITY, 1, values=[ValueImage("v", 1, b"new")])))
    machine.cm.files.write("C:\\new.dat", new)
    below = machine.create("below", start=root)
    status = machine.cm.replace_key(below, "\\??\\C:\\new.dat", "C:\\backup.dat", caller=admin)
    assert status == NTSTATUS.SUCCESS
    assert machine.data(root, "v") == b"old"  # in memory until the next boot (B-HIV-13)
    assert machine.cm.unload_key(root, caller=admin) == NTSTATUS.SUCCESS
    assert machine.cm.files.read(FILE) == new
    assert read_hive(machine.cm.files.read("C:\\backup.dat")).root.values[0].data == b"old"


def test_replace_needs_a_hive_file(machine: Any, admin: Caller) -> None:
    root = machine.load(FILE)
    machine.cm.files.write("C:\\new.dat", b"nonsense")
    cm = machine.cm
    assert cm.replace_key(root, "C:\\new.dat", "C:\\b.dat", caller=admin) == NTSTATUS.NOT_REGISTRY_FILE
    assert cm.replace_key(root, "C:\\no.dat", "C:\\b.dat", caller=admin) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert not cm.files.exists("C:\\b.dat")


def test_a_merge_prefers_the_high_tree(machine: Any, admin: Caller) -> None:
    high, low = machine.create("high", start=machine.test), machine.create("low", start=machine.test)
    for tree, text, own in ((high, b"h", "h"), (low, b"l", "l")):
        machine.cm.set_value(tree, "both", 1, text)
        machine.cm.set_value(tree, own, 1, text)
        inner = machine.create("INNER" if own == "h" else "inner", start=tree)
        machine.cm.set_value(inner, "both", 1, text)
        machine.create("only " + own, start=tree)
    result = machine.cm.save_merged_keys(high, low, caller=admin)
    image = read_hive(result.data).root
    assert {value.name: value.data for value in image.values} == {"both": b"h", "h": b"h", "l": b"l"}
    assert [key.name for key in image.subkeys] == ["INNER", "only h", "only l"]
    assert image.subkeys[0].values[0].data == b"h"
    cm = machine.cm
    assert cm.save_merged_keys(high, cm.machine, caller=admin).status == NTSTATUS.ACCESS_DENIED


def test_deep_trees_save_merge_and_restore(machine: Any, admin: Caller) -> None:
    top = machine.create("top", start=machine.test)
    key = top
    for _ in range(509):
        key = machine.create("d", start=key)
    machine.cm.set_value(key, "bottom", 1, b"")
    saved = machine.cm.save_merged_keys(top, top, caller=admin).data
    other = machine.create("other", start=machine.test)
    assert machine.cm.restore_key(other, saved, 0, caller=admin) == NTSTATUS.SUCCESS
    assert machine.data(machine.parse("\\".join("d" * 509), start=other).key, "bottom") == b""
