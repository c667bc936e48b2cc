"""A machine held before what failed, for debuggers: inside the very program, with its handles open.

The machine is paused. When a debugger lets it go on, the harness lets the program go on too, and tells what
becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from harness.errors import HarnessError, UsageError
from harness.repro.picture import operation_lines, step_lines
from harness.repro.replay import Replay
from harness.repro.scenario import RunProgram, Scenario
from harness.repro.stepping import Beside, SteppedProgram, beside, stepped
from harness.repro.stop import Stop, before_call, program_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.machine.guest import MachineGuest
    from harness.machine.hypervisor.events import MachineEvent

__all__ = ["Held", "held_before"]


@dataclass(slots=True)
class Held:
    """`done` are lines on what was done before. Whoever holds the machine asks for `news` again and again."""

    done: list[str]
    task: Beside
    #: How what was held ended, as lines.
    _ending: Callable[[], list[str]]
    _events: SimpleQueue[MachineEvent] = field(default_factory=SimpleQueue)
    _gone_on: bool = False
    _told: bool = False

    def hear(self, event: MachineEvent) -> None:
        self._events.put(event)

    def news(self, seconds: float) -> list[str]:
        """Wait so long for something to happen to the machine; what did, as lines.

        The first time a debugger lets the machine go on, what was held goes on with it.
        """
        from harness.machine.hypervisor.events import EventKind

        try:
            event = self._events.get(timeout=seconds)
        except Empty:
            if not self.task.ended.is_set() or self._told:
                return []
            self._told = True
            return self._ending()
        match event.kind:
            case EventKind.RESUMED if not self._gone_on:
                self._gone_on = True
                self.task.let_go()
                return ["the machine goes on, and what was held with it"]
            case EventKind.PANIC | EventKind.RESET | EventKind.EXIT:
                return [f"the machine: {event}"]
            case _:
                return []


@contextmanager
def held_before(
    guest: MachineGuest, scenario: Scenario, stop: Stop, images: Mapping[str, bytes]
) -> Iterator[Held]:
    """Bring a machine to a stop, and pause it; its watchers are off from then on.

    Raises what the guest raises where it doesn't come as far, and `UsageError` where the program ends before.
    """
    seconds = guest.call_seconds
    replay = Replay(guest, before_call(scenario, stop.call), images)
    replay.perform()
    program = program_of(scenario, stop)
    if program is None or stop.operation is None:
        action = next(each for each in scenario.actions if each.call == stop.call)
        with beside(guest, lambda: replay.perform_action(action)) as call:
            held = Held([], call, lambda: _ended(call, "the call has returned"))
            with _paused(guest, held):
                yield held
        return
    place = sum(each.index < stop.operation for each in program.operations)
    with stepped(guest, replay.program(program), place) as running:
        if not running.wait_before(place, seconds):
            raise UsageError(f"the program ended before it came to operation {stop.operation}")
        rest = {where: step for where, step in replay.steps.items() if where >= (stop.call, stop.operation)}

        def ending() -> list[str]:
            said = _ended(running, "the program has ended")
            return said if running.failed else [*said, *step_lines(rest)]

        held = Held(_done(program, running), running, ending)
        with _paused(guest, held):
            yield held


def _done(program: RunProgram, running: SteppedProgram) -> list[str]:
    """The operations before the one that is held, with their statuses."""
    statuses = running.state().statuses
    return list(
        operation_lines(
            (each.index, each.operation, status)
            for each, status in zip(program.operations, statuses, strict=False)
        )
    )


def _ended(task: Beside, well: str) -> list[str]:
    try:
        task.check()
    except HarnessError as error:
        return [str(error)]
    return [well]


@contextmanager
def _paused(guest: MachineGuest, held: Held) -> Iterator[None]:
    """Pause the machine for as long as `held` is looked at, and let it hear what happens."""
    guest.watch.stop()  # a machine in a debugger is silent for as long as somebody thinks
    guest.machine.suspend()
    end = guest.machine.subscribe(held.hear)
    try:
        yield
    finally:
        end()
