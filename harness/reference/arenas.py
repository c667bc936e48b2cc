"""Cheap allocators over ranges of the address space: bump pointers that map pages as they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.faults import MemoryExhausted
from harness.reference.layout import PAGE, PAGE_MASK, Range

if TYPE_CHECKING:
    from harness.reference.memory import Memory

__all__ = ["Bump", "Scratch"]

_CHUNK = 16  # pages mapped at a time
_RW = 3


class Bump:
    """Allocates upwards in a range; everything is given back at once."""

    def __init__(self, memory: Memory, where: Range) -> None:
        self._memory = memory
        self._range = where
        self._next = where.start
        self._mapped = where.start
        self._pages_below = where.end

    def alloc(self, n: int) -> int:
        """`n` zeroed bytes, 16-byte aligned. Raises `MemoryExhausted`."""
        address = self._next
        end = (address + max(n, 1) + 15) & ~15
        if end > self._mapped:
            if end > self._pages_below:
                raise MemoryExhausted
            count = max((end - self._mapped + PAGE_MASK) >> 12, _CHUNK)
            count = min(count, (self._pages_below - self._mapped) >> 12)
            self._memory.map_pages(self._mapped, count, _RW)
            self._mapped += count << 12
        self._next = end
        return address

    def alloc_pages(self, n: int) -> int:
        """Whole pages for `n` bytes, taken from the top of the range with an unmapped page after them."""
        count = max(n + PAGE_MASK, PAGE) >> 12
        address = self._pages_below - (count + 1) * PAGE
        if address < self._mapped:
            raise MemoryExhausted
        self._memory.map_pages(address, count, _RW)
        self._pages_below = address
        return address

    def reset(self) -> None:
        """Forget all allocations. Pages of `alloc` stay mapped and are zeroed, those of `alloc_pages` go."""
        used = self._next - self._range.start
        if used:
            self._memory.fill(self._range.start, used)
        self._next = self._range.start
        for page in range(self._pages_below >> 12, self._range.end >> 12):
            if page in self._memory.pages:
                self._memory.unmap_pages(page << 12)
        self._pages_below = self._range.end


class Scratch(Bump):
    """Marshalling memory: `Memory.scratch` releases it in the order of use, like a stack."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory, memory.map.scratch)
        #: Several operations are under way, and use it in no order: nothing is given back meanwhile.
        self.shared = False

    def mark(self) -> int:
        """Where the next allocation goes."""
        return self._next

    def release(self, mark: int) -> None:
        """Back to `mark`."""
        if not self.shared:
            self._next = mark

    def alloc(self, n: int) -> int:
        """`n` zeroed bytes, 16-byte aligned."""
        address = super().alloc(n)
        self._memory.fill(address, n)
        return address

    def bytes(self, data: bytes) -> int:
        """The address of a copy of `data`."""
        address = super().alloc(len(data))
        self._memory.write(address, data)
        return address

    def pointer(self, value: int = 0) -> int:
        """The address of a pointer-sized cell holding `value`."""
        address = super().alloc(self._memory.pointer_size)
        self._memory.put_ptr(address, value)
        return address

    def unicode(self, text: str) -> int:
        """The address of a UNICODE_STRING for `text` (MaximumLength = Length + 2, zero terminated)."""
        raw = text.encode("utf-16-le", "surrogatepass")
        size = self._memory.unicode_string_size
        address = super().alloc(size + len(raw) + 2)
        self._memory.write(address + size, raw + b"\0\0")
        self._memory.put_unicode_string(address, len(raw), len(raw) + 2, address + size)
        return address
