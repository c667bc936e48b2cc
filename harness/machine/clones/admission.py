"""Whether one more machine may start: no more memory and no more processors than there are.

A clone shares its template's RAM until it writes, so what it takes is measured, not computed: the memory that
is its own. What it may take yet counts as taken, so that machines admitted together don't meet at the limit.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.describe.spec import Hardware
from harness.machine.keep.places import available_memory, mebibytes, total_memory

__all__ = ["Admission", "Appetite", "Reservation", "own_memory"]

#: Left for everything else on the host.
_RESERVE: Final = 512 << 20
#: QEMU itself: code, devices, translated guest code.
_OVERHEAD: Final = 96 << 20
#: Other processes give memory back without telling.
_LOOK_AGAIN: Final = 0.25


def own_memory(pid: int) -> int:
    """Bytes of process `pid` that nobody shares: its own pages, none of the mapped RAM file's; 0 without one.

    "Pss_Anon" of smaps_rollup, proc(5).
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss_Anon:")), 0)


class Appetite:
    """What a clone of one template takes, in bytes: a guess at first, then what its elders took."""

    def __init__(self, hardware: Hardware) -> None:
        self._whole = (hardware.memory_mib << 20) + _OVERHEAD
        self._seen = 0

    @property
    def whole(self) -> int:
        """What it takes at worst, and what a machine with memory of its own takes."""
        return self._whole

    @property
    def expected(self) -> int:
        if not self._seen:
            return _OVERHEAD + (self._whole - _OVERHEAD) // 4
        return min(self._whole, max(_OVERHEAD, self._seen + self._seen // 4))

    def learn(self, taken: int) -> None:
        """A clone took `taken` bytes at its end."""
        self._seen = max(self._seen, taken)


class Reservation:
    """Memory set aside for one machine, until `release`."""

    def __init__(self, size: int, released: Callable[[Reservation], None]) -> None:
        self.size = size
        #: The machine's process, once it runs; what it has taken then is no longer to come.
        self.pid: int | None = None
        self._released = released

    @property
    def pending(self) -> int:
        return max(0, self.size - self.taken)

    @property
    def taken(self) -> int:
        return own_memory(self.pid) if self.pid is not None else 0

    def release(self) -> None:
        self._released(self)


class Admission:
    """One for all machines of a process; safe for threads.

    Other harness processes are seen by the memory they take, not by their processors: one that a person holds
    and looks at now and then must not keep a run waiting, and a matrix plans the processors of its own jobs.
    `free_up` is asked once, when memory is short, to have so many bytes available.
    """

    def __init__(
        self,
        *,
        reserve: int = _RESERVE,
        processors: int | None = None,
        available: Callable[[], int] = available_memory,
        total: int | None = None,
        free_up: Callable[[int], object] | None = None,
    ) -> None:
        self.processors = processors or len(os.sched_getaffinity(0))
        self._reserve = reserve
        self._available = available
        self._free_up = free_up
        self._total = total_memory() if total is None else total
        self._changed = threading.Condition()
        self._reservations: list[Reservation] = []
        self._running = 0

    def memory(
        self, size: int, what: str, *, timeout: float, cancelled: Callable[[], bool] = lambda: False
    ) -> Reservation:
        """Set `size` bytes aside for `what`, waiting up to `timeout` seconds for them.

        Raises `InfrastructureError` at once when the host never has so much, at the deadline when it has not
        yet, and when `cancelled` says so.
        """
        most = self._total - self._reserve
        if size > most:
            raise InfrastructureError(
                f"{what} needs {mebibytes(size)} of memory, and this host has {mebibytes(max(most, 0))} for "
                "machines at best; give the guest less"
            )
        deadline = time.monotonic() + timeout
        asked = False
        with self._changed:
            while True:
                pending = sum(reservation.pending for reservation in self._reservations)
                available = self._available() - self._reserve
                if size <= available - pending:
                    reservation = Reservation(size, self._release)
                    self._reservations.append(reservation)
                    return reservation
                if self._free_up is not None and not asked:
                    asked = True
                    self._free_up(size + pending + self._reserve)
                    continue
                left = deadline - time.monotonic()
                if left <= 0 or cancelled():
                    raise InfrastructureError(
                        f"no memory for {what} within {timeout:.0f} s: it needs {mebibytes(size)}, "
                        f"{mebibytes(max(available - pending, 0))} are free beside "
                        f"{len(self._reservations)} machines; close some, or use a smaller pool"
                    )
                self._changed.wait(min(left, _LOOK_AGAIN))

    def _release(self, reservation: Reservation) -> None:
        with self._changed:
            if reservation in self._reservations:
                self._reservations.remove(reservation)
            self._changed.notify_all()

    @contextlib.contextmanager
    def running(self, processors: int, what: str, *, timeout: float) -> Iterator[None]:
        """Let `what` run with `processors` processors for the time of the block, as soon as they are free.

        A machine with more than the host has runs alone. Raises `InfrastructureError` at the deadline.
        """
        wanted = min(processors, self.processors)
        with self._changed:
            if not self._changed.wait_for(lambda: self._running + wanted <= self.processors, timeout):
                raise InfrastructureError(
                    f"no processor for {what} within {timeout:.0f} s: {self._running} of {self.processors} "
                    "are busy with machines that run; close one, or allow more: Admission(processors=...)"
                )
            self._running += wanted
        try:
            yield
        finally:
            with self._changed:
                self._running -= wanted
                self._changed.notify_all()
