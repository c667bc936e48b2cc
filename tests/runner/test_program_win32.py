"""Win32 calls in programs, on the runner under Wine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from harness.errors import UnsupportedError, UsageError
from harness.reference import boot
from harness.registry.access import KEY_READ, KEY_WOW64_64KEY
from harness.registry.options import KeyOptions
from harness.registry.paths import MACHINE, RegistryPath
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.workload import Registry
from tests.runner.program_guest import ProgramGuest
from tests.runner.winehost import StandardRunner

ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5
ERROR_INVALID_HANDLE = 6
ERROR_INSUFFICIENT_BUFFER = 122
ERROR_MORE_DATA = 234
ERROR_NO_MORE_ITEMS = 259
ERROR_UNSUPPORTED_TYPE = 1630
RRF_RT_REG_DWORD = 0x10
DACL = 4


@pytest.fixture
def registry(long_runner: StandardRunner) -> Iterator[Registry]:
    with Registry(ProgramGuest(long_runner)) as own:
        yield own


def test_a_win32_create_makes_the_keys_above_too(registry: Registry) -> None:
    """What sets RegCreateKeyExW apart from NtCreateKey: one native call for each missing name."""
    with registry.program() as p:
        native = p.create_key(p.test_root / "native" / "below")
        key = p.win32.create_key(p.test_root / "one" / "two", class_name="a class")
        again = p.win32.create_key(p.test_root / "one" / "two")
        silent = p.win32.create_key(p.test_root / "one", null_disposition=True)
        opened = p.open_key(p.test_root / "one" / "two")
        missing = p.win32.open_key(p.test_root / "missing")
    registry.note_key(registry.test_root / "one")
    assert native.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert (key.status, key.disposition, again.disposition) == (0, 1, 2)
    assert (silent.status, silent.disposition) == (0, None)
    assert opened.status == 0
    assert (missing.win32_error, missing.result.handle) == (ERROR_FILE_NOT_FOUND, 0)
    assert missing.status_name == "Win32 error 2"


def test_values_are_the_same_from_both_sides(registry: Registry) -> None:
    with registry.program() as p:
        key = p.win32.create_key(p.test_root / "values")
        p.win32.set_value(key, "text", "größe 😀", expect=0)
        p.set_value(key, "number", 77, expect=0)
        p.win32.set_value(key, None, b"\1\2", expect=0)
        native = p.query_value(key, "text")
        text, number, default = (p.win32.query_value(key, name) for name in ("text", "number", None))
        got = p.win32.get_value(key, "number", flags=RRF_RT_REG_DWORD)
        typed = p.win32.get_value(key, "text", flags=RRF_RT_REG_DWORD)
        missing = p.win32.query_value(key, "missing")
        p.win32.delete_value(key, "text", expect=0)
        twice = p.win32.delete_value(key, "text")
    assert native.text == text.text == "größe 😀"
    assert number.dword == got.dword == 77
    assert (default.type, default.data) == (ValueType.BINARY, b"\1\2")
    assert typed.win32_error == ERROR_UNSUPPORTED_TYPE
    assert missing.win32_error == twice.win32_error == ERROR_FILE_NOT_FOUND


def test_a_small_buffer_tells_the_size(registry: Registry) -> None:
    with registry.program() as p:
        key = p.win32.create_key(p.test_root / "small")
        p.win32.set_value(key, "v", b"0123456789", expect=0)
        asked = p.win32.query_value(key, "v", length=0)
        short = p.win32.query_value(key, "v", length=9)
        exact = p.win32.query_value(key, "v", length=10)
    assert (asked.win32_error, asked.result_length, asked.result.buffer) == (0, 10, b"")
    assert (short.win32_error, short.result_length, short.result.buffer) == (ERROR_MORE_DATA, 10, b"")
    assert (exact.win32_error, exact.data) == (0, b"0123456789")


def test_keys_and_values_are_enumerated_and_counted(registry: Registry) -> None:
    with registry.program() as p:
        key = p.win32.create_key(p.test_root / "listed")
        p.win32.create_key("sub", root=key, options=KeyOptions.VOLATILE)
        p.win32.create_key("longer name", root=key)
        p.win32.set_value(key, "v", "text")
        subkeys = [p.win32.enumerate_key(key, index) for index in range(3)]
        values = [p.win32.enumerate_value(key, index) for index in range(2)]
        counts = p.win32.query_key(key)
    registry.note_key(registry.test_root / "listed" / "sub")
    assert sorted(step.name for step in subkeys[:2]) == ["longer name", "sub"]
    assert subkeys[0].key_information.last_write_time
    assert (values[0].name, values[0].text) == ("v", "text")
    assert subkeys[2].win32_error == values[1].win32_error == ERROR_NO_MORE_ITEMS
    found = counts.key_information
    assert (found.subkeys, found.values) == (2, 1)
    assert (found.max_name_length, found.max_value_name_length) == (22, 2)
    assert found.max_value_data_length == 10


def test_handles_are_closed_once_and_access_is_kept(registry: Registry) -> None:
    with registry.program() as p:
        p.win32.create_key(p.test_root / "handles")
        key = p.win32.open_key(p.test_root / "handles", access=KEY_READ)
        refused = p.win32.set_value(key, "v", 1)
        flushed = p.win32.flush_key(key)
        first, second = p.win32.close_key(key), p.win32.close_key(key)
        with p.on(process="second", thread=1):
            elsewhere = p.win32.open_key(p.test_root / "handles")
    assert refused.win32_error == ERROR_ACCESS_DENIED
    assert (flushed.status, first.status, elsewhere.status) == (0, 0, 0)
    assert second.win32_error == ERROR_INVALID_HANDLE


def test_a_key_is_deleted_by_its_path(registry: Registry) -> None:
    with registry.program() as p:
        p.win32.create_key(p.test_root / "gone")
        first = p.win32.delete_key(p.test_root / "gone")
        second = p.win32.delete_key(p.test_root / "gone")
        parent = p.win32.create_key(p.test_root / "parent")
        p.win32.create_key("child", root=parent)
        below = p.win32.delete_key("child", root=parent, access=KEY_WOW64_64KEY)
    assert (first.status, below.status) == (0, 0)
    assert second.win32_error == ERROR_FILE_NOT_FOUND


def test_a_hive_goes_through_its_file(registry: Registry) -> None:
    mount = MACHINE / f"Win32Test{os.getpid()}"
    with registry.program() as p:
        key = p.win32.create_key(p.test_root / "hive")
        p.win32.set_value(key, "v", "kept")
        p.win32.save_key(key, "hive.dat", expect=0)
        p.win32.load_key(mount, "hive.dat", expect=0)
        root = p.win32.open_key(mount)
        read = p.win32.query_value(root, "v")
        p.win32.close_key(root)
        p.win32.unload_key(mount, expect=0)
        gone = p.win32.open_key(mount)
    assert read.text == "kept"
    assert gone.win32_error == ERROR_FILE_NOT_FOUND


def test_trees_are_copied_and_deleted(registry: Registry) -> None:
    with registry.program() as p:
        source = p.win32.create_key(p.test_root / "source")
        p.win32.create_key(p.test_root / "source" / "one" / "two")
        target = p.win32.create_key(p.test_root / "target")
        p.win32.copy_tree(source, target, expect=0)
        copied = p.open_key(p.test_root / "target" / "one" / "two")
        p.win32.delete_tree(source, subkey="one", expect=0)
        gone = p.open_key(p.test_root / "source" / "one")
        p.win32.delete_tree(target, expect=0)
        emptied = p.win32.query_key(target)
        missing = p.win32.delete_tree(source, subkey="missing")
    assert copied.status == 0
    assert gone.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert emptied.key_information.subkeys == 0
    assert missing.win32_error == ERROR_FILE_NOT_FOUND


def test_several_values_are_read_at_once(registry: Registry) -> None:
    with registry.program() as p:
        key = p.win32.create_key(p.test_root / "several")
        p.win32.set_value(key, "text", "größe")
        p.win32.set_value(key, "number", 7)
        read = p.win32.query_multiple(key, ["number", "text"])
        small = p.win32.query_multiple(key, ["number", "text"], length=4)
        missing = p.win32.query_multiple(key, ["number", "missing"])
    assert read.status == 0
    assert read.values["text"].data == "größe\0".encode("utf-16-le")
    assert read.values["number"].data == (7).to_bytes(4, "little")
    assert small.win32_error == ERROR_MORE_DATA
    assert missing.status != 0


def test_the_security_of_a_key_is_written_and_read(registry: Registry) -> None:
    with registry.program() as p:
        key = p.win32.create_key(p.test_root / "guarded")
        written = p.win32.set_security(key, DACL, sddl="D:P(A;;KA;;;BA)(A;;KA;;;SY)(A;;KR;;;WD)")
        read = p.win32.get_security(key, DACL)
        native = p.query_security(key, DACL)
        small = p.win32.get_security(key, DACL, length=4)
    assert (written.status, read.status) == (0, 0)
    assert read.output == native.output
    assert small.win32_error == ERROR_INSUFFICIENT_BUFFER


def test_a_change_signals_the_event(registry: Registry) -> None:
    with registry.program() as p:
        key = p.win32.create_key(p.test_root / "watched")
        event = p.create_event()
        p.win32.notify_change_key(key, event, expect=0)
        before = p.wait(event, milliseconds=0)
        p.win32.create_key(p.test_root / "watched" / "new")
        after = p.wait(event, milliseconds=2000)
    assert (before.status, after.status) == (NTSTATUS.TIMEOUT, 0)


def test_what_wine_only_pretends_is_not_done(registry: Registry) -> None:
    with registry.program() as p:
        key = p.win32.create_key(p.test_root / "pretended")
        loaded = p.win32.load_app_key("app.dat")
        restored = p.win32.restore_key(key, "missing.dat")
        saved = p.win32.save_key(key, "latest.dat", format=2)
        replaced = p.win32.replace_key(key, "new.dat", "old.dat")
    assert {step.status for step in (loaded, restored, saved, replaced)} == {NTSTATUS.NOT_IMPLEMENTED}
    assert loaded.win32_error is None
    assert loaded.result.handle == 0


def test_a_key_that_win32_does_not_reach_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match="neither below HKLM nor below HKU"), registry.program() as p:
        p.win32.open_key(RegistryPath(r"\REGISTRY\A\hive"))


def test_a_reference_guest_says_that_it_has_none() -> None:
    with boot("10.0.26100") as guest, Registry(guest) as registry:
        assert "win32-calls" not in guest.info.capabilities
        with pytest.raises(UnsupportedError, match="win32-calls"), registry.program() as p:
            p.win32.open_key(p.test_root)
