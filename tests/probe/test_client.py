"""The link to a probe, its filters, and bringing the guest down, over a device in memory."""

from __future__ import annotations

import pytest

from harness.errors import (
    AbiMismatchError,
    InfrastructureError,
    UnsupportedError,
    UsageError,
)
from harness.probe import (
    HIGH,
    LOW,
    MIDDLE,
    Filter,
    Probe,
    ProbeError,
    altitudes,
)
from harness.probe.enums import CrashWay, FilterFlag, Routine
from harness.registry.altitude import Altitude
from harness.registry.notify import Pre
from harness.registry.status import NTSTATUS
from harness.registry.version import XP
from tests.probe.fake_device import FakeDevice

# -- the link ----------------------------------------------------------------------------------------------


def test_info_is_read_once(probe: Probe, device: FakeDevice) -> None:
    assert probe.info.version == device.version
    assert probe.info.callback_version == (1, 1)
    assert probe.info.has_register_callback_ex
    assert probe.info.routines == Routine.REGISTER_CALLBACK | Routine.REGISTER_CALLBACK_EX
    assert probe.info.pointer_mask == 0xFFFF_FFFF_FFFF_FFFF


def test_another_abi_is_refused_with_both_versions(device: FakeDevice) -> None:
    device.abi_version = 0x00020003
    with pytest.raises(AbiMismatchError, match=r"the probe speaks ABI 2\.3, this harness 1\.2"):
        Probe(device)


def test_a_mismatch_that_appears_later_is_named_too(probe: Probe, device: FakeDevice) -> None:
    device.abi_version = 0x00090000
    with pytest.raises(AbiMismatchError, match=r"ABI 9\.0"):
        probe.add(HIGH)


# -- filters -----------------------------------------------------------------------------------------------


def test_a_stack_of_filters(probe: Probe, device: FakeDevice) -> None:
    high, middle, low = probe.stack(HIGH, MIDDLE, LOW)
    assert [each.altitude for each in probe.filters] == [HIGH, MIDDLE, LOW]
    assert len({high.cookie, middle.cookie, low.cookie}) == 3
    sent = device.sent("ADD_FILTER")
    assert [s["altitude"][: s["altitude_length"]].decode("utf-16-le") for s in sent] == [HIGH, MIDDLE, LOW]
    assert repr(high) == f"<filter {HIGH}>"


def test_a_kernel_without_callbacks_is_a_skip_and_has_its_status(probe: Probe, device: FakeDevice) -> None:
    device.has_callbacks = False
    with pytest.raises(UnsupportedError, match="no registry callbacks"):
        probe.add(HIGH)
    assert probe.try_add(HIGH) == NTSTATUS.NOT_IMPLEMENTED


def test_test_altitudes_are_fractions_from_high_to_low(probe: Probe) -> None:
    many = altitudes(32)
    assert len(probe.stack(32)) == 32
    assert [Altitude(text) for text in many] == sorted((Altitude(text) for text in many), reverse=True)
    assert all("." in text and 360000 < float(text) < 390000 for text in many)
    with pytest.raises(UsageError, match="at most"):
        altitudes(1000)


def test_a_collision_has_its_status(probe: Probe) -> None:
    probe.add(HIGH)
    with pytest.raises(ProbeError, match="ALTITUDE_COLLISION") as caught:
        probe.add(HIGH)
    assert caught.value.status == NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION
    assert probe.try_add(HIGH) == NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION
    assert probe.try_add(LOW) == NTSTATUS.SUCCESS
    assert [each.altitude for each in probe.filters] == [HIGH, LOW]


def test_flags_of_a_filter(probe: Probe, device: FakeDevice) -> None:
    probe.add(HIGH, context=5, silent=True, names=False, raw=False, at_apc_level=True)
    (sent,) = device.sent("ADD_FILTER")
    assert sent["context"] == 5
    assert FilterFlag(sent["flags"]) == (
        FilterFlag.SILENT | FilterFlag.NO_NAMES | FilterFlag.NO_RAW | FilterFlag.AT_APC_LEVEL
    )


def test_before_vista_filters_are_legacy(device: FakeDevice) -> None:
    device.version, device.routines = XP, int(Routine.REGISTER_CALLBACK)
    probe = Probe(device)
    one = probe.add_monitor()
    two = probe.add("380000")
    assert one.legacy
    assert two.legacy
    assert two.altitude == "380000", "kept as a label"
    assert all(
        s["flags"] == FilterFlag.LEGACY and not s["altitude_length"] for s in device.sent("ADD_FILTER")
    )


def test_a_filter_needs_an_altitude_or_legacy(probe: Probe) -> None:
    with pytest.raises(UsageError, match="needs an altitude"):
        probe.add()
    assert probe.add(legacy=True).altitude is None


def test_monitors_take_free_altitudes(probe: Probe) -> None:
    assert len({probe.add_monitor().altitude for _ in range(4)}) == 4


def test_removal(probe: Probe, monitor: Filter) -> None:
    assert monitor.remove().cleanups == 3
    assert probe.filters == []
    with pytest.raises(UsageError, match="removed before"):
        monitor.remove()
    with pytest.raises(UsageError, match="no more rules"):
        monitor.on(Pre.SetValueKey)
    assert probe.unregister_cookie(0xBAD).status == NTSTATUS.INVALID_PARAMETER
    with probe.add(HIGH) as inside:
        assert inside in probe.filters
    assert probe.filters == []


def test_reset_forgets_everything(probe: Probe, device: FakeDevice, monitor: Filter) -> None:
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1
    probe.reset()
    assert monitor.removed
    assert probe.filters == []
    assert probe.trace == []
    assert probe.statistics.recorded == 0


# -- bringing the guest down -------------------------------------------------------------------------------


def test_a_crash_carries_code_and_parameters(probe: Probe, device: FakeDevice) -> None:
    with pytest.raises(InfrastructureError, match="was to bugcheck, and its driver answered and goes on"):
        probe.crash(0xDEADDEAD, (1, 2, 3, (1 << 64) - 1))
    (sent,) = device.sent("CRASH")
    assert (sent["how"], sent["code"]) == (CrashWay.BUGCHECK, 0xDEADDEAD)
    parameters = [int.from_bytes(sent["parameters"][at : at + 8], "little") for at in range(0, 32, 8)]
    assert parameters == [1, 2, 3, (1 << 64) - 1]


def test_a_parameter_that_would_be_cut_is_refused(device: FakeDevice) -> None:
    device.pointer_size = 4
    with pytest.raises(UsageError, match=r"parameter 4, 0x100000000, needs more than 32 bits"):
        Probe(device).crash(0xE2, (1, 2, 3, 1 << 32))
    assert not device.sent("CRASH")
