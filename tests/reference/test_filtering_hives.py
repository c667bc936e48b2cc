"""Hives with filters, without an emulator: application hives, loads, unloads, merged saves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from filtering_calls import ROOT, close, create, op, open_
from filtering_world import World

from harness.registry.access import KEY_ALL_ACCESS, KEY_READ
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.registry.version import (
    WIN10,
    WIN11_24H2,
    WIN81,
    WS2022,
    WindowsVersion,
)
from harness.workload.opcodes import Opcode


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
