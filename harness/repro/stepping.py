"""A machine's program that goes only as far as it is let, and which of its operations kills the guest.

The runner stops a program before an operation, with its handles open, until the host lets it go on (HOLD in
driver-src/abi/regrun.h). Letting a program go one operation after the other tells which one a crash belongs
to, which a machine that crashed can't say any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.channel.errors import RunnerError
from harness.channel.frames import RunnerErrorCode
from harness.channel.runner import NO_HOLD
from harness.errors import GuestCrashed, GuestHung, UnsupportedError, UsageError
from harness.guest.bugcheck import Bugcheck
from harness.repro.replay import Replay
from harness.repro.scenario import RunProgram, Scenario
from harness.repro.stop import before_call

if TYPE_CHECKING:
    from harness.channel.answers import ProgramState
    from harness.machine.guest import MachineGuest
    from harness.workload.builder import ProgramBuilder

__all__ = ["Beside", "Culprit", "SteppedProgram", "beside", "failing_operation", "stepped"]

#: What somebody looks at in a debugger takes as long as that: three years.
_FOR_EVER: Final = 1e8
#: Between two looks at how far a program is, in seconds; from the first to the longest.
_FIRST_LOOK: Final = 0.001
_LONGEST_LOOK: Final = 0.05
#: What a runner answers that can't hold programs.
_CAN_NOT: Final = (RunnerErrorCode.UNSUPPORTED, RunnerErrorCode.UNKNOWN_REQUEST)


class Beside:
    """Something asked of a guest in a thread of its own, for as long as it takes. Made by `beside`."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, name="held", daemon=True)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # raised where it is waited for
            self._error = error
        finally:
            self.ended.set()

    def let_go(self) -> None:
        self.thread.start()

    @property
    def failed(self) -> bool:
        return self._error is not None

    def check(self) -> None:
        """Raise what ended it, if anything went wrong."""
        if self._error is not None:
            raise self._error


@contextmanager
def beside(guest: MachineGuest, work: Callable[[], object]) -> Iterator[Beside]:
    """Ask something of a guest once it is let go. What hasn't ended then ends with the guest."""
    guest.call_seconds = _FOR_EVER
    task = Beside(work)
    with _joined(guest, task):
        yield task


@contextmanager
def _joined(guest: MachineGuest, task: Beside) -> Iterator[None]:
    try:
        yield
    finally:
        if task.thread.ident is not None:
            if not task.ended.is_set():
                guest.close()
            task.thread.join()


class SteppedProgram(Beside):
    """A program that goes as far as it is let. Made by `stepped`."""

    def __init__(self, guest: MachineGuest, program: ProgramBuilder) -> None:
        super().__init__(program.run)
        self._guest = guest

    def let_go(self, before: int = NO_HOLD) -> None:
        """Let it go as far as before an operation; by default to its end."""
        with self._guest.watch.call():
            self._guest.runner.hold(before)

    def state(self) -> ProgramState:
        """How far it is, with the statuses so far."""
        with self._guest.watch.call():
            return self._guest.runner.hold(statuses=True)

    def wait_before(self, operation: int, seconds: float) -> bool:
        """Whether it now waits before `operation`; False when it ended instead.

        Raises `GuestCrashed` when the guest dies on the way there, and `GuestHung` when an operation takes
        longer than `seconds`.
        """
        pause, last, since = _FIRST_LOOK, -1, time.monotonic()
        while not self.ended.wait(pause):
            with self._guest.watch.call():
                state = self._guest.runner.hold()
            if state.held and state.operation == operation:
                return True
            if state.operation != last:
                last, since = state.operation, time.monotonic()
            elif time.monotonic() - since > seconds:
                why = f"operation {state.operation} does not return, though the runner is alive"
                raise GuestHung(Bugcheck.unknown(why))
            pause = min(2 * pause, _LONGEST_LOOK)
        self.check()
        return False


@contextmanager
def stepped(guest: MachineGuest, program: ProgramBuilder, before: int) -> Iterator[SteppedProgram]:
    """Start a program that waits before operation `before`. One that hasn't ended then ends with its guest.

    Raises `UnsupportedError` where the guest's runner can't hold programs.
    """
    task = SteppedProgram(guest, program)
    try:
        task.let_go(before)
    except RunnerError as error:
        if error.code not in _CAN_NOT:
            raise
        raise UnsupportedError(
            f"{guest.identity.name}: no program can be stopped in it ({error}); that takes a serial port or "
            "SSH, and an image with the runner of this harness"
        ) from error
    guest.call_seconds = _FOR_EVER
    with _joined(guest, task):
        task.thread.start()
        yield task


@dataclass(frozen=True, slots=True)
class Culprit:
    """The operation a guest doesn't survive, and how it dies of it."""

    operation: int
    error: GuestCrashed


def failing_operation(
    guest: MachineGuest,
    scenario: Scenario,
    program: RunProgram,
    images: Mapping[str, bytes],
    told: Callable[[int, int], None] = lambda operation, count: None,
) -> Culprit:
    """Let the operations of a program go one by one on a fresh guest, until it dies.

    The number behind the last one stands for closing the handles at the end. `told` hears the number of each
    and how many there are. Raises `UsageError` when the guest survives all.
    """
    seconds = guest.call_seconds
    replay = Replay(guest, before_call(scenario, program.call), images)
    replay.perform()
    count = len(program.operations)
    numbers = [*(each.index for each in program.operations), program.operations[-1].index + 1]
    reached = 0
    with stepped(guest, replay.program(program), 0) as running:
        try:
            while running.wait_before(reached, seconds):
                told(reached, count)
                reached += 1
                running.let_go(reached if reached <= count else NO_HOLD)
        except GuestCrashed as error:
            return Culprit(numbers[max(0, reached - 1)], error)
    raise UsageError(
        f"the guest survives all {count} operations of the program when they are let go one by one; what "
        "happens may rest on time: say --before-op N"
    )
