"""Security descriptors, SDDL, access checks, inheritance, and the two operations on keys."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reference.cm.manager import Caller
from harness.reference.cm.sddl import format_sddl, parse_sddl
from harness.reference.cm.security import (
    Ace,
    SecurityDescriptor,
    SecurityError,
    Sid,
)
from harness.reference.cm.tokens import (
    ADMINISTRATOR,
    STANDARD_USER,
    SYSTEM,
    access_check,
    assign_security,
)
from harness.registry.access import (
    ACCESS_SYSTEM_SECURITY,
    DELETE,
    GENERIC_READ,
    KEY_ALL_ACCESS,
    KEY_QUERY_VALUE,
    KEY_READ,
    KEY_SET_VALUE,
    MAXIMUM_ALLOWED,
    READ_CONTROL,
    WRITE_DAC,
    WRITE_OWNER,
    SecurityInformation,
)
from harness.registry.status import NTSTATUS

EVERYTHING = SecurityInformation.OWNER | SecurityInformation.GROUP | SecurityInformation.DACL


@pytest.mark.parametrize(
    "text",
    [
        "O:BAG:SYD:P(A;CI;KA;;;SY)(D;OICINPIO;KR;;;WD)",
        "D:PAI(A;ID;0x123;;;S-1-5-21-1-2-3-1000)",
        "O:SYD:",
        "D:NO_ACCESS_CONTROL",
        "D:(A;;KA;;;BA)S:PAI(AU;SAFA;KW;;;WD)(ML;;0x1;;;LW)",
        "S:(ML;CI;0x1;;;HI)",
        "G:BU",
    ],
)
def test_sddl_round_trip(text: str) -> None:
    descriptor = parse_sddl(text)
    assert format_sddl(descriptor) == text
    assert format_sddl(SecurityDescriptor.decode(descriptor.encode())) == text


def test_sddl_reads_other_spellings() -> None:
    assert parse_sddl(" o:ba".upper() + " D:(a;ci;KRSD;;;wd) ").dacl == (
        Ace(0, 2, KEY_READ | DELETE, Sid(1, (0,))),
    )
    assert parse_sddl("D:(A;;GA;;;S-1-5-0x12)").dacl == (Ace(0, 0, 0x10000000, Sid(5, (18,))),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "does not begin"),
        ("X:BA", "does not begin"),
        ("O:QQ", "not a SID"),
        ("D:(A;;KA;;;BA", "can't read"),
        ("D:(A;;KA;BA)", "not type;flags;rights"),
        ("D:(OA;;KA;;;BA)", "not supported"),
        ("D:(A;XX;KA;;;BA)", "no flag"),
        ("D:(A;;ZZ;;;BA)", "no access right"),
        ("D:(A;;0xZZ;;;BA)", "no access mask"),
        ("D:(A;;KA;1;;BA)", "not type;flags;rights"),
        ("D:NO_ACCESS_CONTROL(A;;KA;;;BA)", "can't read"),
        ("O:S-1-5-99999999999", "out of range"),
    ],
)
def test_sddl_that_is_none(text: str, complaint: str) -> None:
    with pytest.raises(SecurityError, match=complaint):
        parse_sddl(text)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_read(data: bytes) -> None:
    try:
        descriptor = SecurityDescriptor.decode(data)
    except SecurityError:
        return
    assert SecurityDescriptor.decode(descriptor.encode()) == SecurityDescriptor.decode(descriptor.encode())


@given(st.data())
def test_damaged_descriptors_are_refused_or_read(data: st.DataObject) -> None:
    raw = bytearray(parse_sddl("O:BAG:SYD:P(A;CI;KA;;;SY)(A;;KR;;;WD)S:(AU;SA;KW;;;WD)").encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    with suppress(SecurityError):
        SecurityDescriptor.decode(cut).encode()


@given(st.text(alphabet="OGDSP:AI();KRWXBA0x12-,", max_size=60))
def test_arbitrary_text_is_refused_or_read(text: str) -> None:
    with suppress(SecurityError):
        format_sddl(parse_sddl(text))


def test_unknown_entries_are_carried_along() -> None:
    raw = SecurityDescriptor(dacl=(Ace(5, 2, 0, None, b"12345678"),)).encode()
    assert SecurityDescriptor.decode(raw).dacl == (Ace(5, 2, 0, None, b"12345678"),)


# -- access checks ----------------------------------------------------------------------------------------


def check(sddl: str, token: Any, desired: int, **more: Any) -> tuple[int, int]:
    return access_check(parse_sddl(sddl), token, desired, **more)


def test_order_of_entries_decides() -> None:
    deny_first = "O:SYD:(D;;0x2;;;WD)(A;;KA;;;BA)"
    allow_first = "O:SYD:(A;;KA;;;BA)(D;;0x2;;;WD)"
    assert check(deny_first, ADMINISTRATOR, KEY_SET_VALUE) == (NTSTATUS.ACCESS_DENIED, 0)
    assert check(allow_first, ADMINISTRATOR, KEY_SET_VALUE) == (NTSTATUS.SUCCESS, KEY_SET_VALUE)


def test_no_dacl_and_an_empty_one() -> None:
    assert check("O:SYD:NO_ACCESS_CONTROL", STANDARD_USER, KEY_ALL_ACCESS)[0] == NTSTATUS.SUCCESS
    assert check("O:SY", STANDARD_USER, KEY_ALL_ACCESS)[0] == NTSTATUS.SUCCESS
    assert check("O:SYD:", STANDARD_USER, KEY_QUERY_VALUE)[0] == NTSTATUS.ACCESS_DENIED


def test_owners_and_privileges() -> None:
    own = f"O:{STANDARD_USER.user}D:"
    assert check(own, STANDARD_USER, READ_CONTROL | WRITE_DAC)[0] == NTSTATUS.SUCCESS
    assert check(own + "(A;;KR;;;OW)", STANDARD_USER, WRITE_DAC)[0] == NTSTATUS.ACCESS_DENIED
    assert check(own + "(A;;KR;;;OW)", STANDARD_USER, KEY_QUERY_VALUE)[0] == NTSTATUS.SUCCESS
    assert check("O:SYD:", ADMINISTRATOR, WRITE_OWNER)[0] == NTSTATUS.SUCCESS
    assert check("O:SYD:", STANDARD_USER, WRITE_OWNER)[0] == NTSTATUS.ACCESS_DENIED
    assert check("D:(A;;KA;;;WD)", STANDARD_USER, ACCESS_SYSTEM_SECURITY)[0] == NTSTATUS.PRIVILEGE_NOT_HELD
    assert check("D:", SYSTEM, ACCESS_SYSTEM_SECURITY) == (NTSTATUS.SUCCESS, ACCESS_SYSTEM_SECURITY)


def test_generic_and_maximum() -> None:
    assert check("D:(A;;GR;;;WD)", STANDARD_USER, GENERIC_READ) == (NTSTATUS.SUCCESS, KEY_READ)
    assert check("D:(A;;KR;;;WD)", STANDARD_USER, MAXIMUM_ALLOWED) == (NTSTATUS.SUCCESS, KEY_READ)
    assert check("O:SYD:", STANDARD_USER, MAXIMUM_ALLOWED)[0] == NTSTATUS.ACCESS_DENIED
    assert check("D:(A;;KR;;;WD)", STANDARD_USER, MAXIMUM_ALLOWED | KEY_SET_VALUE)[0] == (
        NTSTATUS.ACCESS_DENIED
    )
    assert check("O:SYD:", STANDARD_USER, MAXIMUM_ALLOWED, checked=False)[1] == KEY_ALL_ACCESS
    assert check("D:(A;IO;KA;;;WD)", STANDARD_USER, KEY_READ)[0] == NTSTATUS.ACCESS_DENIED


# -- inheritance ------------------------------------------------------------------------------------------


def inherited(parent: str, token: Any = ADMINISTRATOR, explicit: str | None = None) -> str:
    given = parse_sddl(explicit) if explicit else None
    return format_sddl(assign_security(parse_sddl(parent), given, token))


def test_what_a_new_key_inherits() -> None:
    group = ADMINISTRATOR.primary_group
    assert inherited("D:(A;CI;KR;;;WD)(A;;KA;;;BA)(A;OI;KA;;;SY)") == f"O:BAG:{group}D:AI(A;CIID;KR;;;WD)"
    assert inherited("D:(A;CINP;KR;;;WD)") == f"O:BAG:{group}D:AI(A;ID;KR;;;WD)"
    assert inherited("D:(A;CIIO;KR;;;WD)") == f"O:BAG:{group}D:AI(A;CIID;KR;;;WD)"
    assert inherited("D:(A;CI;GA;;;WD)") == f"O:BAG:{group}D:AI(A;ID;KA;;;WD)(A;CIIOID;GA;;;WD)"


def test_creators_are_replaced() -> None:
    user = STANDARD_USER.user
    assert inherited("D:(A;CIIO;KA;;;CO)", STANDARD_USER) == (
        f"O:{user}G:{STANDARD_USER.primary_group}D:AI(A;ID;KA;;;{user})(A;CIIOID;KA;;;CO)"
    )


def test_what_the_creator_gives_counts_alone() -> None:
    text = inherited("D:(A;CI;KR;;;WD)", explicit="O:SYG:SYD:P(A;;GR;;;BA)")
    assert text == "O:SYG:SYD:P(A;;KR;;;BA)"


def test_nothing_to_inherit_leaves_the_default() -> None:
    text = inherited("D:P(A;;KA;;;BA)", STANDARD_USER)
    assert text.endswith(f"D:(A;;KA;;;{STANDARD_USER.user})(A;;KA;;;SY)")


def test_audit_entries_are_inherited() -> None:
    assert inherited("D:(A;CI;KR;;;WD)S:(AU;CISA;KW;;;WD)").endswith("S:(AU;CIIDSA;KW;;;WD)")


# -- keys ---------------------------------------------------------------------------------------------------


def test_query_and_set(machine: Any, admin: Caller) -> None:
    cm, key = machine.cm, machine.create("k", start=machine.test)
    new = parse_sddl("O:SYG:SYD:P(A;;KR;;;WD)").encode()
    assert cm.set_security(key, SecurityInformation.DACL, new, caller=admin) == NTSTATUS.SUCCESS
    result = cm.query_security(key, EVERYTHING, 1000)
    descriptor = SecurityDescriptor.decode(result.data)
    assert format_sddl(descriptor) == f"O:BAG:{ADMINISTRATOR.primary_group}D:P(A;;KR;;;WD)"
    short = cm.query_security(key, EVERYTHING, result.result_length - 1)
    assert (short.status, short.data) == (NTSTATUS.BUFFER_TOO_SMALL, b"")
    assert short.result_length == result.result_length
    owner = SecurityDescriptor.decode(cm.query_security(key, SecurityInformation.OWNER, 1000).data)
    assert format_sddl(owner) == "O:BA"


def test_sacl_and_protection(machine: Any, admin: Caller) -> None:
    cm, key = machine.cm, machine.create("k", start=machine.test)
    sacl = parse_sddl("S:(AU;SA;KA;;;WD)").encode()
    assert cm.set_security(key, SecurityInformation.SACL, sacl, caller=admin) == NTSTATUS.SUCCESS
    dacl = parse_sddl("D:(A;;KA;;;BA)").encode()
    protected = SecurityInformation.DACL | SecurityInformation.PROTECTED_DACL
    assert cm.set_security(key, protected, dacl, caller=admin) == NTSTATUS.SUCCESS
    both = SecurityInformation.DACL | SecurityInformation.SACL
    text = format_sddl(SecurityDescriptor.decode(cm.query_security(key, both, 1000).data))
    assert text == "D:P(A;;KA;;;BA)S:(AU;SA;KA;;;WD)"


def test_owners_one_may_assign(machine: Any, admin: Caller, user: Caller) -> None:
    cm, key = machine.cm, machine.create("k", start=machine.test)
    part = SecurityInformation.OWNER
    to_system = parse_sddl("O:SY").encode()
    assert cm.set_security(key, part, to_system, caller=user) == NTSTATUS.INVALID_OWNER
    own = parse_sddl(f"O:{STANDARD_USER.user}").encode()
    assert cm.set_security(key, part, own, caller=user) == NTSTATUS.SUCCESS
    assert cm.set_security(key, part, to_system, caller=admin) == NTSTATUS.SUCCESS  # has SeRestorePrivilege
    assert cm.set_security(key, part, parse_sddl("G:SY").encode(), caller=admin) == NTSTATUS.INVALID_OWNER


def test_a_broken_descriptor_changes_nothing(machine: Any, admin: Caller) -> None:
    before = machine.test.state().security
    status = machine.cm.set_security(machine.test, EVERYTHING, b"\1" * 40, caller=admin)
    assert status == NTSTATUS.INVALID_SECURITY_DESCR
    assert machine.test.state().security == before
