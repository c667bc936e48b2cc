"""Dispatcher objects in guest memory: what a wait is satisfied by, and what signalling does.

The model runs one thread at a time, so the objects keep no wait lists: a waiting thread looks at their state
again whenever something else has run. Sources: kernel/kernel-dispatcher-objects,
nf-wdm-kewaitforsingleobject.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.kernel.layouts import layout
from harness.reference.kernel.linked_lists import make_empty, remove_head
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine
    from harness.reference.threads import Thread

__all__ = ["DispatcherType", "WaitRequest", "abandon", "initialise", "state_of"]


class DispatcherType:
    """DISPATCHER_HEADER.Type."""

    NOTIFICATION_EVENT: Final = 0
    SYNCHRONIZATION_EVENT: Final = 1
    MUTANT: Final = 2
    PROCESS: Final = 3
    QUEUE: Final = 4
    SEMAPHORE: Final = 5
    THREAD: Final = 6
    NOTIFICATION_TIMER: Final = 8
    SYNCHRONIZATION_TIMER: Final = 9


_KNOWN: Final = frozenset({0, 1, 2, 3, 4, 5, 6, 8, 9})
_ABANDONED: Final = 1  # in the header's second byte, which only queues use so


def initialise(m: Machine, address: int, kind: int, size: int, state: int) -> None:
    """Fill a DISPATCHER_HEADER; `size` is the object's size in bytes."""
    memory = m.memory
    memory.put_u32(address, kind | (size // 4) << 16)
    memory.put_u32(address + 4, state & 0xFFFFFFFF)
    make_empty(m, address + 8)


def abandon(m: Machine, queue: int) -> None:
    """Nobody waits for `queue` any more: whoever does or will is told STATUS_ABANDONED."""
    m.memory.put_u8(queue + 1, _ABANDONED)


def state_of(m: Machine, address: int) -> int:
    """SignalState as a signed number."""
    raw = m.memory.u32(address + 4)
    return raw - (1 << 32) if raw >> 31 else raw


@dataclass(frozen=True, slots=True)
class WaitRequest:
    """What a thread waits for. `deadline` is in interrupt time (100 ns), None for ever.

    `answer` is for routines that fetch something when their wait for one object ends: it does, and says what
    they return.
    """

    thread: Thread
    objects: tuple[int, ...]
    wait_all: bool
    deadline: int | None
    answer: Callable[[], int] | None = None

    def ready(self, m: Machine) -> bool:
        """Whether the wait would be satisfied now."""
        if not self.objects:
            return False
        test = all if self.wait_all else any
        return test(_signalled(m, address, self.thread) for address in self.objects)

    def take(self, m: Machine) -> int | None:
        """Satisfy the wait if that is possible now; else None.

        STATUS_WAIT_0 + index (0 for a wait for all), or what `_consume` says instead.
        """
        if not self.ready(m):
            return None
        if self.wait_all:
            for address in self.objects:
                _consume(m, address, self.thread)
            return 0
        for index, address in enumerate(self.objects):
            if _signalled(m, address, self.thread):
                taken = _consume(m, address, self.thread)
                if self.answer is not None:
                    return self.answer()
                return index if taken is None else taken
        return None


def _signalled(m: Machine, address: int, thread: Thread) -> bool:
    kind = m.memory.u8(address) & 0x7F
    if kind not in _KNOWN:
        m.bugcheck(
            0xC4,
            0xE1,
            address,
            0,
            0,
            reason=f"a wait on something that is no dispatcher object (type {kind})",
        )
    if state_of(m, address) > 0:
        return True
    if kind == DispatcherType.QUEUE:
        return bool(m.memory.u8(address + 1) & _ABANDONED)
    return kind == DispatcherType.MUTANT and _owner(m, address) == thread.address


def _owner(m: Machine, address: int) -> int:
    return m.memory.ptr(address + layout("KMUTEX", m.memory.pointer_size).offset("OwnerThread"))


def _consume(m: Machine, address: int, thread: Thread) -> int | None:
    """What satisfying a wait does to the object; for a queue also what the wait is answered with."""
    kind = m.memory.u8(address) & 0x7F
    state = state_of(m, address)
    if kind in (DispatcherType.SYNCHRONIZATION_EVENT, DispatcherType.SYNCHRONIZATION_TIMER):
        m.memory.put_u32(address + 4, 0)
    elif kind == DispatcherType.SEMAPHORE:
        m.memory.put_u32(address + 4, (state - 1) & 0xFFFFFFFF)
    elif kind == DispatcherType.QUEUE:
        if state <= 0:
            return int(NTSTATUS.ABANDONED)
        m.memory.put_u32(address + 4, state - 1)
        return remove_head(
            m, layout("KQUEUE", m.memory.pointer_size).at(m.memory, address).of("EntryListHead")
        )
    elif kind == DispatcherType.MUTANT:
        m.memory.put_u32(address + 4, (state - 1) & 0xFFFFFFFF)
        if state == 1:
            view = layout("KMUTEX", m.memory.pointer_size).at(m.memory, address)
            view["OwnerThread"] = thread.address
            thread.body.apc_disable -= view["ApcDisable"]
    return None
