"""Operations that stand in a wait while the program that began them goes on.

A strand is code of the kernel model with a thread of the host: what waits in it keeps its Python frames
there. One of them runs at a time, handed on like a baton, so nothing here is parallel, and a run is the same
every time:

- a strand runs from its beginning until it waits for something that only others can bring about, or ends;
- then the program goes on, and after each of its operations every strand looks once whether it can, too;
- when the program itself has to wait, the strands are asked in turn until none can go on; then time passes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.reference.kernel.scheduler import Task
    from harness.reference.levels import Standing
    from harness.reference.machine import Machine
    from harness.reference.threads import Thread

__all__ = ["Strand", "Strands"]


class _Dropped(BaseException):
    """The machine is gone: unwind a strand that will never go on."""


@dataclass(frozen=True, slots=True)
class _Context:
    """What is the processor's of whoever runs, kept while another does."""

    thread: Thread
    standing: Standing
    running: list[Task]


class Strand:
    """One operation beside the program. `deadline` is when its wait ends at the latest, None for never."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.finished = False
        self.deadline: int | None = None
        self.moved = False
        self._error: BaseException | None = None
        self.context: _Context | None = None
        self.dropped = False
        self.baton = threading.Semaphore(0)
        self.thread: threading.Thread | None = None

    def fail(self, error: BaseException) -> None:
        """It ended with `error`, which `take_error` hands to the program once."""
        self._error = error

    def take_error(self) -> BaseException | None:
        error, self._error = self._error, None
        return error


class Strands:
    """The strands of one machine. The program's own thread begins and resumes them; `pause` is theirs."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._back = threading.Semaphore(0)
        self.waiting: list[Strand] = []
        #: The one that runs; None while the program does.
        self.inside: Strand | None = None

    def begin(self, work: Callable[[], None]) -> Strand:
        """Run `work` until it ends or waits. Raises what it raised."""
        strand = Strand(work)
        self._machine.memory.share_scratch(True)
        strand.thread = threading.Thread(target=self._carry_out, args=(strand,), daemon=True)
        self.waiting.append(strand)
        strand.thread.start()
        self._resume(strand)
        return strand

    def let_run(self) -> bool:
        """Let each strand go on that can; whether one could. Raises what one of them raised."""
        moved = False
        for strand in list(self.waiting):
            self._resume(strand)
            moved = moved or strand.moved
        return moved

    def next_deadline(self) -> int | None:
        """When the first wait of a strand ends by itself; None: none does."""
        return min((each.deadline for each in self.waiting if each.deadline is not None), default=None)

    def pause(self, deadline: int | None, *, moved: bool) -> None:
        """The running strand can't go on; returns when it is to look again. `moved`: it could, before."""
        strand = self.inside
        assert strand is not None
        strand.deadline, strand.moved = deadline, moved
        self._back.release()
        strand.baton.acquire()
        if strand.dropped:
            raise _Dropped

    def drop(self) -> None:
        """End every strand where it stands: the machine crashed, or nothing will ever let them go on."""
        for strand in list(self.waiting):
            strand.dropped = True
            self._resume(strand)
            strand.take_error()

    # -- handing over -------------------------------------------------------------------------------------

    def _carry_out(self, strand: Strand) -> None:
        strand.baton.acquire()
        try:
            if not strand.dropped:
                strand.work()
        except _Dropped:
            pass
        except BaseException as error:  # the program's thread raises it
            strand.fail(error)
        strand.finished, strand.moved = True, True
        self._back.release()

    def _resume(self, strand: Strand) -> None:
        outside = self._put_aside()
        if strand.context is not None:
            self._take_up(strand.context)
        self.inside = strand
        strand.moved = True  # unless it says otherwise when it pauses again
        strand.baton.release()
        interrupted = self._wait_for_baton()
        self.inside = None
        strand.context = self._put_aside()
        self._take_up(outside)
        if strand.finished:
            assert strand.thread is not None
            strand.thread.join()
            self.waiting.remove(strand)
            self._machine.memory.share_scratch(bool(self.waiting))
        error = interrupted or strand.take_error()
        if error is not None:
            raise error

    def _wait_for_baton(self) -> BaseException | None:
        """Nobody may touch the machine before the strand has stopped; returns what interrupted the wait."""
        interrupted = None
        while True:
            try:
                self._back.acquire()
                return interrupted
            except KeyboardInterrupt as error:
                interrupted = error
                self._machine.cpu.engine.stop()

    def _put_aside(self) -> _Context:
        machine, scheduler = self._machine, self._machine.kernel.scheduler
        standing = machine.cpu.stand_aside()
        running, scheduler.running = scheduler.running, []
        return _Context(machine.current, standing, running)

    def _take_up(self, context: _Context) -> None:
        machine = self._machine
        machine.switch(context.thread)
        machine.cpu.stand_in(context.standing)
        machine.kernel.scheduler.running = context.running
