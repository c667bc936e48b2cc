"""Many reverts in a row, measured: what a benchmark and an acceptance run need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.machine.clones.clone import Clone
from harness.machine.clones.pool import ClonePool
from harness.machine.clones.template import Template
from harness.machine.hypervisor.machine import Machine
from harness.machine.keep.store import Way

__all__ = ["Revert", "reverts_by_pool", "reverts_by_template"]

#: Asks the guest something and checks the answer; raises when it is not the answer of a fresh clone.
Ask = Callable[[Machine], object]


@dataclass(frozen=True, slots=True)
class Revert:
    """One revert: seconds from wanting a fresh machine until it had answered, and how it came to life."""

    seconds: float
    way: Way


def reverts_by_template(template: Template, ask: Ask, count: int) -> Iterator[Revert]:
    """Start a clone through libvirt, ask it, end it; `count` times. The end is not in the seconds."""
    for _ in range(count):
        began = time.monotonic()
        with Clone.start(template) as clone:
            ask(clone.resume())
            yield Revert(time.monotonic() - began, clone.way)


def reverts_by_pool(pool: ClonePool, ask: Ask, count: int, *, at_leisure: bool = True) -> Iterator[Revert]:
    """Take a clone, ask it, give it back; `count` times.

    `at_leisure` lets the pool fill up between, as it does behind tests that take longer than a start; without
    it the pool can't keep up, and a revert takes as long as a start.
    """
    for _ in range(count):
        if at_leisure:
            pool.wait_until_full()
        began = time.monotonic()
        clone = pool.take()
        try:
            ask(clone.resume())
            taken = time.monotonic() - began
        finally:
            pool.give_back(clone)
        yield Revert(taken, clone.way)
