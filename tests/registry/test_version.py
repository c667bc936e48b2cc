"""Versions and their named differences."""

import pytest

from harness.errors import UsageError
from harness.registry.version import (
    MODELLED,
    VISTA,
    VISTA_SP2,
    WIN7,
    WIN8,
    WIN10_22H2,
    WIN11_24H2,
    WIN81,
    WS03,
    WS2022,
    XP,
    WindowsVersion,
    architectures,
)

NAMES = (
    "5.1 5.2 6.0 6.0.6002 6.1 6.2 6.3 10.0.10240 10.0.14393 10.0.17763 10.0.19045 10.0.20348 10.0.22000 "
    "10.0.22631 10.0.26100"
)


def test_modelled_versions_in_order() -> None:
    assert " ".join(map(str, MODELLED)) == NAMES
    assert list(MODELLED) == sorted(MODELLED)


@pytest.mark.parametrize("version", MODELLED, ids=str)
def test_text_round_trip(version: WindowsVersion) -> None:
    assert WindowsVersion.parse(str(version)) == version
    assert WindowsVersion.parse(version.triple) == version


@pytest.mark.parametrize(
    "text", ["", "win10", "10", "10.0", "6.4", "10.0.x", "1.2.3.4", "10.0.26100 beta", "٥.١"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        WindowsVersion.parse(text)


def test_any_build_is_a_version() -> None:
    version = WindowsVersion.parse(" 10.0.22621 ")
    assert version.number == (10, 0, 22621)
    assert version.callback_version == (1, 1)
    assert WindowsVersion.parse("6.0.6001").service_pack == 1


def test_architectures() -> None:
    assert architectures(XP) == ("x86",)
    assert architectures(WS03) == ("x64", "x86")
    assert architectures(WIN10_22H2) == ("x64", "x86")
    assert architectures(WS2022) == architectures(WIN11_24H2) == ("x64",)


@pytest.mark.parametrize(
    ("question", "since"),
    [
        ("has_layering", VISTA),
        ("has_bypass", VISTA),
        ("has_context", VISTA),
        ("has_transactions", VISTA),
        ("has_app_hives", VISTA),
        ("has_extended_create", WS03),
        ("has_create_v1", WIN7),
        ("nulls_failed_post_object", WIN7),
        ("status_override_after_lower_block_counts", WIN7),
        ("refuses_both_views", WIN7),
        ("shares_wow64_keys", WIN7),
        ("captures_input", WIN8),
        ("several_app_hives", WIN8),
        ("has_load_key_v2", WS2022),
    ],
)
def test_what_came_and_stayed(question: str, since: WindowsVersion) -> None:
    for version in MODELLED:
        assert getattr(version, question) is (version >= since), f"{question} on {version}"


def test_what_went() -> None:
    assert [version for version in MODELLED if version.swallows_callback_exceptions] == [VISTA, VISTA_SP2]
    assert max(version for version in MODELLED if version.can_open_post_object) == WIN8
    assert not WIN81.can_open_post_object
    assert not WIN11_24H2.has_predefined_keys


def test_callback_version() -> None:
    assert {version.callback_version for version in MODELLED if version < VISTA} == {(0, 0)}
    assert {version.callback_version for version in (VISTA, VISTA_SP2)} == {(1, 0)}
    assert {version.callback_version for version in MODELLED if version >= WIN7} == {(1, 1)}


def test_signatures_are_enforced_on_x64_from_vista_on() -> None:
    assert VISTA.enforces_signatures("x64")
    assert not VISTA.enforces_signatures("x86")
    assert not WS03.enforces_signatures("x64")
