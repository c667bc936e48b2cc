"""Fixtures of the suites, over those of the plugin (`guest`, `probe`, `registry`, `record`)."""

from __future__ import annotations

import pytest

from harness.guest import Guest
from harness.probe import Probe
from harness.workload import Registry
from suites.scene import Scene


@pytest.fixture
def scene(guest: Guest, probe: Probe, registry: Registry) -> Scene:
    """The place where workloads run; `registry` cleans up what they leave."""
    return Scene(guest, probe, registry)
