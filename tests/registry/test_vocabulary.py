"""Statuses, rights, paths, altitudes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.registry.access import (
    GENERIC_ALL,
    GENERIC_READ,
    KEY_ALL_ACCESS,
    KEY_READ,
    KEY_WRITE,
    MAXIMUM_ALLOWED,
    access_names,
    map_generic,
)
from harness.registry.altitude import Altitude, is_altitude
from harness.registry.options import KeyOptions, LoadFlags
from harness.registry.paths import (
    MACHINE,
    RegistryPath,
    is_at_or_under,
    join,
    leaf,
    parent,
    same_path,
    split,
    upcase,
)
from harness.registry.status import NTSTATUS, nt_error, nt_success, status_name
from harness.registry.valuetypes import value_type_name


def test_statuses() -> None:
    assert NTSTATUS.ACCESS_DENIED == 0xC0000022
    assert NTSTATUS.CALLBACK_BYPASS == 0xC0000503
    assert NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION == 0xC01C0011
    assert status_name(0xC0000022) == "STATUS_ACCESS_DENIED"
    assert status_name(-1073741790) == "STATUS_ACCESS_DENIED"
    assert status_name(0xC0DE0001) == "0xC0DE0001"


def test_severities() -> None:
    assert nt_success(0)
    assert nt_success(NTSTATUS.OBJECT_NAME_EXISTS)
    assert nt_success(NTSTATUS.REPARSE)
    assert not nt_success(NTSTATUS.BUFFER_OVERFLOW)
    assert not nt_error(NTSTATUS.BUFFER_OVERFLOW)
    assert nt_error(NTSTATUS.CALLBACK_BYPASS)
    assert not nt_success(-1)


def test_rights() -> None:
    assert (KEY_READ, KEY_WRITE, KEY_ALL_ACCESS) == (0x20019, 0x20006, 0xF003F)
    assert map_generic(GENERIC_READ | 2) == KEY_READ | 2
    assert map_generic(GENERIC_ALL) == KEY_ALL_ACCESS
    assert map_generic(MAXIMUM_ALLOWED) == MAXIMUM_ALLOWED
    assert access_names(KEY_ALL_ACCESS) == "KEY_ALL_ACCESS"
    assert access_names(0x10002) == "KEY_SET_VALUE | DELETE"
    assert access_names(0x40000002 | 0x400) == "KEY_SET_VALUE | GENERIC_WRITE | 0x400"
    assert access_names(0) == "0"


def test_value_types() -> None:
    assert value_type_name(1) == "REG_SZ"
    assert value_type_name(0x1234) == "4660"


def test_paths() -> None:
    path = RegistryPath("HKLM") / "Software" / r"A\B"
    assert path == r"\REGISTRY\MACHINE\Software\A\B"
    assert path.name == "B"
    assert path.parent == r"\REGISTRY\MACHINE\Software\A"
    assert path.names == ("REGISTRY", "MACHINE", "Software", "A", "B")
    assert path.same(r"\Registry\Machine\SOFTWARE\a\b\\")
    assert MACHINE.contains(path)
    assert not path.contains(MACHINE)
    assert RegistryPath("hkey_users\\x") == r"\REGISTRY\USER\x"
    assert isinstance(path.parent, RegistryPath)


def test_path_functions() -> None:
    assert split(r"\a\\b\\") == ("a", "b")
    assert join("", "a", "b") == r"a\b"
    assert join("\\REGISTRY\\", "\\A") == r"\REGISTRY\A"
    assert (parent("a"), leaf("a")) == ("", "a")
    assert is_at_or_under(r"\A\BC", r"\a\bc")
    assert not is_at_or_under(r"\A\BC", r"\A\B")
    assert not same_path(r"A\B", r"\A\B")


def test_upcase_works_unit_by_unit() -> None:
    assert upcase("straße") == "STRAßE"
    assert upcase("ÿa") == "ŸA"
    assert upcase("\ud800x") == "\ud800X"
    assert upcase("\U00010428") == "\U00010428"  # beyond the first plane nothing changes


@pytest.mark.parametrize("text", ["380000", "380000.5", "0", ".5", "007.", "9" * 1000])
def test_altitudes(text: str) -> None:
    assert is_altitude(text)
    assert str(Altitude(text)) == text


@pytest.mark.parametrize("text", ["", ".", "abc", "-1", "1e5", " 1", "1.2.3", "٣"])
def test_no_altitudes(text: str) -> None:
    assert not is_altitude(text)
    with pytest.raises(UsageError):
        Altitude(text)


def test_altitudes_are_numbers_not_text() -> None:
    ordered = ["99999", "380000", "380000.45", "380000.5", "380001"]
    assert [item.text for item in sorted(map(Altitude, reversed(ordered)))] == ordered
    assert Altitude("380010") == Altitude("0380010.0")
    assert len({Altitude("1"), Altitude("1.0"), Altitude("01.")}) == 1
    assert Altitude("1.10") != Altitude("1.1000001")


digits = st.text("0123456789", min_size=1, max_size=30)


@given(digits, digits, digits, digits)
def test_altitude_order_is_exact(a: str, b: str, c: str, d: str) -> None:
    one, other = f"{a}.{b}", f"{c}.{d}"
    scale = 10**60
    numbers = [int(w) * scale + int(f.ljust(60, "0")) for w, f in ((a, b), (c, d))]
    assert (Altitude(one) < Altitude(other)) == (numbers[0] < numbers[1])
    assert (Altitude(one) == Altitude(other)) == (numbers[0] == numbers[1])


def test_masks_complement_to_every_bit() -> None:
    assert 0x8000_0001 & ~LoadFlags.WHOLE_HIVE_VOLATILE == 0x8000_0000
    assert 0xFFFF_FFFF & ~(KeyOptions.VOLATILE | KeyOptions.OPEN_LINK) == 0xFFFF_FFF6
