"""What the processor has looked up in the page table, and how it is made to forget.

Unicorn keeps translations until it is told otherwise. Pages that lost a right are listed in the mailbox;
the kernel's code drops them before it lets guest code go on (call thunk, trap epilogues). User pages and
pageable pages get in only under conditions, and are listed again when those end.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from harness.reference import mailbox as mb
from harness.reference.faults import Access
from harness.reference.memory import EXECUTE, PAGEABLE, READ, WRITE, Memory

__all__ = ["DISPATCH_LEVEL", "Translation"]

DISPATCH_LEVEL: Final = 2
_ACCESS: Final = {READ: Access.READ, WRITE: Access.WRITE, EXECUTE: Access.EXECUTE}
_CELL: Final = struct.Struct("<Q")
_COUNT: Final = struct.Struct("<I")


class Translation:
    """The translations of one processor. `box` and `irql_at` are offsets in the arena: mailbox, IRQL byte."""

    def __init__(self, memory: Memory, box: int, irql_at: int) -> None:
        self._memory = memory
        self._arena = memory.arena
        self._box = box
        self._irql_at = irql_at
        self._user_pages = memory.map.user_limit >> 12
        self._filled: set[int] = set()
        self._paged: set[int] = set()
        #: User pages that guest code may touch now; not empty means `revoke_user` is due at the next trap.
        self.granted: set[int] = set()
        #: The last refusal: page address and kind of access. The processor takes it when guest code stops.
        self.refused: tuple[int, Access] | None = None
        #: Drops all translations of the engine; set by the processor.
        self.flush_engine: Callable[[], None] = _nothing
        memory.forget = self.forget

    def translate(self, page: int, right: int) -> int:
        """Answer a TLB miss for `page`; see `Engine`."""
        entry = self._memory.pages.get(page, 0)
        if entry & right:
            if page < self._user_pages:
                if page not in self.granted:
                    entry = 0
            elif entry & PAGEABLE:
                if self._arena[self._irql_at] >= DISPATCH_LEVEL:
                    entry = 0
                else:
                    self._paged.add(page)
                    _CELL.pack_into(self._arena, self._box + mb.PAGED_CACHED, 1)
            if entry:
                self._filled.add(page)
                return entry
        self.refused = (page << 12, _ACCESS[right])
        return 0

    def forget(self, page: int) -> None:
        """Make the next guest instruction see the page table's current entry for `page`."""
        if page not in self._filled:
            return
        self._filled.discard(page)
        at = self._box + mb.INVALID_COUNT
        count = _COUNT.unpack_from(self._arena, at)[0]
        if count < mb.INVALID_MAX:
            _CELL.pack_into(self._arena, self._box + mb.INVALID_LIST + 8 * count, page << 12)
            _COUNT.pack_into(self._arena, at, count + 1)
        else:
            self.flush()

    def forget_paged(self) -> None:
        """The IRQL gets to DISPATCH_LEVEL: pageable pages are out of reach."""
        if not self._paged:
            return
        for page in list(self._paged):
            self.forget(page)
        self._paged.clear()
        _CELL.pack_into(self._arena, self._box + mb.PAGED_CACHED, 0)

    def revoke_user(self) -> None:
        """End all grants of user pages."""
        granted, self.granted = self.granted, set()
        for page in granted:
            self.forget(page)

    def catch_up(self) -> None:
        """Drop stale translations where code goes on without the thunk or an epilogue, which do it."""
        if self._arena[self._box + mb.INVALID_COUNT]:
            self.flush()

    def flush(self) -> None:
        """Forget everything."""
        self.flush_engine()
        _COUNT.pack_into(self._arena, self._box + mb.INVALID_COUNT, 0)
        _CELL.pack_into(self._arena, self._box + mb.PAGED_CACHED, 0)
        self._filled.clear()
        self._paged.clear()

    def close(self) -> None:
        """Let go of the engine."""
        self.flush_engine = _nothing


def _nothing() -> None:
    return None
