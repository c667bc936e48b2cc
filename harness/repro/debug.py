"""A machine held before an operation of a bundle, paused, for debuggers.

Everything before the operation was done, in programs that have ended: their handles are closed. When a
debugger lets the machine go on, the operation and what follows it is sent, after what opens its handles
again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.repro.bundle import Bundle
from harness.repro.replay import Replay
from harness.repro.scenario import Scenario
from harness.repro.stop import Stop, from_there, picture, up_to

if TYPE_CHECKING:
    from harness.machine.guest import MachineGuest
    from harness.machine.hypervisor.events import MachineEvent

__all__ = ["Held", "held_before"]


@dataclass(slots=True)
class Held:
    """`picture` is what was done and is there; `gone_on` is set when the machine was let go on."""

    picture: list[str]
    gone_on: threading.Event
    _replay: Replay
    _scenario: Scenario
    _stop: Stop

    def finish(self) -> list[str]:
        """Send the rest; what became of it, as lines."""
        try:
            self._replay.program(from_there(self._scenario, self._stop)).run()
        except HarnessError as error:
            return [str(error)]
        steps = self._replay.steps
        return [
            f"{place[1]:>6} {steps[place].operation}: {steps[place].status_name}"
            for place in sorted(steps)
            if place >= (self._stop.call, self._stop.operation)
        ]


@contextmanager
def held_before(guest: MachineGuest, bundle: Bundle, scenario: Scenario, stop: Stop) -> Iterator[Held]:
    """Bring a machine to where the operation would come, and pause it; watchers are off from then on."""
    from harness.machine.hypervisor.events import EventKind

    images = {driver.member: bundle.image(driver) for driver in bundle.manifest.drivers}
    replay = Replay(guest, up_to(scenario, stop), images)
    replay.perform()
    lines = picture(replay, stop, keep_filters=True)
    guest.watch.stop()  # a machine in a debugger is silent for as long as somebody thinks
    guest.machine.suspend()
    gone_on = threading.Event()

    def heard(event: MachineEvent) -> None:
        if event.kind is EventKind.RESUMED:
            gone_on.set()

    end = guest.machine.subscribe(heard)
    try:
        yield Held(lines, gone_on, replay, scenario, stop)
    finally:
        end()
