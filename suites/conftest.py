"""Fixtures of the suites, over those of the plugin (`guest`, `probe`, `registry`, `record`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from harness.errors import GuestCrashed
from harness.guest import Capability, Guest
from harness.plugin.station import Station
from harness.probe import Probe
from harness.workload import Registry
from suites.features import Features
from suites.scene import Scene

CrashExpected = Callable[[], AbstractContextManager[pytest.ExceptionInfo[GuestCrashed]]]


@pytest.fixture
def scene(guest: Guest, probe: Probe, registry: Registry) -> Scene:
    """The place where workloads run; `registry` cleans up what they leave."""
    return Scene(guest, probe, registry)


@pytest.fixture
def crashing(_station: Station) -> CrashExpected:
    """``with crashing() as crash:`` the guest must bugcheck inside; the next test gets a fresh one."""

    @contextmanager
    def expecting() -> Iterator[pytest.ExceptionInfo[GuestCrashed]]:
        _station.spoiled = True
        with pytest.raises(GuestCrashed) as caught:
            yield caught

    return expecting


@pytest.fixture
def features(guest: Guest, registry: Registry) -> Iterator[Features]:
    """The driver of driver-src/field/features.c, loaded; for what the probe has no means for."""
    if reason := guest.info.reasons.get(Capability.CALLBACKS):
        pytest.skip(f"{guest.info.name} lacks callbacks: {reason}")
    with Features.loaded(guest) as driver:
        yield driver
