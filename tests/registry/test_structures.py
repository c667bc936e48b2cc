"""The computed layouts are the documented ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.registry.notify import NotifyClass, Post, Pre, delivered_by
from harness.registry.structures import STRUCTURES, layout
from harness.registry.version import (
    MODELLED,
    VISTA,
    VISTA_SP2,
    WIN7,
    WIN10_22H2,
    WIN11,
    WS03,
    WS2022,
    XP,
    architectures,
)

#: Offsets and sizes of the structure pages: member -> [x64 offset, x64 size, x86 offset, x86 size].
DOCUMENTED: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent / "documented_layouts.json").read_text(encoding="utf-8")
)


def test_every_documented_structure_is_there_and_no_other() -> None:
    assert {name for name, _, _ in STRUCTURES} == set(DOCUMENTED)


@pytest.mark.parametrize("name", DOCUMENTED)
@pytest.mark.parametrize(("pointer_size", "column"), [(8, 0), (4, 1)])
def test_offsets_and_sizes(name: str, pointer_size: int, column: int) -> None:
    expected = DOCUMENTED[name]
    vista = (name, pointer_size, True) in STRUCTURES
    struct = STRUCTURES[name, pointer_size, vista]
    assert struct.size == expected["size"][column]
    assert {field.name: [field.offset, field.size] for field in struct} == {
        member: numbers[2 * column : 2 * column + 2] for member, numbers in expected["fields"].items()
    }


@pytest.mark.parametrize("name", [name for name, entry in DOCUMENTED.items() if "before_vista" in entry])
@pytest.mark.parametrize(("pointer_size", "column"), [(8, 0), (4, 1)])
def test_short_layouts_before_vista(name: str, pointer_size: int, column: int) -> None:
    short, full = STRUCTURES[name, pointer_size, False], STRUCTURES[name, pointer_size, True]
    assert short.size == DOCUMENTED[name]["before_vista"][column]
    assert [field.name for field in full][: len(short.fields)] == [field.name for field in short]
    assert "CallContext" not in short
    assert all(short[field.name] == full[field.name] for field in short)


@pytest.mark.parametrize(
    ("notify_class", "version", "name"),
    [
        (Pre.CreateKeyEx, WS03, "REG_CREATE_KEY_INFORMATION"),
        (Pre.CreateKeyEx, VISTA_SP2, "REG_CREATE_KEY_INFORMATION"),
        (Pre.OpenKeyEx, WIN7, "REG_CREATE_KEY_INFORMATION_V1"),
        (Pre.CreateKey, XP, "REG_PRE_CREATE_KEY_INFORMATION"),
        (Post.OpenKey, XP, "REG_POST_CREATE_KEY_INFORMATION"),
        (Pre.FlushKey, VISTA, "REG_DELETE_KEY_INFORMATION"),
        (Pre.LoadKey, WIN10_22H2, "REG_LOAD_KEY_INFORMATION"),
        (Pre.LoadKey, WS2022, "REG_LOAD_KEY_INFORMATION_V2"),
        (Pre.UnLoadKey, WIN11, "REG_UNLOAD_KEY_INFORMATION"),
        (Pre.QueryKeyName, WIN11, "REG_QUERY_KEY_NAME"),
        (Pre.SaveMergedKey, WIN11, "REG_SAVE_MERGED_KEY_INFORMATION"),
        (Post.SetValueKey, WS03, "REG_POST_OPERATION_INFORMATION"),
        (
            NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP,
            VISTA,
            "REG_CALLBACK_CONTEXT_CLEANUP_INFORMATION",
        ),
    ],
)
def test_structure_of_a_class(notify_class: NotifyClass, version: Any, name: str) -> None:
    assert layout(notify_class, version, 8).name == name


def test_every_delivered_class_has_a_layout() -> None:
    for version in MODELLED:
        for architecture in architectures(version):
            pointer_size = {"x64": 8, "x86": 4}[architecture]
            for notify_class in delivered_by(version):
                struct = layout(notify_class, version, pointer_size)
                assert struct.size >= pointer_size
                assert ("CallContext" in struct) <= version.has_context


def test_a_class_the_version_lacks_is_an_error() -> None:
    with pytest.raises(UsageError, match="RegNtPreFlushKey"):
        layout(Pre.FlushKey, WS03, 4)


def test_encode_and_decode_agree() -> None:
    struct = layout(Pre.SetValueKey, WIN11, 8)
    raw = struct.encode(Object=0xFFFF_8000_0000_1234, Type=4, DataSize=7, Data=-1)
    assert len(raw) == struct.size
    members = struct.decode(raw)
    assert members["Object"] == 0xFFFF_8000_0000_1234
    assert (members["Type"], members["DataSize"]) == (4, 7)
    assert members["Data"] == 0xFFFF_FFFF_FFFF_FFFF
    assert members["CallContext"] == 0


def test_decoding_a_cut_structure_leaves_members_out() -> None:
    struct = layout(Pre.SetValueKey, WIN11, 8)
    assert list(struct.decode(bytes(20))) == ["Object", "ValueName", "TitleIndex"]
    assert struct.decode(b"") == {}


def test_an_unknown_member_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match="Object, ValueName"):
        layout(Pre.DeleteValueKey, WIN11, 8).offset("Nonsense")
