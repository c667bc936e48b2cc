"""Kernel queues: threads wait for their entries, and each entry goes to one of them.

One thread runs at a time here, so the limit of threads that work on a queue at once has no effect.
Sources: nf-ntifs-keinitializequeue, nf-ntifs-keinsertqueue, nf-ntifs-keremovequeue, nf-ntifs-kerundownqueue,
kernel/driver-managed-queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.exports import export
from harness.reference.kernel.checks import DISPATCH_LEVEL, need_irql
from harness.reference.kernel.dispatcher import DispatcherType, abandon, initialise, state_of
from harness.reference.kernel.layouts import View, layout
from harness.reference.kernel.linked_lists import insert_head, insert_tail, make_empty, take_all
from harness.registry.version import WIN7

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.reference.machine import Machine

__all__: list[str] = []


def _view(m: Machine, queue: int) -> View:
    return layout("KQUEUE", m.memory.pointer_size).at(m.memory, queue)


@export("KeInitializeQueue", args="ptr, ulong")
def ke_initialize_queue(m: Machine, queue: int, count: int) -> None:
    """A `count` of 0 stands for the number of processors, which is 1 here."""
    view = _view(m, queue)
    initialise(m, queue, DispatcherType.QUEUE, layout("KQUEUE", m.memory.pointer_size).size, 0)
    make_empty(m, view.of("EntryListHead"))
    make_empty(m, view.of("ThreadListHead"))
    view["CurrentCount"] = 0
    view["MaximumCount"] = count or 1


def _insert(m: Machine, queue: int, entry: int, routine: str, put: Callable[[Machine, int, int], int]) -> int:
    need_irql(m, DISPATCH_LEVEL, routine, f"nf-ntifs-{routine.lower()}")
    before = state_of(m, queue)
    put(m, _view(m, queue).of("EntryListHead"), entry)
    m.memory.put_u32(queue + 4, before + 1)
    return before


@export("KeInsertQueue", args="ptr, ptr")
def ke_insert_queue(m: Machine, queue: int, entry: int) -> int:
    """How many entries there were before."""
    return _insert(m, queue, entry, "KeInsertQueue", insert_tail)


@export("KeInsertHeadQueue", args="ptr, ptr")
def ke_insert_head_queue(m: Machine, queue: int, entry: int) -> int:
    return _insert(m, queue, entry, "KeInsertHeadQueue", insert_head)


@export("KeReadStateQueue", args="ptr")
def ke_read_state_queue(m: Machine, queue: int) -> int:
    return state_of(m, queue)


@export("KeRemoveQueue", args="ptr, uchar, ptr")
def ke_remove_queue(m: Machine, queue: int, mode: int, timeout: int) -> int:
    """An entry's address, or STATUS_TIMEOUT or STATUS_ABANDONED as if it were one."""
    scheduler = m.kernel.scheduler
    deadline = scheduler.due_time(timeout)
    return scheduler.wait((queue,), wait_all=False, deadline=deadline, what="KeRemoveQueue")


@export("KeRundownQueue", args="ptr")
def ke_rundown_queue(m: Machine, queue: int) -> int:
    """The first of the entries left, linked in a ring, or NULL. Since Windows 7 those who wait are woken."""
    need_irql(m, DISPATCH_LEVEL, "KeRundownQueue", "nf-ntifs-kerundownqueue")
    m.memory.put_u32(queue + 4, 0)
    if m.version >= WIN7:
        abandon(m, queue)
    return take_all(m, _view(m, queue).of("EntryListHead"))
