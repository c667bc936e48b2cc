"""The guest a test runs on: booted when first asked for, kept for as long as the isolation allows."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.between import Between
from harness.guest.base import DriverParameters, Guest
from harness.guests import Guests, GuestSettings
from harness.plugin.leaks import LeakWatch
from harness.plugin.options import Isolation
from harness.registry.status import nt_success
from harness.repro.recorder import RecordedGuest
from harness.results.model import Attestation
from harness.targets import Target

if TYPE_CHECKING:
    from harness.probe import Probe

__all__ = ["ISOLATION", "POOL", "GuestPool", "Station"]


class Station:
    """One booted guest and what was loaded into it.

    `spoiled` is set when a test failed there: whatever it left behind is not worth cleaning, the next test
    gets a fresh guest, and fixtures leave this one alone from then on.
    """

    def __init__(self, target: Target, guests: Guests) -> None:
        self.target = target
        recorded = RecordedGuest(guests.boot(target))
        self.guest: Guest = recorded
        #: What the running test asks of the guest, for the bundle of a failure.
        self.journal = recorded.journal
        self.spoiled = False
        self.drivers: dict[str, str] = {}
        self.leaks = LeakWatch(self.guest)
        #: Node ids of the tests that used the guest since it was last looked at for leaks.
        self.tests: list[str] = []
        #: Native suites whose files are in the guest.
        self.deployed: set[Path] = set()
        #: Notify classes that the probe's filters were told of in the last test that settled.
        self.callbacks: frozenset[int] = frozenset()
        self._in_use = False
        self._own_driver: Between | None = None

    def note_driver(self, service: str, image: bytes) -> None:
        """Put a loaded image's digest into the attestation."""
        self.drivers[service] = hashlib.sha256(image).hexdigest()

    @cached_property
    def probe(self) -> Probe:
        """The probe, loaded on first use. Raises `DriverRefusedError` when it doesn't start."""
        from harness.driver import probe_image
        from harness.probe import Probe
        from harness.probe.client import SERVICE

        image = probe_image(self.target.arch, self.target.version)
        probe = Probe.install(self.guest, image=image)
        self.note_driver(SERVICE, image)
        self.leaks.start(probe)
        return probe

    @property
    def has_probe(self) -> bool:
        return "probe" in self.__dict__

    def load_own(self, path: Path, parameters: DriverParameters) -> Between:
        """Load the user's driver between two filters of the probe; `settle` unloads it."""
        self._own_driver = Between.load(self.guest, self.probe, path, parameters=parameters)
        self.note_driver(self._own_driver.service, path.read_bytes())
        return self._own_driver

    def begin(self, test: str = "") -> None:
        """A test is about to use the guest."""
        self._in_use = True
        self.journal.begin(test)
        self.tests.append(test)
        self.callbacks = frozenset()

    def settle(self) -> None:
        """After a test, once: check that no event was dropped, then take drivers, filters and rules away.

        Whoever cleans up in the guest settles first: what still filters would get in the way. Raises
        `TraceIncompleteError` for drops: what the test concluded rests on a part of the truth.
        """
        if not self._in_use or self.spoiled:
            return
        self._in_use = False
        if self.has_probe:
            self.probe.check_complete()
            self.callbacks = self.probe.take_classes()
        own, self._own_driver = self._own_driver, None
        if own is not None and not nt_success(own.unload()):
            self.spoiled = True  # it has no unload routine; only a fresh guest is rid of it
        elif self.has_probe:
            self.probe.reset()
            self.guest.note_open_keys()

    @property
    def attestation(self) -> Attestation:
        info = self.guest.info
        facts = info.facts
        filters: tuple[str, ...] = ()
        if self.has_probe:
            filters = tuple(registered.name for registered in self.probe.filters)
        return Attestation(
            target=self.target.name,
            kind=info.kind.value,
            version=info.version.triple,
            arch=info.arch.value,
            test_signing=info.test_signing,
            drivers=dict(self.drivers),
            filters=filters,
            product=facts.product or "",
            ubr=facts.ubr,
            secure_boot=facts.secure_boot,
            hvci=facts.hvci,
            verifier_flags=facts.verifier_flags,
            verifier_drivers=facts.verifier_drivers or (),
            clock_skew=facts.clock_skew,
            template=facts.template,
            channel=facts.channel,
            accelerator=facts.accelerator,
            drilled=facts.drilled,
        )

    def close(self) -> None:
        self.guest.close()


class GuestPool:
    """At most one guest at a time: pytest groups the tests by target, so the next test often wants it.

    What guests are made of, a machine's template and the clones that wait, stays until the pool is closed.
    """

    def __init__(self, isolation: Isolation, settings: GuestSettings | None = None) -> None:
        self._isolation = isolation
        self._guests = Guests(settings)
        self._station: Station | None = None
        self._key: tuple[str, ...] = ()

    @property
    def current(self) -> Station | None:
        return self._station

    def station(self, target: Target, item: pytest.Item) -> Station:
        """The guest for a test, booted when there is none that may be used again."""
        if not self.keeps(target, item):
            self._leave()
        if self._station is None:
            self._station, self._key = Station(target, self._guests), self._key_of(target, item)
        return self._station

    def keeps(self, target: Target, item: pytest.Item) -> bool:
        """Whether a test would get the guest that is there."""
        station = self._station
        return (
            station is not None
            and self._key == self._key_of(target, item)
            and not station.spoiled
            and station.guest.usable
        )

    def _key_of(self, target: Target, item: pytest.Item) -> tuple[str, ...]:
        isolation = item.stash.get(ISOLATION, self._isolation)
        if item.get_closest_marker("own_guest") is not None:
            isolation = Isolation.TEST
        return (target.name, *self._scope(item, isolation))

    def boot(self, target: Target) -> Guest:
        """A guest for whoever needs one outside a test; the caller closes it."""
        return self._guests.boot(target)

    def _scope(self, item: pytest.Item, isolation: Isolation) -> tuple[str, ...]:
        match isolation:
            case Isolation.SESSION:
                return ()
            case Isolation.MODULE:
                return (str(item.path),)
            case Isolation.TEST:
                return (item.nodeid,)

    def _leave(self) -> None:
        station, self._station = self._station, None
        if station is not None:
            station.close()

    def close(self) -> None:
        """Close the guest and everything guests were made of."""
        try:
            self._leave()
        finally:
            self._guests.close()


POOL = pytest.StashKey[GuestPool]()
#: On an item: how long the guest it runs on may have lived, whatever the run's isolation is.
ISOLATION = pytest.StashKey[Isolation]()
