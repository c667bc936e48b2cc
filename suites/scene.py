"""The place where a test performs workloads of `suites.workloads`."""

from __future__ import annotations

from typing import TypedDict

import pytest

from harness.guest import Guest
from harness.probe import Probe
from harness.registry.paths import MACHINE, RegistryPath
from harness.workload import Registry, Step
from suites.workloads import Place, Workload

__all__ = ["Scene"]


class Condition(TypedDict, total=False):
    """What keeps a rule away from everybody else's registry."""

    under: RegistryPath


class Scene:
    """Prepares, performs and checks workloads, each in a program of its own."""

    def __init__(self, guest: Guest, probe: Probe, registry: Registry) -> None:
        self._probe = probe
        self._registry = registry
        self._version = guest.info.version
        self._capabilities = guest.info.capabilities
        name = registry.test_root.name
        self.place = Place(
            app=registry.test_root / "app",
            mount=MACHINE / f"RegFilterHarness-{name}",
            saved="saved.dat",
            target="target.dat",
            backup="backup.dat",
        )

    def prepare(self, workload: Workload) -> None:
        """Set the scene; skips the test where this Windows lacks the call."""
        if self._version.number < workload.since:
            pytest.skip(f"Windows {self._version} has no such call")
        if workload.disposable and "disposable" not in self._capabilities:
            pytest.skip(f"{workload} leaves a trace that only a revert removes")
        with self._registry.program() as p:
            p.check_all()
            workload.prepare(p, self.place)

    def prepare_through(self, workload: Workload) -> None:
        """Set the scene past a driver that may stop it; skips naming what it stopped."""
        try:
            self.prepare(workload)
        except AssertionError as error:
            pytest.skip(f"the driver stopped the preparation: {error}")

    def prepare_notified(self, workload: Workload) -> None:
        """The same, and skips where this Windows has the call but delivers no class for it."""
        if not workload.expected(self._version):
            pytest.skip(f"Windows {self._version} delivers no notification for {workload}")
        self.prepare(workload)

    def perform(self, workload: Workload) -> Step:
        """The operation itself; the step has its results."""
        with self._registry.program() as p:
            return workload.act(p, self.place)

    def look(self, workload: Workload) -> int | None:
        """Status of the check afterwards, without any filter; None where the workload has no check."""
        self._probe.reset()
        if workload.check is None:
            return None
        with self._registry.program() as p:
            step = workload.check(p, self.place)
        return step.status

    def scope(self, workload: Workload) -> Condition:
        """The key below which a rule about this workload's operation applies."""
        if workload.keyless:
            return {}
        return {"under": self.place.mount if workload.mounted else self.place.app}
