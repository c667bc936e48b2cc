"""Which drivers are minifilters, and what their service gets."""

from __future__ import annotations

import pytest

from harness.driver import probe_image
from harness.driver.minifilter import instance_keys, is_minifilter
from harness.guest.base import Arch
from harness.registry.version import WIN11_24H2
from tests.field.world import image


@pytest.mark.parametrize("arch", ["x64", "x86"])
@pytest.mark.parametrize("name", ["minifilter", "hybrid"])
def test_a_driver_that_registers_with_the_filter_manager_is_one(name: str, arch: str) -> None:
    assert is_minifilter(image(name, arch))


def test_other_drivers_and_what_is_none_are_not() -> None:
    minifilter = image("minifilter", "x64")
    assert not is_minifilter(probe_image(Arch.X64, WIN11_24H2))
    assert not is_minifilter(image("queue", "x64") + b"FltRegisterFilter")  # the name alone, in its data
    assert not is_minifilter(b"MZ FltRegisterFilter fltmgr.sys")
    assert not is_minifilter(minifilter[:0x180] + b"FltRegisterFilter")


def test_the_instance_is_where_every_windows_looks_for_it() -> None:
    keys = instance_keys("guard")
    assert set(keys) == {
        "Instances",
        "Instances\\guard Instance",
        "Parameters\\Instances",
        "Parameters\\Instances\\guard Instance",
    }
    assert keys["Instances"] == keys["Parameters\\Instances"] == {"DefaultInstance": "guard Instance"}
    altitude = keys["Instances\\guard Instance"]["Altitude"]
    assert isinstance(altitude, str)
    assert 360_000 <= float(altitude) < 390_000  # FSFilter Activity Monitor


def test_two_minifilters_get_two_altitudes() -> None:
    def altitudes(service: str) -> set[int | str]:
        return {values["Altitude"] for values in instance_keys(service).values() if "Altitude" in values}

    assert len(altitudes("one")) == 1
    assert altitudes("one") != altitudes("two")
