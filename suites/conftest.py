"""Fixtures of the suites, over those of the plugin (`guest`, `probe`, `registry`, `record`)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.guest import Guest
from harness.probe import Probe
from harness.workload import Registry
from suites.scene import Scene


@pytest.fixture
def scene(guest: Guest, probe: Probe, registry: Registry) -> Iterator[Scene]:
    """The place where workloads run; hives loaded there are unloaded afterwards, whatever the test did."""
    scene = Scene(guest, probe, registry)
    yield scene
    scene.close()
