"""Programs on the reference guest: every operation, its results and its views."""

from __future__ import annotations

import pytest

from harness.guest.base import Guest
from harness.registry.access import DELETE, KEY_READ, KEY_SET_VALUE, ObjectAttributes, SecurityInformation
from harness.registry.infoclasses import KeyInformationClass, KeyValueInformationClass
from harness.registry.options import KeyOptions
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.workload import Opcode, Operation, Program, Registry, TypedValue, decode_program, decode_result

pytest.importorskip(
    "unicorn", reason="the reference guest needs unicorn: pip install regfilter-harness[reference]"
)

from harness import reference


def test_keys(registry: Registry) -> None:
    with registry.program() as p:
        p.check_all()
        app = p.create_key(p.test_root / "app", class_name="Class", options=KeyOptions.VOLATILE)
        again = p.create_key(p.test_root / "APP")
        child = p.create_key(app / "child", options=KeyOptions.VOLATILE)
        listed = p.enumerate_keys(app, 1)
        full = p.query_key(app, KeyInformationClass.FULL)
        name = p.query_key(child, KeyInformationClass.NAME)
        full_name = p.query_object_name(child)
        p.rename_key(child, "renamed")
        renamed = p.query_key(child, KeyInformationClass.NAME)
        p.flush_key(app)
        p.delete_key(child)
        gone = p.query_key(child, expect=NTSTATUS.KEY_DELETED)
    assert (app.disposition, again.disposition) == (1, 2)
    assert listed.names == ["child"]
    assert (full.key_information.class_name, full.key_information.subkeys) == ("Class", 1)
    assert (registry.test_root / "app" / "child").same(name.name)
    assert (registry.test_root / "app" / "child").same(full_name.name)
    assert renamed.name.endswith("renamed")
    assert gone.output == b""


@pytest.mark.parametrize(
    ("value", "type"),
    [
        ("text", ValueType.SZ),
        (7, ValueType.DWORD),
        (1 << 40, ValueType.QWORD),
        (b"\1\2", ValueType.BINARY),
        (("a", "b"), ValueType.MULTI_SZ),
        ("", ValueType.SZ),
    ],
)
def test_values_come_back_as_they_went(registry: Registry, value: object, type: int) -> None:
    with registry.program() as p:
        p.check_all()
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", value)  # type: ignore[arg-type]
        read = p.query_value(key, "v")
        full = p.enumerate_value(key, 0)
        p.delete_value(key, "v")
        gone = p.query_value(key, "v", expect=NTSTATUS.OBJECT_NAME_NOT_FOUND)
    assert (read.value, read.type) == (value, type)
    assert (full.name, full.value) == ("v", value)
    assert gone.result_length in (None, 0) or not gone.succeeded


def test_unusual_names_and_values(registry: Registry) -> None:
    names = ["", "nul\0inside", "lone\udc00surrogate", "\U0001f600", "x" * 200]
    with registry.program() as p:
        p.check_all()
        key = p.create_key(p.test_root / "app")
        for number, name in enumerate(names):
            p.set_value(key, name, number)
        p.set_value(key, "null", TypedValue(ValueType.BINARY, None))
        reads = [p.query_value(key, name) for name in names]
        default = p.query_value(key, None)
        null = p.query_value(key, "null")
        listed = p.enumerate_values(key, len(names) + 1)
        large = p.set_value(key, "large", bytes(1_100_000))
        back = p.query_value(key, "large", length=1_200_000)
    assert [read.dword for read in reads] == list(range(len(names)))
    assert default.dword == 0
    assert null.data == b""
    assert large.succeeded
    assert back.data == bytes(1_100_000)
    assert set(listed.names) == {*names, "null"}


def test_short_buffers(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", b"0123456789")
        overflow = p.query_value(key, "v", length=16)
        small = p.query_value(key, "v", length=4)
        none = p.query_value(key, "v", length=0)
    assert (overflow.status, overflow.result_length) == (NTSTATUS.BUFFER_OVERFLOW, 22)
    assert overflow.data == b"0123"
    assert (small.status, small.result_length, small.output) == (NTSTATUS.BUFFER_TOO_SMALL, 22, b"")
    assert (none.status, none.output_address) == (NTSTATUS.BUFFER_TOO_SMALL, 0)


def test_several_values_at_once(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "a", 1)
        p.set_value(key, "b", "x")
        both = p.query_multiple(key, ["a", "b"], expect=0)
        missing = p.query_multiple(key, ["a", "zz"])
    assert both.values["a"].data == b"\1\0\0\0"
    assert (both.values["b"].type, both.values["b"].data) == (ValueType.SZ, b"x\0\0\0")
    assert missing.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_security(registry: Registry) -> None:
    dacl = SecurityInformation.DACL
    with registry.program() as p:
        p.check_all()
        key = p.create_key(p.test_root / "app", sddl="D:P(A;;KA;;;WD)")
        first = p.query_security(key, dacl)
        p.set_security(key, dacl, sddl="D:P(A;;KA;;;WD)(A;;KR;;;BU)")
        second = p.query_security(key, dacl)
        short = p.query_security(key, dacl, length=4, expect=NTSTATUS.BUFFER_TOO_SMALL)
    with registry.program() as p:
        raw = p.set_security(p.open_key(p.test_root / "app"), dacl, security=b"no descriptor at all")
    assert len(second.output) > len(first.output) > 20
    assert not raw.succeeded
    assert short.result_length == len(second.output)


def test_rights_of_a_handle(registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
        reader = p.open_key(p.test_root / "app", access=KEY_READ)
        refused = p.set_value(reader, "v", 1)
        described = p.query_object(reader)
        copy = p.duplicate_handle(reader, access=KEY_SET_VALUE)
    assert refused.status == NTSTATUS.ACCESS_DENIED
    assert described.object_information.granted_access == KEY_READ
    assert copy.handle != reader.handle != 0


def test_links(registry: Registry) -> None:
    itself = ObjectAttributes.CASE_INSENSITIVE | ObjectAttributes.OPENLINK
    with registry.program() as p:
        p.check_all()
        p.set_value(p.create_key(p.test_root / "target"), "v", 7)
        link = p.create_key(p.test_root / "link", options=KeyOptions.CREATE_LINK | KeyOptions.VOLATILE)
        p.set_value(link, "SymbolicLinkValue", str(p.test_root / "target"), type=ValueType.LINK)
        through = p.query_value(p.open_key(p.test_root / "link"), "v")
        p.query_value(p.open_key(p.test_root / "link", attributes=itself), "SymbolicLinkValue")
    assert through.dword == 7


def test_hives(registry: Registry, guest: Guest) -> None:
    mount = registry.test_root.parent.parent.parent / f"RegFilterHarness-{registry.test_root.name}"
    with registry.program() as p:
        p.check_all()
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", 7)
        p.save_key(key, "saved.dat")
        p.save_key(key, "saved.dat", expect=NTSTATUS.OBJECT_NAME_COLLISION)
        p.load_key(mount, "saved.dat")
        root = p.open_key(mount)
        read = p.query_value(root, "v")
        p.close(root)
        p.unload_key(mount)
        p.restore_key(p.create_key(p.test_root / "copy"), "saved.dat")
        copied = p.query_value(p.open_key(p.test_root / "copy"), "v")
    assert (read.dword, copied.dword) == (7, 7)
    assert guest.get(registry.file("saved.dat")).startswith(b"regf")


def test_application_hives_close_with_their_last_handle(registry: Registry) -> None:
    with registry.program() as p:
        p.check_all()
        hive = p.load_app_key("app.dat")
        p.set_value(p.create_key(hive / "settings"), "v", "kept")
    with registry.program() as p:
        p.check_all()
        hive = p.load_app_key("app.dat", exclusive=True)
        read = p.query_value(p.open_key(hive / "settings"), "v")
    assert read.text == "kept"


def test_transactions(registry: Registry) -> None:
    with registry.program() as p:
        p.check_all()
        p.create_key(p.test_root / "app")
        transaction = p.create_transaction()
        bound = p.create_key(p.test_root / "app" / "new", transaction=transaction)
        hidden = p.open_key(p.test_root / "app" / "new", expect=NTSTATUS.OBJECT_NAME_NOT_FOUND)
        p.commit(transaction)
        p.open_key(p.test_root / "app" / "new")
        again = p.create_transaction()
        p.create_key(p.test_root / "app" / "undone", transaction=again)
        p.rollback(again)
        p.open_key(p.test_root / "app" / "undone", expect=NTSTATUS.OBJECT_NAME_NOT_FOUND)
    assert bound.disposition == 1
    assert not hidden.succeeded


def test_processes_and_threads(registry: Registry) -> None:
    with registry.program() as p:
        p.check_all()
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1):
            other_thread = p.set_value(key, "v", 1)
        with p.on(process="second"):
            strange = p.set_value(key, "v", 1, expect=NTSTATUS.INVALID_HANDLE)
            own = p.open_key(p.test_root / "app")
        copy = p.duplicate_handle(key, target_process="second")
        with p.on(process="second"):
            through = p.set_value(copy, "v", 2)
        p.terminate_process("second")
    assert other_thread.process_id == key.process_id
    assert other_thread.thread_id != key.thread_id
    assert own.process_id == through.process_id == strange.process_id != key.process_id


def test_the_rest(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        event = p.create_event(expect=0)
        watch = p.notify_change_key(key, event)
        moment = p.set_information_key(key, 0, (0x01C0_0000_0000_0000).to_bytes(8, "little"), expect=0)
        mark = p.mark("here")
        when = p.query_key(key, KeyInformationClass.BASIC)
        p.close(key)
        closed = p.close(key)
        nothing = p.query_value(p.null_handle(), "v")
        bad = p.record(Opcode.QUERY_VALUE, handle=key.slot, value_name="v", length=16)
        p.delete_file("missing.dat", expect=NTSTATUS.OBJECT_NAME_NOT_FOUND)
        device = p.device_control(r"\\.\NoSuchDevice", 0x22E000)
    assert watch.succeeded
    assert moment.begin <= moment.end < mark.begin <= mark.end < when.begin
    assert when.key_information.last_write_time == 0x01C0_0000_0000_0000
    assert closed.status == nothing.status == bad.status == NTSTATUS.INVALID_HANDLE
    assert not device.succeeded


def test_a_deleted_key_is_opened_for_delete(registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
        p.create_key(p.test_root / "app" / "child")
        parent = p.delete_key(p.open_key(p.test_root / "app", access=DELETE))
        child = p.remove_key(p.test_root / "app" / "child")
    assert parent.status == NTSTATUS.CANNOT_DELETE
    assert child.succeeded


def test_addresses_are_those_of_the_caller(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", b"data")
        read = p.query_value(key, "v", KeyValueInformationClass.FULL)
    for address in (key.name_address, write.input_address, write.name_address, read.output_address):
        assert 0 < address < 0x7FFF_FFFF_FFFF


def test_the_encoded_program_runs_the_same(guest: Guest) -> None:
    program = Program.of(
        [
            Operation(opcode=Opcode.OPEN_KEY, out=0, name=r"\REGISTRY\MACHINE", access=KEY_READ),
            Operation(opcode=Opcode.QUERY_KEY, handle=0, info_class=KeyInformationClass.NAME, length=200),
        ]
    )
    result = guest.run(decode_program(program.encode()))
    assert decode_result(result.encode(), program) == result
    assert result.statuses == (0, 0)
    assert result.process_ids[0] == result.process_id


@pytest.mark.parametrize(("version", "arch"), [("5.1", "x86"), ("6.0", "x64"), ("6.2", "x86")])
def test_other_windows(version: str, arch: str) -> None:
    with reference.boot(version, arch=arch) as guest, Registry(guest) as registry:
        with registry.program() as p:
            key = p.create_key(p.test_root / "app", expect=0)
            p.set_value(key, "v", "x", expect=0)
            read = p.query_value(key, "v", expect=0)
            name = p.query_object_name(key)
        assert read.text == "x"
        assert (registry.test_root / "app").same(name.name)
        assert p.result.pointer_size == guest.info.arch.pointer_size
