"""Creates and opens with filters, without an emulator: paths, substitutes, links, transactions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from filtering_calls import BYPASS, ROOT, at, close, create, op, open_, returns, set_value
from filtering_world import Notification, World

from harness.errors import GuestCrashed
from harness.guest import Arch
from harness.registry.access import KEY_ALL_ACCESS, KEY_READ
from harness.registry.notify import NotifyClass, Post, Pre
from harness.registry.status import NTSTATUS
from harness.registry.version import (
    VISTA_SP2,
    WIN7,
    WIN11_24H2,
    XP,
    WindowsVersion,
)
from harness.workload.opcodes import Opcode


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
