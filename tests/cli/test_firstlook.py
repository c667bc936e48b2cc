from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import cli
from harness.driver import build_signed, find_project_root
from harness.errors import HarnessError, UsageError
from harness.firstlook import FirstLook, default_target, first_look
from harness.targets import parse_target

NEWEST = parse_target("reference:10.0.26100")


def driver(name: str, arch: str = "x64") -> Path:
    return build_signed(find_project_root() / "driver-src" / name, arch).image


def look(name: str, **parameters: str) -> FirstLook:
    return first_look(driver(name), NEWEST, parameters=parameters)


def test_a_driver_that_only_watches_changes_nothing() -> None:
    found = look("samples/regguard")
    assert (found.ok, found.entry_status, found.unload) == (True, "STATUS_SUCCESS", "STATUS_SUCCESS")
    assert found.signature.startswith("valid")
    assert all(operation.unchanged for operation in found.operations)
    assert found.has is not None
    assert found.has.devices == ("\\Device\\RegGuard",)
    assert [(each.altitude, each.legacy) for each in found.has.callbacks] == [("385200.1", False)]
    assert any("unloaded after 0 refusals" in line for line in found.debug)


def test_what_a_driver_blocks_is_told() -> None:
    key = "\\REGISTRY\\MACHINE\\Software\\RegFilterHarness\\first-look\\app"
    found = look("samples/regguard", ProtectedKey=key, Altitude="321000.5")
    changed = {operation.name: operation for operation in found.operations if not operation.unchanged}
    assert {"set value", "delete value", "delete key"} <= set(changed)
    write = changed["set value"]
    assert (write.without, write.with_driver) == ("STATUS_SUCCESS", "STATUS_ACCESS_DENIED")
    (told,) = write.changes
    assert told.startswith("blocked: PreSetValueKey")
    assert found.has is not None
    assert found.has.callbacks[0].altitude == "321000.5"


def test_an_unsigned_driver_is_signed_for_the_look(tmp_path: Path) -> None:
    from harness.driver.pysign import remove_signature

    file = tmp_path / "plain.sys"
    file.write_bytes(remove_signature(driver("samples/regguard").read_bytes()))
    found = first_look(file, NEWEST)
    assert found.ok
    assert found.signature.endswith("signed with the test certificate for this look")


def test_imports_that_are_not_modelled_are_named_all_at_once() -> None:
    found = look("wrong/unmodelled_import.c")
    assert not found.ok
    assert len(found.unmodelled) == 2
    assert all(name in found.refused for name in found.unmodelled)


def test_input_edited_in_place_is_no_block_and_no_call_of_its_own() -> None:
    found = look("wrong/edits_input.c")
    changes = {each.name: each.changes for each in found.operations if not each.unchanged}
    assert set(changes) == {"set value", "set value in it"}
    for said in changes.values():
        assert len(said) == 1
        assert said[0].startswith("input changed: PreSetValueKey ")
        assert said[0].endswith("the name 'colour' became 'Colour'")


def test_a_failing_driver_entry_is_a_refusal_with_its_status() -> None:
    found = look("wrong/entry_fails.c")
    assert not found.ok
    assert found.entry_status != "STATUS_SUCCESS"
    assert found.entry_status in found.refused


def test_a_leak_is_a_crash_at_unload() -> None:
    found = look("wrong/leak_at_unload.c")
    assert not found.ok
    assert "DRIVER_VERIFIER_DETECTED_VIOLATION" in found.crash
    assert "leak_at_unload.sys" in found.crash


def test_the_newest_windows_of_the_drivers_architecture_is_taken() -> None:
    assert default_target(driver("samples/regguard")).name == "reference:10.0.26100"
    assert default_target(driver("samples/regguard", "x86")).name == "reference:10.0.19045-x86"
    with pytest.raises(UsageError, match="is an x86 driver"):
        first_look(driver("samples/regguard", "x86"), NEWEST)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_hostile_file_gets_an_answer_and_no_traceback(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    image = bytearray(driver("samples/regguard").read_bytes())
    # Most of what a loader believes stands in the first kilobyte and in the tables that it points to.
    places = st.integers(0, 0x400) | st.integers(0, len(image) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=20)):
        image[place] = value
    file = tmp_path_factory.mktemp("hostile") / "hostile.sys"
    file.write_bytes(image[: data.draw(st.integers(0, len(image)) | st.just(len(image)))])
    try:
        found = first_look(file, NEWEST)
        answer = "loaded" if found.ok else found.refused or found.crash
    except HarnessError as error:
        answer = str(error)
    assert answer
    assert "report this file" not in answer


def test_the_command_tells_a_crash_by_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, code in (("samples/regguard", 0), ("wrong/leak_at_unload.c", 1)):
        monkeypatch.setattr(sys, "argv", ["harness", "driver", "try", str(driver(name)), "--json"])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        assert (exit.value.code or 0) == code
        assert json.loads(capsys.readouterr().out)["ok"] is (code == 0)
        monkeypatch.setattr(sys, "argv", sys.argv[:-1])
        with pytest.raises(SystemExit):
            cli.main()
        assert "not Windows" in " ".join(capsys.readouterr().out.split())
