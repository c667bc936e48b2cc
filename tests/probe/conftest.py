"""A probe over a device in memory, and a filter of it."""

from __future__ import annotations

import pytest

from harness.probe import MIDDLE, Filter, Probe
from tests.probe.fake_device import FakeDevice


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def probe(device: FakeDevice) -> Probe:
    return Probe(device)


@pytest.fixture
def monitor(probe: Probe) -> Filter:
    return probe.add(MIDDLE)
