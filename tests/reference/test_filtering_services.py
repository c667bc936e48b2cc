"""The registry services with filters, without an emulator: structures, capture, outputs, versions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from filtering_calls import (
    BYPASS,
    EVERYWHERE,
    ROOT,
    altitude,
    at,
    close,
    create,
    op,
    open_,
    query,
    returns,
    set_value,
)
from filtering_world import Notification, World

from harness.guest import Arch
from harness.registry.access import KEY_READ
from harness.registry.notify import NotifyClass, Post, Pre, delivered_by
from harness.registry.status import NTSTATUS
from harness.registry.version import (
    VISTA,
    WIN7,
    WIN8,
    WIN10,
    WIN11_24H2,
    WS03,
    XP,
    WindowsVersion,
)
from harness.workload.opcodes import Opcode


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


def test_name_queries_can_be_forged_from_windows_10_on() -> None:
    world = World(WIN10)

    def forge(note: Notification) -> int:
        memory = note.world.memory
        at_ = note.members["ObjectNameInfo"]
        raw = "\\forged".encode("utf-16-le")
        memory.write(at_ + 16, raw)
        memory.put_unicode_string(at_, len(raw), len(raw), at_ + 16)
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
