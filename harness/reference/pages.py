"""Physical memory and the page table: one arena, and which of its frames lie where with which rights.

Unicorn sees the arena as physical memory and asks `harness.reference.translation` for every page it does not
know yet (a TLB miss); the answer comes from the page table here. Mapping, unmapping and protecting a page
are dictionary operations.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Final

from harness.errors import InfrastructureError
from harness.guest import Arch
from harness.reference.faults import Access, GuestFault, MemoryExhausted
from harness.reference.layout import PAGE, PAGE_MASK, address_map

__all__ = ["EXECUTE", "FRAME", "NEEDS", "PAGEABLE", "READ", "WRITE", "PagedMemory"]

READ: Final = 1
WRITE: Final = 2
EXECUTE: Final = 4
#: May be paged out: touching it at DISPATCH_LEVEL or above is a bugcheck (page "Bug Check 0xD1").
PAGEABLE: Final = 8

#: The part of a page table entry that is the address of the frame.
FRAME: Final = ~PAGE_MASK
#: The right that an access needs.
NEEDS: Final = {Access.READ: READ, Access.WRITE: WRITE, Access.EXECUTE: EXECUTE}
_ZEROES: Final = bytes(PAGE)


class PagedMemory:
    """The part of `Memory` that is pages. `size` is the arena in bytes."""

    def __init__(self, arch: Arch, *, size: int) -> None:
        self.map = address_map(arch)
        self.pointer_size = self.map.pointer_size
        self.size = size
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self.arena = mmap.mmap(-1, size, flags=flags)
        #: Page table: virtual page number to address of the frame | READ | WRITE | EXECUTE | PAGEABLE.
        self.pages: dict[int, int] = {}
        self._free: list[int] = []
        self._next_frame = PAGE  # frame 0 stays unused, so that a frame address is never false
        #: Told about every page that went or lost a right; set by the processor.
        self.forget: Callable[[int], None] = _nobody

    def map_pages(self, address: int, count: int, rights: int, *, contiguous: bool = False) -> None:
        """Map `count` zeroed pages at a page-aligned `address`. Raises `MemoryExhausted`.

        ``contiguous=True`` guarantees neighbouring frames (`physical` + offset stays valid over pages).
        """
        first = address >> 12
        if count == 1 and self._free:
            frame = self._free.pop()
            self.arena[frame : frame + PAGE] = _ZEROES
            self.pages[first] = frame | rights
            return
        if self._next_frame + count * PAGE <= self.size:
            frame = self._next_frame
            self._next_frame += count * PAGE
            for i in range(count):
                self.pages[first + i] = (frame + i * PAGE) | rights
            return
        if contiguous or len(self._free) < count:
            raise MemoryExhausted
        for i in range(count):
            frame = self._free.pop()
            self.arena[frame : frame + PAGE] = _ZEROES
            self.pages[first + i] = frame | rights

    def map_filled(self, address: int, rights: int, content: bytes) -> None:
        """Map one page that holds `content` (PAGE bytes). Raises `MemoryExhausted`."""
        if self._free:
            frame = self._free.pop()
        elif self._next_frame < self.size:
            frame = self._next_frame
            self._next_frame += PAGE
        else:
            raise MemoryExhausted
        self.arena[frame : frame + PAGE] = content
        self.pages[address >> 12] = frame | rights

    def map_alias(self, address: int, target: int, rights: int) -> None:
        """Map one page at `address` onto the frame behind the mapped page `target`."""
        self.pages[address >> 12] = (self.pages[target >> 12] & FRAME) | rights

    def unmap_pages(self, address: int, count: int = 1, *, free: bool = True) -> None:
        """Remove `count` pages; ``free=False`` keeps the frames (an alias goes)."""
        for page in range(address >> 12, (address >> 12) + count):
            entry = self.pages.pop(page, 0)
            if entry:
                self.forget(page)
                if free:
                    self._free.append(entry & FRAME)

    def protect(self, address: int, count: int, rights: int) -> None:
        """Change the rights of `count` mapped pages."""
        for page in range(address >> 12, (address >> 12) + count):
            entry = self.pages.get(page)
            if entry is None:
                raise GuestFault(page << 12)
            self.pages[page] = (entry & FRAME) | rights
            self.forget(page)

    def rights(self, address: int) -> int:
        """READ | WRITE | EXECUTE | PAGEABLE of the page at `address`, 0 when there is none."""
        return self.pages.get(address >> 12, 0) & PAGE_MASK

    def is_mapped(self, address: int, n: int = 1) -> bool:
        """Whether all of ``[address, address + n)`` is present."""
        last = (address + max(n, 1) - 1) >> 12
        return all(page in self.pages for page in range(address >> 12, last + 1))

    def is_user(self, address: int) -> bool:
        """Whether `address` is in user space."""
        return address < self.map.user_limit

    def free_pages(self) -> int:
        """How many pages the arena still has."""
        return len(self._free) + (self.size - self._next_frame) // PAGE

    def physical(self, address: int) -> int:
        """Offset of `address` in the arena. Raises `GuestFault` where there is nothing to read."""
        entry = self.pages.get(address >> 12, 0)
        if not entry & READ:
            raise GuestFault(address, Access.READ)
        return (entry & FRAME) + (address & PAGE_MASK)

    def close(self) -> None:
        """Give the arena back."""
        self.pages.clear()
        self.forget = _nobody
        try:
            self.arena.close()
        except BufferError as error:  # somebody still exports a view of it
            raise InfrastructureError("guest memory is still in use while the machine closes") from error


def _nobody(_page: int) -> None:
    return None
