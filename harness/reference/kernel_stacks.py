"""The kernel stacks of threads."""

from __future__ import annotations

from harness.reference.layout import PAGE
from harness.reference.levels import Stack
from harness.reference.memory import READ, WRITE, Memory

__all__ = ["KernelStacks"]


class KernelStacks:
    """Stacks in the memory of one machine, each between unmapped pages, so that an overflow faults."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._next = memory.map.stacks.start
        self._free: list[Stack] = []

    def take(self) -> Stack:
        """A stack that nobody uses."""
        if self._free:
            return self._free.pop()
        memory = self._memory
        size = memory.map.stack_size
        low = self._next + 2 * PAGE
        self._next = low + size
        memory.map_pages(low, size // PAGE, READ | WRITE, contiguous=True)
        return Stack(low, low + size, memory.physical(low) - low)

    def give_back(self, stack: Stack) -> None:
        """Keep `stack` for the next thread; nothing may run on it any more."""
        self._free.append(stack)
