"""The watch-dog counts what the guest ran, not how long the host kept it waiting."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from harness.reference.watchdog import Watchdog

LIMIT = 0.05


class Clocks:
    """Both clocks of the watch-dog; `looked` is set when it has asked for the wall's twice more."""

    def __init__(self) -> None:
        self.wall = self.processor = 1000.0
        self._looks = 0
        self.looked = threading.Event()

    def monotonic(self) -> float:
        self._looks += 1
        if self._looks >= 2:
            self.looked.set()
        return self.wall

    def process_time(self) -> float:
        return self.processor

    def pass_by(self, *, wall: float, processor: float) -> None:
        self.wall, self.processor = self.wall + wall, self.processor + processor
        self._looks = 0
        self.looked.clear()
        assert self.looked.wait(60)


def test_a_host_that_does_something_else_makes_no_call_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks, stopped = Clocks(), threading.Event()
    monkeypatch.setattr("harness.reference.watchdog.time", clocks)
    cpu: Any = SimpleNamespace(
        busy_since=clocks.wall, expired=False, engine=SimpleNamespace(stop=stopped.set)
    )
    watchdog = Watchdog(cpu, LIMIT)
    watchdog.start()
    try:
        clocks.pass_by(wall=0.0, processor=0.0)
        clocks.pass_by(wall=3600.0, processor=LIMIT / 2)
        assert not cpu.expired
        clocks.pass_by(wall=LIMIT, processor=LIMIT)
        assert stopped.wait(60)
        assert cpu.expired
    finally:
        watchdog.close()
