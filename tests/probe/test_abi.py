"""The header is the only definition: Python's enums and dtypes follow it."""

from __future__ import annotations

import enum
import re

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.probe import abi, enums

#: Enum -> prefix of its constants in the header.
PREFIXES: dict[type[enum.IntEnum] | type[enum.IntFlag], str] = {
    enums.CrashWay: "REGPROBE_CRASH_",
    enums.GateWay: "REGPROBE_GATE_",
    enums.EventKind: "REGPROBE_KIND_",
    enums.EventFlag: "REGPROBE_EVENT_",
    enums.FilterFlag: "REGPROBE_FILTER_",
    enums.Match: "REGPROBE_MATCH_",
    enums.Subject: "REGPROBE_SUBJECT_",
    enums.Base: "REGPROBE_BASE_",
    enums.Routine: "REGPROBE_HAS_",
}
#: Constants with a prefix that are something else.
OTHERS = {"REGPROBE_EVENT_PAYLOAD"}


def constants(prefix: str) -> dict[str, int]:
    text = abi.HEADER.path.read_text(encoding="utf-8")
    found = re.findall(rf"^#define ({prefix}\w+) ", text, re.MULTILINE)
    return {name: abi.constant(name) for name in found if name not in OTHERS}


@pytest.mark.parametrize("kind", PREFIXES, ids=lambda kind: kind.__name__)
def test_enums_agree_with_the_header(kind: type[enum.IntEnum]) -> None:
    prefix = PREFIXES[kind]
    assert {name.removeprefix(prefix): value for name, value in constants(prefix).items()} == {
        member.name: member.value for member in kind
    }


@pytest.mark.parametrize(
    ("first", "second", "prefix"),
    [
        (enums.Action, enums.ActionFlag, "REGPROBE_ACTION_"),
        (enums.InnerCall, enums.CallFlag, "REGPROBE_CALL_"),
    ],
)
def test_enums_that_share_a_prefix(
    first: type[enum.IntEnum], second: type[enum.IntFlag], prefix: str
) -> None:
    """Codes and flags of one name space: together they are exactly the constants."""
    both = {m.name: int(m) for kind in (first, second) for m in kind}
    assert {name.removeprefix(prefix): value for name, value in constants(prefix).items()} == both


def test_offsets_come_from_the_header() -> None:
    event = abi.dtype("REGPROBE_EVENT")
    assert event.itemsize == abi.record("REGPROBE_EVENT").size == 352
    assert event.fields is not None
    assert event.fields["structure"][1] == 184
    assert event["structure"].names == ("offset", "length", "full_length", "maximum_length", "address")
    assert abi.dtype("REGPROBE_RULE")["key"].shape == (512,)
    assert abi.record("REGPROBE_RULE").offset("handle") == 40


def test_a_record_is_packed_and_unpacked() -> None:
    rule = abi.record("REGPROBE_RULE")
    raw = rule.pack(filter_id=7, status=0xC0000022, key=b"a\0")
    assert len(raw) == rule.size
    back = rule.unpack(raw)
    assert back["abi_version"] == abi.constant("REGPROBE_ABI_VERSION")
    assert back["size"] == rule.size
    assert (back["filter_id"], back["status"] & 0xFFFFFFFF) == (7, 0xC0000022)
    assert back["key"][:4] == b"a\0\0\0"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"filter_id": 1 << 32}, "it has 32 bits"),
        ({"filter_id": -1}, "it has 32 bits"),
        ({"data": bytes(513)}, "holds 512 bytes at most"),
        ({"wrong": 1}, "has no field wrong"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, int | bytes], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        abi.record("REGPROBE_RULE").pack(**fields)


def test_a_short_reply_is_named() -> None:
    with pytest.raises(InfrastructureError, match="4 bytes of REGPROBE_INFO_REPLY, which has 72"):
        abi.record("REGPROBE_INFO_REPLY").unpack(bytes(4))
    with pytest.raises(UsageError, match="no structure"):
        abi.record("NOTHING")
    with pytest.raises(UsageError, match="defines no"):
        abi.constant("NOTHING")
