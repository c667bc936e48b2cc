"""The fixtures a suite uses. Each is thin: what it gives away is usable from a REPL without pytest.

pytest must know fixtures in every run, before it collects; they import what they need when a test has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from harness.between import Between
    from harness.guest.base import Guest
    from harness.plugin.station import Station
    from harness.probe import Probe
    from harness.targets import Target
    from harness.workload import Registry

__all__ = [
    "CASE_FIXTURE",
    "TARGET_FIXTURE",
    "Recorder",
    "app_hive",
    "guest",
    "own_driver",
    "probe",
    "record",
    "registry",
    "target",
]

#: What the `record` fixture is: a name and what was seen.
Recorder = Callable[[str, object], None]

#: The fixture that carries the target; private, so that a test file's own `target` fixture stays its own.
TARGET_FIXTURE: Final = "_harness_target"
#: The fixture that carries the case of a native suite.
CASE_FIXTURE: Final = "_harness_case"


@pytest.fixture(name=TARGET_FIXTURE)
def _target_parameter(request: pytest.FixtureRequest) -> Target:
    """Carries the target the test was parametrised with."""
    if not hasattr(request, "param"):  # pytest can't parametrise these
        pytest.fail(
            "a unittest.TestCase can't have a guest: write a function, or a class without that base", False
        )
    chosen: Target = request.param
    return chosen


@pytest.fixture(name=CASE_FIXTURE)
def _case_parameter(request: pytest.FixtureRequest) -> str | None:
    """The name of a native case; None where the cases could not be listed."""
    case: str | None = request.param
    return case


@pytest.fixture
def target(_harness_target: Target) -> Target:
    """The target the test runs on: name, kind of guest, Windows version, architecture."""
    return _harness_target


@pytest.fixture
def _station(request: pytest.FixtureRequest, _harness_target: Target) -> Station:
    """The guest and what is loaded in it; skips when the guest lacks a required capability."""
    from harness.plugin.recording import LOG, TestLog
    from harness.plugin.selection import exclusion, limitation, missing_capability
    from harness.plugin.station import POOL

    item = request.node
    if reason := exclusion(item, _harness_target) or limitation(item, _harness_target):
        pytest.skip(reason)
    station = request.config.stash[POOL].station(_harness_target, item)
    item.stash.setdefault(LOG, TestLog()).station = station
    station.begin(item.nodeid)
    if reason := missing_capability(item, station.guest.info):
        pytest.skip(reason)
    return station


@pytest.fixture
def guest(_station: Station) -> Guest:
    """A booted guest of the target. After a failure the next test gets a fresh one."""
    return _station.guest


@pytest.fixture
def probe(_station: Station) -> Iterator[Probe]:
    """The probe, loaded and without filters. Afterwards its trace is checked for drops and it is reset."""
    yield _station.probe
    _station.settle()


@pytest.fixture
def registry(_station: Station) -> Iterator[Registry]:
    """The registry of the guest: programs, and a test root key of its own, deleted afterwards."""
    from harness.workload import Registry

    registry = Registry(_station.guest)
    registry.set_up()  # before a filter has a say in it
    yield registry
    _station.settle()
    if not _station.spoiled:
        registry.close()


@pytest.fixture
def app_hive(registry: Registry) -> str:
    """Path of a hive file of the test's own, for ``p.load_app_key(app_hive)``; it needn't exist before."""
    return registry.app_hive()


@pytest.fixture
def own_driver(_station: Station, probe: Probe, request: pytest.FixtureRequest) -> Iterator[Between]:
    """The driver given with ``--driver``, loaded between two probe filters; skips without one."""
    from harness.plugin.options import SETTINGS

    settings = request.config.stash[SETTINGS]
    path = settings.driver
    if path is None:
        pytest.skip("needs a driver of your own: --driver FILE.sys")
    yield _station.load_own(path, settings.driver_parameters)
    _station.settle()


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Recorder:
    """Keeps what was seen where the documentation is silent: ``record("status", write.status)``."""
    from harness.plugin.recording import LOG, TestLog
    from harness.results.model import MAX_RECORDED, clip

    log = request.node.stash.setdefault(LOG, TestLog())

    def keep(name: str, value: object) -> None:
        log.recorded[name] = clip(value if isinstance(value, str) else repr(value), MAX_RECORDED)

    return keep
