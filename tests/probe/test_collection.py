"""Events brought to the host: drained, complete or refused, over a device in memory."""

from __future__ import annotations

import pytest

from harness.errors import (
    InfrastructureError,
    TraceIncompleteError,
)
from harness.probe import (
    Probe,
)
from harness.registry.notify import Post, Pre
from tests.probe.fake_device import FakeDevice


def test_events_come_in_several_drains(probe: Probe, device: FakeDevice) -> None:
    for number in range(500):
        device.notify(Pre.SetValueKey, time=number, name=f"value{number}")
    assert len(probe.trace) == 500
    assert sum(code == "DRAIN" for code, _ in device.requests) > 1
    device.notify(Post.SetValueKey, time=500)
    trace = probe.trace
    assert len(trace) == 501
    assert trace[499].name == "value499"
    assert trace[0].name == "value0", "offsets hold after the pieces are joined"
    device.notify(Post.SetValueKey, time=501)
    assert len(probe.drain()) == 1
    assert len(probe.trace) == 502


def test_drops_make_a_trace_useless(probe: Probe, device: FakeDevice) -> None:
    device.notify(Pre.SetValueKey)
    device.dropped = 7
    for look in (lambda: probe.trace, probe.check_complete):
        with pytest.raises(TraceIncompleteError, match=r"dropped 7 events.*4096 slots.*RingSlots"):
            look()
    probe.reset()
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1


def test_a_gap_makes_a_trace_useless(probe: Probe, device: FakeDevice) -> None:
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1
    device.sequence += 4
    device.notify(Pre.SetValueKey)
    with pytest.raises(TraceIncompleteError, match="4 sequence numbers are missing"):
        _ = probe.trace


def test_sequence_numbers_that_go_back_are_refused(probe: Probe, device: FakeDevice) -> None:
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1
    device.sequence = 0
    device.notify(Pre.SetValueKey)
    with pytest.raises(InfrastructureError, match="do not ascend"):
        _ = probe.trace


def test_a_running_callback_does_not_hold_up_the_drain(probe: Probe, device: FakeDevice) -> None:
    device.unready = True
    device.notify(Pre.SetValueKey)
    assert probe.trace == []
    device.unready = False
    assert len(probe.trace) == 1


def test_a_guest_that_did_nothing_is_not_asked_again(probe: Probe, device: FakeDevice) -> None:
    device.activity = 1
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1
    drains = len(device.sent("DRAIN"))
    assert len(probe.trace) == 1
    probe.check_complete()
    assert len(device.sent("DRAIN")) == drains
    device.notify(Post.SetValueKey)
    device.activity = 2
    assert len(probe.trace) == 2
    device.activity = None
    _ = probe.trace
    _ = probe.trace
    assert len(device.sent("DRAIN")) == drains + 3
