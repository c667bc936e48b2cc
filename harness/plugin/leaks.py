"""The leak gate: when a module is done with a guest, drivers must have given back what they took there.

Its result is a row of its own, ``suites/x.py::leak-gate``. Where pytest-xdist splits a module, each worker's
share has its gate; the row of the module is the worst of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from harness.errors import HarnessError
from harness.guest.leaks import Held, Holding, Outstanding, left_over, pool_words
from harness.plugin.options import SETTINGS
from harness.plugin.selection import target_of
from harness.results.model import RunResult
from harness.results.outcome import Outcome, outcome_of

if TYPE_CHECKING:
    from harness.guest.base import Guest
    from harness.plugin.station import GuestPool, Station
    from harness.probe import Probe
    from harness.probe.info import ProbeStatistics

__all__ = [
    "GATE",
    "GATE_ATTRIBUTE",
    "SO_FAR_ATTRIBUTE",
    "LeakWatch",
    "attach_gate",
    "gate_after",
    "note_next",
]

#: The name that stands for a module's gate among its tests.
GATE: Final = "leak-gate"
#: On the report of a teardown: the row of a gate that came after it.
GATE_ATTRIBUTE: Final = "harness_leak_gate"
#: The same, where the guest is still used: how its gate stands.
SO_FAR_ATTRIBUTE: Final = "harness_leak_gate_so_far"
_PROBE: Final = "the probe's own count"
#: PROBE_KEPT_TAG of driver-src/probe: what an edited operation may still point into stays until the unload.
_MAY_STAY: Final = frozenset(pool_words("regprobe.sys", "RgRk", paged=paged) for paged in (True, False))
_SHOWN: Final = 3


class LeakWatch:
    """What a guest's drivers held when they had just been loaded, and what is held more later."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._probe: Probe | None = None
        self._own: tuple[Held, ...] = ()
        self._before = guest.outstanding()

    def start(self, probe: Probe) -> None:
        """The probe was loaded: what it holds now, it may hold."""
        self._probe = probe
        self._own = tuple(_held_by(probe.statistics))
        self._before = self._guest.outstanding()

    @property
    def unknown(self) -> Mapping[Holding, str]:
        """Kinds the guest can't tell of, with the reason; the probe still counts what it holds itself."""
        return self._before.unknown

    @property
    def knows_nothing(self) -> bool:
        """The probe was not there, and of other drivers the guest can't tell, or there were none."""
        return self._probe is None and len(self.unknown) == len(Holding)

    def leaks(self) -> tuple[Held, ...]:
        """What is held beyond the beginning; each leak is told once, by the first call that finds it.

        Nothing of a test may be in the guest any more. Raises what asking the guest raises.
        """
        before, own_before = self._before, self._own
        self._before = self._guest.outstanding()
        if self._probe is not None:
            self._own = tuple(_held_by(self._probe.statistics))
        return _beyond(before, self._before) + left_over(own_before, self._own)

    def so_far(self) -> tuple[Held, ...]:
        """As `leaks`, but whoever asks later is told the same again."""
        found = _beyond(self._before, self._guest.outstanding())
        if self._probe is not None:
            found += left_over(self._own, tuple(_held_by(self._probe.statistics)))
        return found


def _beyond(before: Outstanding, now: Outstanding) -> tuple[Held, ...]:
    return tuple(held for held in left_over(before.held, now.held) if held.what not in _MAY_STAY)


def _held_by(counters: ProbeStatistics) -> Iterator[Held]:
    if counters.pool_allocations:
        yield Held(Holding.POOL, _PROBE, counters.pool_allocations, counters.pool_bytes)
    if counters.live_contexts:
        yield Held(Holding.CONTEXTS, _PROBE, counters.live_contexts)
    if counters.filters:
        yield Held(Holding.CALLBACKS, _PROBE, counters.filters)


# -- where the tests run -----------------------------------------------------------------------------------

_NEXT: Final = pytest.StashKey[pytest.Item | None]()


def note_next(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Remember what runs after a test: it says whether the guest will be used again."""
    item.stash[_NEXT] = nextitem


def attach_gate(item: pytest.Item, report: pytest.TestReport) -> None:
    """Put the row of the gate that comes after this test on the report of its teardown."""
    if report.when != "teardown" or _NEXT not in item.stash:
        return
    from harness.plugin.station import POOL

    pool = item.config.stash[POOL]
    row = gate_after(item, item.stash[_NEXT], pool)
    if row is not None:
        setattr(report, GATE_ATTRIBUTE, row.to_json())
    elif item.config.getoption("--journal") is not None and (row := _gate_so_far(item.config, pool.current)):
        setattr(report, SO_FAR_ATTRIBUTE, row.to_json())


def gate_after(item: pytest.Item, nextitem: pytest.Item | None, pool: GuestPool) -> RunResult | None:
    """The gate's row when nothing more of the module will run on the guest; None while something will."""
    station = pool.current
    if station is None or not station.tests or item.config.getoption("--no-leak-gate"):
        return None
    if nextitem is not None and _module(nextitem.nodeid) == _module(station.tests[0]):
        target = target_of(nextitem)
        if target is None or pool.keeps(target, nextitem):
            return None
    tests, station.tests = tuple(station.tests), []
    return _gate(item.config, station, tests)


def _gate_so_far(config: pytest.Config, station: Station | None) -> RunResult | None:
    """The gate's row if the process died now: tests that are over will not run again, so their leaks would
    be forgotten. A driver that is still loaded may yet give back what it holds.
    """
    if station is None or not station.tests or config.getoption("--no-leak-gate"):
        return None
    if station.spoiled or not station.guest.usable:
        return None  # the gate comes when the next test gets another guest
    tests, started = tuple(station.tests), datetime.now(UTC)
    try:
        left = station.leaks.so_far()
    except HarnessError:
        return None  # the next test, or the gate, meets it again
    if any(held.kind is Holding.DRIVERS for held in left):
        message = f"interrupted after {_words(tests)}, while a driver was loaded"
        return _row(config, station, tests, started, Outcome.SKIP, message, ())
    return _row(config, station, tests, started, *_verdict(left, tests), left)


def _gate(config: pytest.Config, station: Station, tests: tuple[str, ...]) -> RunResult | None:
    started = datetime.now(UTC)
    outcome, message, left = _judge(station, tests)
    if station.leaks.knows_nothing:  # a guest tells more when drivers were loaded: it was asked just now
        return None
    return _row(config, station, tests, started, outcome, message, left)


def _row(
    config: pytest.Config,
    station: Station,
    tests: tuple[str, ...],
    started: datetime,
    outcome: Outcome,
    message: str,
    left: tuple[Held, ...],
) -> RunResult:
    recorded = {f"unknown: {kind}": why for kind, why in station.leaks.unknown.items()}
    if outcome is Outcome.SKIP:  # a share that could be looked at outweighs it, and must not hide it
        recorded["not checked"] = message
    return RunResult(
        test=f"{_module(tests[0])}::{GATE}",
        target=station.target.name,
        outcome=outcome,
        duration=round((datetime.now(UTC) - started).total_seconds(), 6),
        message=message,
        detail="\n  ".join([message, *map(str, left)]),
        attestation=station.attestation,
        recorded=recorded,
        started=started.isoformat(timespec="milliseconds"),
        build=config.stash[SETTINGS].build,
    )


def _judge(station: Station, tests: tuple[str, ...]) -> tuple[Outcome, str, tuple[Held, ...]]:
    """Outcome, one line about it, and what was left behind."""
    after = _words(tests)
    if station.spoiled or not station.guest.usable:
        return Outcome.SKIP, f"the guest was given up after {after}", ()
    try:
        left = station.leaks.leaks()
    except HarnessError as error:
        station.spoiled = True
        return outcome_of(error), f"asking what is left, after {after}: {' '.join(str(error).split())}", ()
    return *_verdict(left, tests), left


def _verdict(left: tuple[Held, ...], tests: tuple[str, ...]) -> tuple[Outcome, str]:
    if not left:
        return Outcome.PASS, ""
    shown = "; ".join(map(str, left[:_SHOWN])) + (f"; and {len(left) - _SHOWN} more" * (len(left) > _SHOWN))
    return Outcome.FAIL, f"left behind after {_words(tests)}: {shown}"


def _words(tests: tuple[str, ...]) -> str:
    names = [nodeid.partition("::")[2] for nodeid in tests]
    return names[0] if len(names) == 1 else f"{len(names)} tests, {names[0]} to {names[-1]}"


def _module(nodeid: str) -> str:
    return nodeid.partition("::")[0]
