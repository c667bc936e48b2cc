"""The registry services with filters, without an emulator: structures, capture, statuses, versions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from filtering_world import Callback, Notification, World

from harness.errors import GuestCrashed
from harness.guest import Arch
from harness.registry.access import KEY_ALL_ACCESS, KEY_READ
from harness.registry.notify import NotifyClass, Post, Pre, delivered_by
from harness.registry.status import NTSTATUS
from harness.registry.version import (
    MODELLED,
    VISTA,
    VISTA_SP2,
    WIN7,
    WIN8,
    WIN10,
    WIN11_24H2,
    WIN81,
    WS03,
    WS2022,
    XP,
    WindowsVersion,
    architectures,
)
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation

ROOT = "\\REGISTRY\\MACHINE\\Software\\FilterTest"
BYPASS = NTSTATUS.CALLBACK_BYPASS
EVERYWHERE = [(version, Arch(arch)) for version in MODELLED for arch in architectures(version)]


def op(opcode: Opcode, **fields: object) -> Operation:
    return Operation(opcode=opcode, **fields)  # type: ignore[arg-type]


def create(out: int = 0, name: str = ROOT, **fields: object) -> Operation:
    return op(Opcode.CREATE_KEY, out=out, name=name, **{"access": KEY_ALL_ACCESS, **fields})


def open_(out: int = 0, name: str = ROOT, **fields: object) -> Operation:
    return op(Opcode.OPEN_KEY, out=out, name=name, **{"access": KEY_ALL_ACCESS, **fields})


def set_value(handle: int = 0, name: str = "v", data: bytes = b"x\0", **fields: object) -> Operation:
    return op(Opcode.SET_VALUE, handle=handle, value_name=name, type=1, data=data, **fields)


def query(handle: int = 0, name: str = "v", length: int = 64) -> Operation:
    return op(Opcode.QUERY_VALUE, handle=handle, value_name=name, info_class=2, length=length)


def close(handle: int = 0) -> Operation:
    return op(Opcode.CLOSE, handle=handle)


def at(*classes: NotifyClass, do: Callback) -> Callback:
    """A callback that acts on some classes and passes the others."""
    return lambda note: do(note) if note.notify_class in classes else 0


def returns(status: int) -> Callback:
    return lambda note: status


def altitude(version: WindowsVersion, text: str) -> str | None:
    return text if version.has_layering else None


@pytest.mark.parametrize(("version", "arch"), EVERYWHERE)
def test_every_delivered_class_of_ordinary_operations(version: WindowsVersion, arch: Arch) -> None:
    world = World(version, arch)
    world.add("monitor", altitude(version, "380010"))
    result = world.run(
        create(),
        set_value(),
        query(),
        op(Opcode.ENUMERATE_VALUE, handle=0, index=0, info_class=1, length=64),
        op(Opcode.QUERY_MULTIPLE, handle=0, value_names=("v",), length=16),
        op(Opcode.DELETE_VALUE, handle=0, value_name="v"),
        op(Opcode.QUERY_KEY, handle=0, info_class=2, length=128),
        op(Opcode.SET_INFORMATION_KEY, handle=0, info_class=0, data=bytes(8)),
        op(Opcode.FLUSH_KEY, handle=0),
        op(Opcode.QUERY_SECURITY, handle=0, security_information=4, length=512),
        op(Opcode.SET_SECURITY, handle=0, security_information=4, sddl="D:(A;;KA;;;WD)"),
        op(Opcode.QUERY_OBJECT_NAME, handle=0, length=256),
        create(1, "child", root=0),
        op(Opcode.ENUMERATE_KEY, handle=0, index=0, info_class=0, length=64),
        op(Opcode.RENAME_KEY, handle=1, new_name="renamed"),
        op(Opcode.DELETE_KEY, handle=1),
        close(1),
        open_(1),
        op(Opcode.SAVE_KEY, handle=0, file="C:\\saved.dat"),
        op(Opcode.RESTORE_KEY, handle=0, file="C:\\saved.dat", flags=8),
        op(Opcode.NOTIFY_CHANGE_KEY, handle=0, event=2),
    )
    assert result.statuses[:-1] == (0,) * 20
    ordinary = set(delivered_by(version)) - {
        NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP,
        *(
            c
            for c in NotifyClass
            if c.operation.name in ("LOAD_KEY", "UNLOAD_KEY", "REPLACE_KEY", "SAVE_MERGED_KEY")
        ),
    }
    assert set(world.classes()) == ordinary  # B-VER-02..04, B-HIV-23
    for note in world.seen:
        assert note.context == 0x77  # B-REG-14
        assert note.mode == 1  # B-NOT-32
        assert not world.memory.is_user(note.address)  # B-CAP-13


@pytest.mark.parametrize("version", [VISTA, WIN7, WIN8, WIN11_24H2])
def test_input_is_captured_from_windows_8_on(version: WindowsVersion) -> None:
    world = World(version)
    world.add("monitor", "380010")
    result = world.run(
        create(class_name="Class"),
        set_value(data=b"data"),
        query(),
        op(Opcode.DELETE_VALUE, handle=0, value_name="v"),
    )
    memory = world.memory
    user = not version.captures_input  # B-CAP-03, B-CAP-04

    def buffer(note: Notification, member: str) -> int:
        assert not memory.is_user(note.members[member])
        return note.buffers[member]

    before = world.first(Pre.CreateKeyEx)
    assert not memory.is_user(buffer(before, "CompleteName"))
    assert memory.is_user(buffer(before, "Class")) is user  # B-CAP-12
    assert before.text("Class") == "Class"
    written = world.first(Pre.SetValueKey)
    assert not memory.is_user(buffer(written, "ValueName"))
    assert memory.is_user(written.members["Data"]) is user
    assert (written.members["Data"] == result[1].input_address) is user
    assert memory.is_user(buffer(world.first(Pre.DeleteValueKey), "ValueName")) is user
    read = world.first(Pre.QueryValueKey)
    assert memory.is_user(buffer(read, "ValueName")) is user
    assert read.members["KeyValueInformation"] == result[2].output_address  # B-CAP-06
    assert memory.is_user(read.members["ResultLength"])


def test_a_blocked_write_has_no_effect() -> None:
    world = World(WIN11_24H2)
    blocker = world.add("blocker", "380010", at(Pre.SetValueKey, do=returns(0xC0DE0001)))
    result = world.run(create(), set_value())
    assert result[1].status == 0xC0DE0001  # B-NOT-05
    world.engine.stack.unregister(1, blocker.cookie)
    assert world.run(open_(), query())[1].status == NTSTATUS.OBJECT_NAME_NOT_FOUND  # B-NOT-07


def test_a_bypassed_query_gives_the_callback_s_data() -> None:
    world = World(WIN11_24H2)

    def forge(note: Notification) -> int:
        memory = note.world.memory
        memory.write(note.members["KeyValueInformation"], b"\0\0\0\0\x04\0\0\0\x04\0\0\0\x2a\0\0\0")
        memory.put_u32(note.members["ResultLength"], 16)
        return BYPASS

    world.add("forger", "380010", at(Pre.QueryValueKey, do=forge))
    result = world.run(create(), query())
    assert (result[1].status, result[1].result_length) == (0, 16)  # B-NOT-12
    assert result[1].buffer[12:] == b"\x2a\0\0\0"


def test_a_post_callback_edits_the_output() -> None:
    world = World(WIN11_24H2)

    def edit(note: Notification) -> int:
        note.world.memory.write(note.pre["KeyValueInformation"] + 12, b"z")
        return 0

    world.add("editor", "380010", at(Post.QueryValueKey, do=edit))
    result = world.run(create(), set_value(data=b"ab"), query())
    assert result[2].buffer[12:] == b"zb"  # B-NOT-27


def test_an_override_does_not_undo() -> None:
    world = World(WIN11_24H2)

    def fail(note: Notification) -> int:
        note.put("ReturnStatus", NTSTATUS.ACCESS_DENIED)
        return BYPASS

    world.add("overrider", "380010", at(Post.SetValueKey, do=fail))
    result = world.run(create(), set_value(data=b"ab"), query())
    assert result[1].status == NTSTATUS.ACCESS_DENIED  # B-NOT-20
    assert result[2].buffer[12:] == b"ab"  # B-NOT-25


def substitute(world: World, path: str) -> int:
    """The object of another key with a reference, as a driver gets it by handle."""
    request = [open_(0, path, attributes=0x40)]
    del request
    key = world.cm.root.subkey("MACHINE")
    assert key is not None
    for name in path.split("\\")[3:]:
        key = key.subkey(name)
        assert key is not None
    return world.engine.keys.create(key, 4).address


@pytest.mark.parametrize("granted", [KEY_READ, 0, 0x02000000])
def test_a_bypassed_open_gives_the_substitute(granted: int) -> None:
    world = World(WIN11_24H2)
    world.run(create(0, ROOT + "Other"))

    def redirect(note: Notification) -> int:
        if note.text("CompleteName") != ROOT:
            return 0
        note.world.memory.put_ptr(note.members["ResultObject"], substitute(note.world, ROOT + "Other"))
        note.put("GrantedAccess", granted)
        return BYPASS

    world.add("redirector", "380010", at(Pre.OpenKeyEx, do=redirect))
    before = sum(1 for _ in world.objects.of_type(world.engine.keys.type))
    result = world.run(
        open_(),
        op(Opcode.QUERY_OBJECT_BASIC, handle=0, length=56),
        op(Opcode.QUERY_KEY, handle=0, info_class=3, length=200),
    )
    assert result[0].status == 0  # B-NOT-14
    expected = granted if granted == KEY_READ else 0  # B-NOT-16
    assert int.from_bytes(result[1].buffer[4:8], "little") == expected
    assert result[2].buffer[4:].decode("utf-16-le").upper() == (ROOT + "Other").upper()
    assert sum(1 for _ in world.objects.of_type(world.engine.keys.type)) == before  # B-NOT-15


def test_a_failed_open_is_turned_into_success() -> None:
    world = World(WIN11_24H2)
    world.run(create(0, ROOT + "Other"))

    def rescue(note: Notification) -> int:
        if note.members["Status"] != NTSTATUS.OBJECT_NAME_NOT_FOUND:
            return 0
        assert note.members["Object"] == 0  # B-OBJ-03
        address = substitute(note.world, ROOT + "Other")
        note.world.memory.put_ptr(note.pre["ResultObject"], address)
        note.put("Object", address)
        place = note.members["PreInformation"] + 0x3C
        note.world.memory.put_u32(place, KEY_READ)
        note.put("ReturnStatus", 0)
        return BYPASS

    world.add("rescuer", "380010", at(Post.OpenKeyEx, do=rescue))
    result = world.run(open_(0, ROOT + "Missing"), op(Opcode.QUERY_KEY, handle=0, info_class=3, length=200))
    assert result.statuses == (0, 0)  # B-NOT-26
    assert result[1].buffer[4:].decode("utf-16-le").upper().endswith("OTHER")


def test_success_without_an_object_is_not_found() -> None:
    world = World(WIN11_24H2)
    world.add("liar", "380010", at(Pre.OpenKeyEx, do=returns(BYPASS)))
    assert world.run(open_()).statuses == (NTSTATUS.OBJECT_NAME_NOT_FOUND,)


def test_a_made_up_result_object_is_a_bugcheck() -> None:
    world = World(WIN11_24H2)

    def lie(note: Notification) -> int:
        note.world.memory.put_ptr(note.members["ResultObject"], 0xFFFF_F800_1234_5670)
        return BYPASS

    world.add("liar", "380010", at(Pre.OpenKeyEx, do=lie))
    with pytest.raises(GuestCrashed) as caught:
        world.run(open_())
    assert caught.value.bugcheck.code == 0x18


def test_paths_of_create_and_open() -> None:
    world = World(WIN11_24H2)
    world.add("monitor", "380010")
    world.run(create(), open_(1, "", root=0), create(2, "sub", root=0, attributes=0x40 | 0x400))
    absolute, relative = [note for note in world.seen if note.notify_class is Pre.CreateKeyEx]
    assert absolute.text("CompleteName") == ROOT
    assert absolute.text("RemainingName") == ROOT.removeprefix("\\REGISTRY\\")  # B-CRE-04
    assert absolute.members["RootObject"] == world.engine.keys.root.address  # B-CRE-01
    assert absolute.members["Version"] == 1
    assert relative.text("CompleteName") == relative.text("RemainingName") == "sub"  # B-CRE-02
    root = world.engine.keys.at(relative.members["RootObject"])
    assert relative.members["Attributes"] == 0x440  # B-CRE-07
    empty = world.first(Pre.OpenKeyEx)
    assert empty.text("CompleteName") == ""
    assert root is None or root.closing is False


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "relative"}, NTSTATUS.OBJECT_PATH_SYNTAX_BAD),
        ({"name": "\\NoSuch\\x"}, NTSTATUS.OBJECT_PATH_NOT_FOUND),
        ({"name": "\\Device"}, NTSTATUS.OBJECT_TYPE_MISMATCH),
        ({"access": 0x300 | KEY_READ}, NTSTATUS.INVALID_PARAMETER),
        ({"options": 0x8000}, NTSTATUS.INVALID_PARAMETER),
        ({"attributes": 0x10000}, NTSTATUS.INVALID_PARAMETER),
    ],
)
def test_what_fails_before_any_notification(fields: dict[str, object], status: int) -> None:
    world = World(WIN11_24H2)
    world.add("monitor", "380010")
    assert world.run(open_(**{"name": ROOT, **fields})).statuses == (status,)  # type: ignore[arg-type]
    assert world.seen == []  # B-NOT-34


def test_bad_handles_and_missing_rights_fail_without_a_notification() -> None:
    world = World(WIN11_24H2)
    world.run(create())
    world.add("monitor", "380010")
    result = world.run(set_value(), open_(1, access=KEY_READ), set_value(1), close(0))
    assert result.statuses == (NTSTATUS.INVALID_HANDLE, 0, NTSTATUS.ACCESS_DENIED, NTSTATUS.INVALID_HANDLE)
    assert Pre.SetValueKey not in world.classes()  # B-NOT-35


@pytest.mark.parametrize("address", [0xFFFF_F800_0020_0000, 0x1001, 0x7FFF_0000_0000])
def test_bad_pointers_fail_without_a_notification(address: int) -> None:
    world = World(WIN11_24H2)
    world.add("monitor", "380010")
    result = world.run(
        create(),
        op(Opcode.QUERY_VALUE, handle=0, value_name="v", info_class=2, length=64, address=address),
        set_value(address=address, data_size=64),
    )
    assert result[1].status in (NTSTATUS.ACCESS_VIOLATION, NTSTATUS.DATATYPE_MISALIGNMENT)
    assert result[2].status == NTSTATUS.ACCESS_VIOLATION
    assert not {Pre.QueryValueKey, Pre.SetValueKey} & set(world.classes())  # B-CAP-01


def test_a_symbolic_link_is_followed_in_two_rounds() -> None:
    world = World(WIN11_24H2)
    world.add("monitor", "380010")
    status = world.run(open_(0, "\\REGISTRY\\MACHINE\\SYSTEM\\CurrentControlSet", access=KEY_READ)).statuses
    assert status == (0,)
    rounds = [(n.notify_class, n.members.get("Status")) for n in world.seen[:4]]
    assert rounds == [
        (Pre.OpenKeyEx, None),
        (Post.OpenKeyEx, NTSTATUS.REPARSE),
        (Pre.OpenKeyEx, None),
        (Post.OpenKeyEx, 0),
    ]  # B-CRE-20
    second = world.seen[2]
    assert second.text("CompleteName").startswith("\\")
    assert second.members["RootObject"] == world.engine.keys.root.address


def test_close_notifications_come_with_the_last_reference() -> None:
    world = World(WIN11_24H2)
    order: list[str] = []

    def tag(note: Notification) -> int:
        if note.notify_class is Post.CreateKeyEx:
            key = world.engine.keys.at(note.members["Object"])
            assert key is not None
            world.engine.stack.bind(filter_, key, 0x1234)
        elif note.notify_class in (Pre.KeyHandleClose, Post.KeyHandleClose):
            order.append(note.notify_class.documented_name)
        elif note.notify_class is NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP:
            order.append(f"cleanup {note.members['ObjectContext']:#x}")
        return 0

    filter_ = world.add("tagger", "380010", tag)
    world.add("other", "380000")
    world.run(
        create(),
        op(Opcode.DUPLICATE_HANDLE, handle=0, out=1),
        close(0),
        op(Opcode.MARK),
        set_value(1),
        close(1),
    )
    assert order == [
        "RegNtPreKeyHandleClose",
        "cleanup 0x1234",
        "RegNtPostKeyHandleClose",
    ]  # B-CTX-14, B-NOT-42
    assert world.first(Pre.SetValueKey, "tagger").members["ObjectContext"] == 0x1234  # B-CTX-05
    assert world.first(Pre.SetValueKey, "other").members["ObjectContext"] == 0
    assert NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP not in world.classes("other")  # B-CTX-15


def test_a_close_can_t_be_stopped() -> None:
    world = World(WIN11_24H2)
    world.add("stubborn", "380010", at(Pre.KeyHandleClose, do=returns(NTSTATUS.ACCESS_DENIED)))
    result = world.run(create(), close(0), close(0))
    assert result.statuses == (0, 0, NTSTATUS.INVALID_HANDLE)  # B-NOT-36


@pytest.mark.parametrize(("version", "is_root"), [(VISTA_SP2, True), (WIN7, False)])
def test_object_of_a_create_that_a_lower_callback_blocked(version: WindowsVersion, is_root: bool) -> None:
    world = World(version)
    world.add("high", "380020")
    world.add("low", "380010", at(Pre.CreateKeyEx, do=returns(NTSTATUS.ACCESS_DENIED)))
    assert world.run(create()).statuses == (NTSTATUS.ACCESS_DENIED,)
    after = world.first(Post.CreateKeyEx, "high")
    assert after.members["Status"] == after.members["ReturnStatus"] == NTSTATUS.ACCESS_DENIED  # B-LAY-07
    assert after.members["Object"] == (world.engine.keys.root.address if is_root else 0)  # B-LAY-10


def test_names_are_stale_after_a_rename_until_all_handles_close() -> None:
    world = World(WIN11_24H2)
    names: list[str] = []

    def ask(note: Notification) -> int:
        key = world.engine.keys.at(note.members["Object"])
        assert key is not None
        names.append(world.memory.read_unicode(world.engine.keys.cached_name(key)).rpartition("\\")[2])
        return 0

    world.add("namer", "380010", at(Pre.SetValueKey, do=ask))
    world.run(create(), set_value(), op(Opcode.RENAME_KEY, handle=0, new_name="Renamed"), set_value())
    assert names == ["FilterTest", "FilterTest"]  # B-INF-10
    assert world.pool.live == set()
    names.clear()
    world.run(open_(0, "\\REGISTRY\\MACHINE\\Software\\Renamed"), set_value())
    assert names == ["Renamed"]


def test_transactions_are_shown_and_bound() -> None:
    world = World(WIN11_24H2)
    world.run(create())
    world.add("monitor", "380010")
    result = world.run(
        op(Opcode.CREATE_TRANSACTION, out=0),
        op(Opcode.CREATE_KEY_TRANSACTED, out=1, transaction=0, name=ROOT + "\\tx", access=KEY_ALL_ACCESS),
        create(2, "below", root=1),
        op(Opcode.ROLLBACK, handle=0),
        close(2),
        close(1),
        open_(3, ROOT + "\\tx"),
    )
    assert result.statuses == (0, 0, 0, 0, 0, 0, NTSTATUS.OBJECT_NAME_NOT_FOUND)
    first, second = [note for note in world.seen if note.notify_class is Pre.CreateKeyEx]
    assert first.members["Transaction"] != 0  # B-TXN-01
    assert second.members["Transaction"] == 0  # B-TXN-02


def test_an_application_hive_is_loaded_shown_and_unloaded() -> None:
    world = World(WIN11_24H2)
    world.add("monitor", "380010")
    result = world.run(
        op(Opcode.LOAD_APP_KEY, out=0, file="C:\\app.dat", access=KEY_ALL_ACCESS),
        create(1, "inside", root=0),
        op(Opcode.QUERY_KEY, handle=1, info_class=3, length=400),
        open_(2, "\\REGISTRY\\A\\anything"),
        op(Opcode.SET_SECURITY, handle=1, security_information=4, sddl="D:(A;;KA;;;WD)"),
    )
    assert result.statuses == (0, 0, 0, NTSTATUS.ACCESS_DENIED, NTSTATUS.ACCESS_DENIED)  # B-APP-03, B-APP-08
    assert result[2].buffer[4:].decode("utf-16-le").startswith("\\REGISTRY\\A\\")  # B-APP-02
    load = world.first(Pre.LoadKey)
    assert load.members["Flags"] & 0x10
    assert load.members["RootHandle"] != 0  # B-APP-15
    assert load.text("SourceFile").endswith("app.dat")
    assert world.first(Post.LoadKey).members["Object"] == 0
    assert world.run(op(Opcode.DELETE_FILE, file="C:\\app.dat")).statuses == (0,)  # B-APP-07


def test_a_hive_is_loaded_and_unloaded_with_its_event() -> None:
    world = World(WIN81)
    world.run(create(), op(Opcode.SAVE_KEY, handle=0, file="C:\\hive.dat"))
    world.add("monitor", "380010")
    mount = "\\REGISTRY\\MACHINE\\Mounted"
    result = world.run(
        op(Opcode.CREATE_EVENT, out=0),
        op(Opcode.LOAD_KEY, name=mount, file="C:\\hive.dat", form=3, event=0),
        open_(1, mount),
        op(Opcode.UNLOAD_KEY, name=mount),
        close(1),
        op(Opcode.UNLOAD_KEY, name=mount),
    )
    assert result.statuses[:3] == (0, 0, 0)
    assert result[3].status == NTSTATUS.CANNOT_DELETE  # B-HIV-07
    assert result[5].status == 0
    assert len(world.signalled) == 1  # B-HIV-05
    assert world.first(Pre.LoadKey).members["RootHandle"] == 0


@pytest.mark.parametrize(("version", "size"), [(WIN10, 0x58), (WS2022, 0x60)])
def test_load_structure_by_version(version: WindowsVersion, size: int) -> None:
    world = World(version)
    world.add("monitor", "380010")
    world.run(op(Opcode.LOAD_APP_KEY, out=0, file="C:\\app.dat", access=KEY_READ))
    members = world.first(Pre.LoadKey).members
    assert members.get("Version", 0) == (2 if size == 0x60 else 0)  # B-HIV-06


def test_merged_save_has_no_object() -> None:
    world = World(WS2022)
    world.add("monitor", "380010")
    result = world.run(
        create(), create(1, ROOT + "2"), op(Opcode.SAVE_MERGED, handle=0, low_handle=1, file="C:\\merged.dat")
    )
    assert result[2].status == 0
    before = world.first(Pre.SaveMergedKey)
    assert before.members["Object"] == 0  # B-OBJ-08
    assert before.members["HighKeyObject"] != before.members["LowKeyObject"] != 0


def test_name_queries_can_be_forged_from_windows_10_on() -> None:
    world = World(WIN10)

    def forge(note: Notification) -> int:
        memory = note.world.memory
        at_ = note.members["ObjectNameInfo"]
        memory.write_unicode(at_, "\\forged", at_ + 16)
        memory.put_u32(note.members["ReturnLength"], 32)
        return BYPASS

    world.add("forger", "380010", at(NotifyClass.PRE_QUERY_KEY_NAME, do=forge))
    result = world.run(create(), op(Opcode.QUERY_OBJECT_NAME, handle=0, length=64))
    assert (result[1].status, result[1].result_length) == (0, 32)  # B-HIV-19
    assert result[1].buffer[16:].decode("utf-16-le") == "\\forged"


@pytest.mark.parametrize("version", [WS03, XP])
def test_before_vista_a_block_is_final(version: WindowsVersion) -> None:
    world = World(version, Arch.X86)
    world.add("first", None)
    world.add("second", None, at(Pre.SetValueKey, do=returns(NTSTATUS.ACCESS_DENIED)))
    result = world.run(create(), set_value())
    assert result[1].status == NTSTATUS.ACCESS_DENIED
    assert Post.SetValueKey not in world.classes()


def test_xp_shows_names_and_results_of_create_and_open() -> None:
    world = World(XP, Arch.X86)
    world.add("monitor", None)
    world.run(create(), open_(1, ROOT + "Missing"))
    after = world.first(NotifyClass.POST_CREATE_KEY)
    assert after.text("CompleteName") == ROOT
    assert world.engine.keys.at(after.members["Object"]) is None  # closed by now
    assert after.members["Status"] == 0
    assert (
        world.first(NotifyClass.POST_OPEN_KEY).members["Status"] == NTSTATUS.OBJECT_NAME_NOT_FOUND
    )  # B-VER-13


def test_calls_from_a_callback_are_kernel_calls_below() -> None:
    world = World(WIN11_24H2)
    from harness.reference.filtering.kernel_calls import KernelCalls

    def reenter(note: Notification) -> int:
        if note.name == "middle" and note.notify_class is Pre.SetValueKey:
            calls = KernelCalls(note.world.engine)
            status, handle = calls.open(ROOT)
            assert status == 0
            assert calls.query(handle, "missing").status == NTSTATUS.OBJECT_NAME_NOT_FOUND
            calls.close(handle)
        return 0

    world.add("high", "380020", reenter)
    world.add("middle", "380010", reenter)
    world.add("low", "380000", reenter)
    world.run(create(), set_value())
    assert world.classes("high") == world.classes("middle")
    inner = [note for note in world.seen if note.name == "low" and note.mode == 0]
    assert [note.notify_class for note in inner] == [
        Pre.OpenKeyEx,
        Post.OpenKeyEx,
        Pre.QueryValueKey,
        Post.QueryValueKey,
        Pre.KeyHandleClose,
        Post.KeyHandleClose,
    ]  # B-LAY-11, B-NOT-33
    assert inner[0].members["CheckAccessMode"] == 0  # B-CRE-08


def test_a_terminated_process_closes_its_handles() -> None:
    world = World(WIN11_24H2)
    world.add("monitor", "380010")
    world.run(create(process=1), op(Opcode.TERMINATE_PROCESS, process=1), op(Opcode.MARK))
    assert world.classes()[-2:] == [Pre.KeyHandleClose, Post.KeyHandleClose]


def test_results_name_who_ran_and_when() -> None:
    world = World(WIN11_24H2)
    result = world.run(create(), create(1, process=1, thread=2), op(Opcode.MARK))
    assert result[0].process_id == result.process_id
    assert result[1].process_id == result.process_ids[1] != result.process_id
    assert result[1].disposition == 2
    assert result[0].disposition == 1
    assert result[0].end < result[1].begin < result[1].end
