"""Loading, unloading and flushing hives; application hives."""

from typing import Any

import pytest

from harness.reference.cm.filesystem import FileError
from harness.reference.cm.image import HiveImage, KeyImage, ValueImage
from harness.reference.cm.manager import Caller
from harness.reference.cm.regf_read import read_hive
from harness.reference.cm.regf_write import write_hive
from harness.reference.cm.sddl import format_sddl, parse_sddl
from harness.reference.cm.tokens import STANDARD_USER, SYSTEM
from harness.registry.access import KEY_ALL_ACCESS, KEY_READ, KEY_SET_VALUE, SecurityInformation
from harness.registry.options import KeyOptions, LoadFlags
from harness.registry.status import NTSTATUS
from harness.registry.version import VISTA, WIN7, WIN8, WS03

FILE = "C:\\test\\app.dat"
EVERYBODY = parse_sddl("O:BAG:SYD:P(A;CI;KA;;;WD)").encode()
READERS = parse_sddl("O:BAG:SYD:P(A;CI;KR;;;WD)").encode()


def put(machine: Any, *keys: KeyImage, root: bytes = EVERYBODY) -> None:
    image = KeyImage("root", root, 1, values=[ValueImage("v", 1, b"1")], subkeys=list(keys))
    machine.cm.files.write(FILE, write_hive(HiveImage(image)))


# -- ordinary hives -----------------------------------------------------------------------------------------


def test_load_use_unload(machine: Any, admin: Caller) -> None:
    put(machine, KeyImage("sub", EVERYBODY, 2, "cls"))
    root = machine.load("\\??\\" + FILE.lower())
    assert machine.cm.path_of(root) == r"\REGISTRY\MACHINE\Loaded"
    assert machine.parse(r"MACHINE\loaded\SUB").key.class_name == "cls"
    machine.cm.set_value(root, "w", 3, b"2")
    with pytest.raises(FileError, match="STATUS_SHARING_VIOLATION"):
        machine.cm.files.read(FILE)
    assert machine.cm.unload_key(root, caller=admin) == NTSTATUS.SUCCESS
    assert machine.status(r"MACHINE\Loaded") == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert [value.name for value in read_hive(machine.cm.files.read(FILE)).root.values] == ["v", "w"]


def test_a_missing_file_is_created(machine: Any) -> None:
    sddl = "O:BAG:SYD:P(A;CI;KA;;;BA)"
    result = machine.cm.load_key(
        machine.cm.root,
        "USER\\New",
        FILE,
        0,
        caller=Caller(SYSTEM),
        security_descriptor=parse_sddl(sddl).encode(),
    )
    assert (result.status, result.created) == (NTSTATUS.SUCCESS, True)
    assert format_sddl(result.root.state().security) == sddl
    assert machine.cm.files.exists(FILE)


def test_privileges_are_needed(machine: Any, user: Caller, kernel: Caller) -> None:
    def load(caller: Caller) -> int:
        status: int = machine.cm.load_key(machine.cm.root, "MACHINE\\H", FILE, 0, caller=caller).status
        return status

    assert load(user) == NTSTATUS.PRIVILEGE_NOT_HELD
    assert load(kernel) == NTSTATUS.SUCCESS
    root = machine.parse("MACHINE\\H").key
    assert machine.cm.unload_key(root, caller=user) == NTSTATUS.PRIVILEGE_NOT_HELD


@pytest.mark.parametrize(
    ("name", "file", "status"),
    [
        ("MACHINE\\SOFTWARE", FILE, NTSTATUS.ACCESS_DENIED),
        ("MACHINE\\SOFTWARE\\Deep", FILE, NTSTATUS.ACCESS_DENIED),
        ("MACHINE\\a\\b", FILE, NTSTATUS.ACCESS_DENIED),
        ("A\\x", FILE, NTSTATUS.ACCESS_DENIED),
        ("MACHINE\\" + "x" * 256, FILE, NTSTATUS.INVALID_PARAMETER),
        ("MACHINE\\x", "nonsense", NTSTATUS.OBJECT_PATH_SYNTAX_BAD),
        ("MACHINE\\x", "C:\\Windows\\System32\\config\\SYSTEM", NTSTATUS.SHARING_VIOLATION),
    ],
)
def test_loads_that_fail(machine: Any, admin: Caller, name: str, file: str, status: int) -> None:
    assert machine.cm.load_key(machine.cm.root, name, file, 0, caller=admin).status == status


def test_files_that_are_no_hives(machine: Any, admin: Caller) -> None:
    put(machine)
    good = machine.cm.files.read(FILE)
    for data, status in (
        (b"", NTSTATUS.NOT_REGISTRY_FILE),
        (b"MZ" + good[2:], NTSTATUS.NOT_REGISTRY_FILE),
        (good[:5000], NTSTATUS.REGISTRY_CORRUPT),
    ):
        machine.cm.files.write(FILE, data)
        result = machine.cm.load_key(machine.cm.root, "MACHINE\\x", FILE, 0, caller=admin)
        assert result.status == status
        assert machine.cm.files.holder(FILE) is None


def test_the_same_file_twice(machine: Any, admin: Caller) -> None:
    machine.load(FILE)
    again = machine.cm.load_key(machine.cm.root, "MACHINE\\Other", FILE, 0, caller=admin)
    assert again.status == NTSTATUS.SHARING_VIOLATION


def test_open_keys_keep_a_hive(machine: Any, admin: Caller) -> None:
    root = machine.load(FILE)
    key = machine.create("k", start=root)
    machine.cm.opened(root, 1)  # the unload's own
    machine.cm.opened(key, 1)
    assert machine.cm.unload_key(root, caller=admin, own_references=1) == NTSTATUS.CANNOT_DELETE
    machine.cm.closed(key, 1)
    assert machine.cm.unload_key(root, caller=admin, own_references=1) == NTSTATUS.SUCCESS
    assert machine.cm.closed(root, 1) is None


def test_a_forced_unload_leaves_dead_keys(machine: Any, admin: Caller) -> None:
    root = machine.load(FILE)
    key = machine.create("k", start=root)
    machine.cm.opened(key, 1)
    assert machine.cm.unload_key(root, caller=admin, force=True) == NTSTATUS.SUCCESS
    assert machine.cm.query_key(key, 0, 100).status == NTSTATUS.HIVE_UNLOADED
    machine.cm.closed(key, 1)


def test_what_can_not_be_unloaded(machine: Any, admin: Caller) -> None:
    def unload(path: str) -> int:
        status: int = machine.cm.unload_key(machine.parse(path).key, caller=admin)
        return status

    assert unload(r"MACHINE\Software\Test") == NTSTATUS.INVALID_PARAMETER
    assert unload("MACHINE") == NTSTATUS.INVALID_PARAMETER
    assert unload(r"MACHINE\SOFTWARE") == NTSTATUS.CANNOT_DELETE


def test_flush_writes_the_whole_hive_and_no_volatile_key(machine: Any) -> None:
    root = machine.load(FILE)
    one = machine.create("one", start=root)
    machine.create("two", start=root)
    machine.create("volatile", start=root, options=KeyOptions.VOLATILE)
    assert machine.cm.flush_key(one) == NTSTATUS.SUCCESS
    written = read_hive(machine.cm.files.read(FILE, owner=root.hive))
    assert [key.name for key in written.root.subkeys] == ["one", "two"]
    assert not root.hive.dirty


def test_read_only_hives_leave_their_file_alone(machine: Any, admin: Caller) -> None:
    put(machine)
    before = machine.cm.files.read(FILE)
    flags = LoadFlags.OPEN_READ_ONLY
    root = machine.cm.load_key(machine.cm.root, "MACHINE\\R", FILE, flags, caller=admin).root
    machine.cm.set_value(root, "w", 1, b"")
    assert machine.cm.unload_key(root, caller=admin) == NTSTATUS.SUCCESS
    assert machine.cm.files.read(FILE) == before
    missing = machine.cm.load_key(machine.cm.root, "MACHINE\\R", "C:\\no.dat", flags, caller=admin)
    assert missing.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


# -- application hives ------------------------------------------------------------------------------------


def test_an_application_hive_is_made_used_and_unloaded_by_itself(machine: Any, user: Caller) -> None:
    # No privilege is needed (B-APP-11), a missing file is made (B-APP-12).
    loaded = machine.load_app(FILE, caller=user)
    assert (loaded.status, loaded.created) == (NTSTATUS.SUCCESS, True)
    assert loaded.granted_access == KEY_ALL_ACCESS
    assert machine.cm.path_of(loaded.root) == r"\REGISTRY\A\{1}"  # B-APP-02
    key = machine.create("sub", start=loaded.root, caller=user)  # B-APP-10
    machine.cm.opened(key, user.process)
    machine.cm.set_value(key, "v", 1, b"data")
    assert machine.cm.closed(loaded.root, user.process) is None
    with pytest.raises(FileError):
        machine.cm.files.read(FILE)
    assert machine.cm.closed(key, user.process) is loaded.hive  # B-APP-07
    assert read_hive(machine.cm.files.read(FILE)).root.subkeys[0].values[0].data == b"data"


@pytest.mark.parametrize("path", ["A", "A\\{1}", "a\\{1}\\sub", "A\\other"])
def test_nobody_gets_there_by_path(machine: Any, path: str, kernel: Caller) -> None:
    loaded = machine.load_app(FILE)
    machine.create("sub", start=loaded.root)
    assert machine.status(path) == NTSTATUS.ACCESS_DENIED  # B-APP-03
    assert machine.status(path, caller=kernel) == NTSTATUS.ACCESS_DENIED
    assert machine.status(path, create=True) == NTSTATUS.ACCESS_DENIED
    assert machine.status("sub", start=loaded.root) == NTSTATUS.SUCCESS


def test_application_hives_are_not_enumerated(machine: Any) -> None:
    machine.load_app(FILE)
    assert machine.names(machine.cm.applications) == []  # B-APP-06


def test_one_descriptor_for_the_whole_hive(machine: Any, admin: Caller) -> None:
    put(machine, KeyImage("sub", EVERYBODY, 2))
    loaded = machine.load_app(FILE)
    given = parse_sddl("D:P(A;;KR;;;BA)").encode()
    key = machine.create("new", start=loaded.root, descriptor=given)
    assert key.state().security == loaded.root.state().security
    status = machine.cm.set_security(key, SecurityInformation.DACL, given, caller=admin)
    assert status == NTSTATUS.ACCESS_DENIED  # B-APP-08


def test_different_descriptors_fail_the_load(machine: Any) -> None:
    put(machine, KeyImage("sub", READERS, 2))
    assert machine.load_app(FILE).status == NTSTATUS.ACCESS_DENIED  # B-APP-09
    assert machine.cm.files.holder(FILE) is None
    assert machine.cm.applications.state().subkeys == {}


def test_the_descriptor_must_grant_what_is_asked(machine: Any, user: Caller) -> None:
    put(machine, root=READERS)
    assert machine.load_app(FILE, caller=user, access=KEY_SET_VALUE).status == NTSTATUS.ACCESS_DENIED
    assert machine.cm.files.holder(FILE) is None
    assert machine.load_app(FILE, caller=user, access=KEY_READ).granted_access == KEY_READ


def test_a_second_load_shares_the_hive(machine: Any, admin: Caller, user: Caller) -> None:
    put(machine)
    first = machine.load_app(FILE, caller=admin)
    second = machine.load_app(FILE.upper(), caller=user, name="{2}")
    assert (second.root, second.shared) == (first.root, True)  # B-APP-13
    assert machine.cm.closed(first.root, admin.process) is None
    assert machine.cm.closed(second.root, user.process) is first.hive


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_exclusive_loads(machine: Any, user: Caller, first: bool, second: bool) -> None:
    loaded = machine.load_app(FILE, exclusive=first)
    again = machine.load_app(FILE, caller=user, exclusive=second, name="{2}")
    assert again.status == NTSTATUS.SHARING_VIOLATION  # B-APP-13
    machine.cm.closed(loaded.root, 100)
    assert machine.load_app(FILE, caller=user, exclusive=second, name="{2}").status == NTSTATUS.ACCESS_DENIED
    # ... by the descriptor of whoever made it, not by the exclusive load.
    assert machine.load_app(FILE, exclusive=second, name="{2}").status == NTSTATUS.SUCCESS


@pytest.mark.parametrize("version", [VISTA, WIN7, WIN8], ids=str)
def test_how_many_hives_a_process_may_have(make: Any, version: Any, admin: Caller) -> None:
    machine = make(version)
    first = machine.load_app("C:\\1.dat")
    second = machine.load_app("C:\\2.dat", name="{2}")
    allowed = version >= WIN8
    assert (second.status == NTSTATUS.SUCCESS) is allowed  # B-APP-14
    assert machine.load_app("C:\\1.dat", name="{3}").status == NTSTATUS.SUCCESS  # the same one again
    other = Caller(STANDARD_USER, process=999)
    assert machine.load_app("C:\\3.dat", name="{4}", caller=other).status == NTSTATUS.SUCCESS
    if not allowed:
        machine.cm.closed(first.root, admin.process)
        machine.cm.closed(first.root, admin.process)
        assert machine.load_app("C:\\2.dat", name="{5}").status == NTSTATUS.SUCCESS


def test_before_vista_there_are_none(make: Any) -> None:
    assert make(WS03).load_app(FILE).status == NTSTATUS.INVALID_PARAMETER


def test_a_load_without_a_handle_is_given_back(machine: Any) -> None:
    loaded = machine.load_app(FILE, count=False)
    assert machine.cm.release_unused(loaded.hive)
    assert not machine.cm.release_unused(loaded.hive)
    assert machine.cm.files.holder(FILE) is None


def test_hive_files_travel(machine: Any, make: Any) -> None:
    first = machine.load_app(FILE)
    key = machine.create("Key \u00e4\u4e16", start=first.root, class_name="class")
    machine.cm.set_value(key, "big", 3, bytes(range(256)) * 200)
    machine.cm.closed(first.root, 100)
    other = make(VISTA, 4)
    other.cm.files.write("C:\\x.dat", machine.cm.files.read(FILE))
    second = other.load_app("C:\\x.dat")
    key = other.parse("KEY \u00c4\u4e16", start=second.root).key
    assert other.data(key, "big") == bytes(range(256)) * 200
    assert key.class_name == "class"
