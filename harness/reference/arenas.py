"""Cheap allocators over ranges of the address space: bump pointers that map pages as they go."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.reference.faults import MemoryExhausted
from harness.reference.layout import PAGE, PAGE_MASK, Range
from harness.reference.pages import READ, WRITE

if TYPE_CHECKING:
    from harness.reference.memory import Memory

__all__ = ["Bump", "Scratch", "ScratchBlock", "Shown"]

_CHUNK: Final = 16  # pages mapped at a time
_RW: Final = READ | WRITE
#: How many blocks of scratch memory that are gone are remembered.
_REMEMBERED: Final = 4096


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


class Shown(NamedTuple):
    """A structure that a driver was given for the time of a call, and what it is in words."""

    address: int
    size: int
    what: str


#: Pages that went (half-open), with the structures in them. A structure lies behind its strings.
_Gone = tuple[int, int, list[tuple[int, int, str]]]


class ScratchBlock:
    """A block of scratch memory, to be used in a with statement. A generator would take twice as long."""

    __slots__ = ("_mark", "_scratch")

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._mark = 0

    def __enter__(self) -> Scratch:
        self._mark = self._scratch.begin()
        return self._scratch

    def __exit__(self, *_: object) -> None:
        self._scratch.end(self._mark)


class Scratch(Bump):
    """Marshalling memory in blocks, which `Memory.scratch` opens and closes like a stack.

    What only the kernel saw is used again at once. A block with something that a driver was shown goes: its
    pages leave the address space, and their frames move on to addresses not used yet, so that a driver that
    kept a pointer faults, and `find_gone` knows on what. On Windows such memory is the requester's stack, or
    pool that is freed; what lies there later is anybody's.
    """

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory, memory.map.scratch)
        self._base = self._next
        #: From here on an outermost block begins at the start of the range again, and inner blocks don't go.
        self._turn = (self._range.start + self._range.end) // 2
        self._open = 0
        self._shown: list[tuple[int, int, str]] = []  # as `Shown`, which takes longer to make
        self._gone_end = self._next
        self._gone: deque[_Gone] = deque(maxlen=_REMEMBERED)
        #: Several operations are under way, and use it in no order: nothing is given back meanwhile.
        self.shared = False

    def begin(self) -> int:
        """Open a block; returns what `end` wants. `Memory.scratch` does both."""
        self._open += 1
        if self._shown and not self.shared:  # inside an operation: on pages that can go before it ends
            self._next = (self._next + PAGE_MASK) & ~PAGE_MASK
        return self._next

    def end(self, mark: int) -> None:
        """Close the block that began at `mark`."""
        self._open -= 1
        if self._open:
            if not self.shared:
                self._end_inner(mark)
        elif self._shown or self._gone_end > self._base:
            self._take_away(self._base, self._shown)
            self._shown = []
            if self._next > self._turn:
                self._begin_again()
            self._base = self._gone_end = self._next
        else:
            self._next = self._base

    def _end_inner(self, mark: int) -> None:
        at = len(self._shown)
        while at and self._shown[at - 1][0] >= mark:
            at -= 1
        if at < len(self._shown) and mark & PAGE_MASK:
            return  # the page is not its own: what was shown goes with the block around it
        shown = self._shown[at:]
        del self._shown[at:]
        if shown and self._next <= self._turn:
            self._take_away(mark, shown)
        else:
            self._next = max(mark, self._gone_end)

    def _take_away(self, start: int, shown: list[tuple[int, int, str]]) -> None:
        """Unmap everything from `start` on, and give its frames to the addresses behind the mapped ones."""
        memory, pages = self._memory, self._memory.pages
        end = (self._next + PAGE_MASK) & ~PAGE_MASK
        mapped = self._mapped
        for page in range(start >> 12, end >> 12):
            if page not in pages:
                continue  # an inner block's, gone before
            if mapped < self._pages_below:
                pages[mapped >> 12] = pages.pop(page)
                mapped += PAGE
                memory.forget(page)
            else:
                memory.unmap_pages(page << 12)
        self._mapped = mapped
        self._next = self._gone_end = end
        self._gone.append((start, end, shown))

    def _begin_again(self) -> None:
        """Move to the start of the range, where all that was shown has been gone for long."""
        self._memory.unmap_pages(self._next, (self._mapped - self._next) >> 12)
        self._next = self._mapped = self._range.start

    def find_gone(self, address: int) -> tuple[Shown, int] | None:
        """What a driver was shown at `address` until it went, and how far into it that is.

        A negative distance is a string or buffer of the structure.
        """
        first, last = 0, 0
        shown: list[tuple[int, int, str]] = []
        for start, end, structures in reversed(self._gone):
            if last and not first <= start < last:
                break
            if start <= address < end:
                first, last, shown = start, end, structures  # the innermost is the oldest
        if not shown:
            return None
        at, size, what = next((each for each in shown if address < each[0] + each[1]), shown[-1])
        return Shown(at, size, what), address - at

    def show(self, data: bytes, what: str) -> int:
        """As `bytes`, for a driver to see: the block goes when it ends. `what` is for a report."""
        address = self.bytes(data)
        self._shown.append((address, len(data), what))
        return address

    def alloc(self, n: int) -> int:
        """`n` zeroed bytes, 16-byte aligned."""
        address = super().alloc(n)
        self._memory.fill(address, n)
        return address

    def bytes(self, data: bytes) -> int:
        """The address of a copy of `data`."""
        address = self._next
        end = (address + len(data) + 15) & ~15
        if data and end <= self._mapped:  # what `alloc` does, where no page is missing
            self._next = end
        else:
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
