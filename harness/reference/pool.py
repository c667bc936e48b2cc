"""The pool, run the way special pool runs it: every allocation has pages of its own.

An allocation ends where its last page ends (an allocation of a page or more starts at a page, as the page
"ExAllocatePoolWithTag" promises) and an unmapped page follows, so that reading or writing past the end
faults. The bytes around it on its pages hold a pattern that is compared when it is freed. Freed addresses
leave the page table and are not handed out again until the region is used up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.reference.faults import MemoryExhausted
from harness.reference.layout import PAGE, PAGE_MASK, Range
from harness.reference.memory import PAGEABLE, READ, WRITE

if TYPE_CHECKING:
    from harness.reference.loader import Driver
    from harness.reference.machine import Machine

__all__ = ["Allocation", "PageImage", "Pool", "tag_text"]

APC_LEVEL: Final = 1
DISPATCH_LEVEL: Final = 2
#: Around an allocation, and in a fresh one that is not asked to be zeroed.
_GUARD: Final = 0xF1
_FRESH: Final = bytes((0xFA,)) * PAGE
_ZEROES: Final = bytes(PAGE)
_GUARDS: Final = bytes((_GUARD,)) * PAGE
#: How many freed allocations are remembered, to tell a double free from a wild one.
_REMEMBERED: Final = 16384

BAD_POOL_CALLER: Final = 0xC2
SPECIAL_POOL_CORRUPTION: Final = 0xC1


class Allocation(NamedTuple):
    """A live or freed allocation: guest address, requested bytes, tag, and who asked from where."""

    address: int
    size: int
    tag: int
    paged: bool
    owner: Driver | None
    caller: int  # return address of the allocating call, 0 when the kernel allocated
    first_page: int  # page-aligned start of its pages
    pages: int

    @property
    def end(self) -> int:
        """First address after its pages."""
        return self.first_page + self.pages * PAGE

    def __str__(self) -> str:
        return f"{self.size} bytes at {self.address:#x}, tag '{tag_text(self.tag)}'"


class PageImage(NamedTuple):
    """The page of a small allocation: its bytes, where the allocation begins, and how long it is."""

    content: bytes
    at: int
    size: int


def tag_text(tag: int) -> str:
    """A pool tag as debuggers print it: four characters in memory order."""
    return "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in (tag & 0xFFFF_FFFF).to_bytes(4, "little"))


class _Region:
    """Addresses of one pool type: upwards, around when the end is reached, live pages left out."""

    def __init__(self, where: Range) -> None:
        self._range = where
        self._next = where.start
        self._fresh = True  # nothing of the range has been used twice

    def reserve(self, pages: int, live: dict[int, int]) -> int:
        """A page-aligned address with `pages` free pages and one more after them."""
        need = (pages + 1) * PAGE
        for _attempt in range(2):
            while self._next + need <= self._range.end:
                start = self._next
                taken = None
                if not self._fresh:
                    taken = next((p for p in range(start >> 12, (start + need) >> 12) if p in live), None)
                if taken is None:
                    self._next = start + need
                    return start
                self._next = (taken + 2) << 12
            self._next = self._range.start
            self._fresh = False
        raise MemoryExhausted


class Pool:
    """The pools of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._memory = machine.memory
        self._align = 2 * machine.memory.pointer_size
        self._regions = {
            False: _Region(machine.memory.map.nonpaged_pool),
            True: _Region(machine.memory.map.paged_pool),
        }
        self._live: dict[int, Allocation] = {}
        #: A plain dict finds its oldest entry slowly once many were removed.
        self._freed: OrderedDict[int, Allocation] = OrderedDict()

    def alloc(
        self,
        size: int,
        tag: int,
        *,
        paged: bool = False,
        zero: bool = False,
        owner: Driver | None = None,
        execute: bool = False,
    ) -> int:
        """Address of `size` bytes, 0 when memory is used up.

        `owner` defaults to the driver that made the call. Bugchecks 0xC2 (page "Bug Check 0xC2")
        for paged pool above APC_LEVEL or any pool above DISPATCH_LEVEL (parameter 1 is 8).
        """
        irql = self._machine.cpu.irql
        if irql > (APC_LEVEL if paged else DISPATCH_LEVEL):
            self._machine.bugcheck(
                BAD_POOL_CALLER, 8, irql, int(paged), size, reason=f"pool allocated at IRQL {irql}"
            )
        if size > self._memory.size:
            return 0
        pages = (max(size, 1) + PAGE_MASK) >> 12
        rights = READ | WRITE | (4 if execute else 0) | (PAGEABLE if paged else 0)
        try:
            first = self._regions[paged].reserve(pages, self._memory.pages)
            if size < PAGE:
                address = self._map_small(first, size, rights, zero)
            else:
                address = first
                self._map_large(first, pages, size, rights, zero)
        except MemoryExhausted:
            return 0
        self._enlist(address, size, tag, paged, owner, first, pages)
        return address

    def page_image(self, body: bytes) -> PageImage:
        """What the page of an allocation that holds `body` looks like, for `alloc_image`."""
        size = len(body)
        at = PAGE - ((max(size, 1) + self._align - 1) & -self._align)
        return PageImage(b"".join((_GUARDS[:at], body, _GUARDS[: PAGE - at - size])), at, size)

    def alloc_image(self, image: PageImage, tag: int) -> int:
        """As `alloc` of paged pool for the calling driver, below a page in size and filled already.

        For routines that hand out the same bytes over and over. The caller has checked the IRQL.
        """
        try:
            first = self._regions[True].reserve(1, self._memory.pages)
            self._memory.map_filled(first, READ | WRITE | PAGEABLE, image.content)
        except MemoryExhausted:
            return 0
        address = first + image.at
        self._enlist(address, image.size, tag, True, None, first, 1)
        return address

    def _enlist(
        self, address: int, size: int, tag: int, paged: bool, owner: Driver | None, first: int, pages: int
    ) -> None:
        machine = self._machine
        caller = machine.caller()
        if owner is None:
            owner = machine.modules.at(caller) or machine.calling_driver()
        self._live[address] = Allocation(address, size, tag, paged, owner, caller, first, pages)
        self._freed.pop(address, None)

    def _map_small(self, first: int, size: int, rights: int, zero: bool) -> int:
        """One page that ends with the block: guard bytes, the block (zero or no pointer), guard bytes."""
        image = self.page_image((_ZEROES if zero else _FRESH)[:size])
        self._memory.map_filled(first, rights, image.content)
        return first + image.at

    def _map_large(self, first: int, pages: int, size: int, rights: int, zero: bool) -> None:
        """Pages that begin with the block, guard bytes after it."""
        memory = self._memory
        memory.map_pages(first, pages, rights)
        if not zero:
            memory.fill(first, size, _FRESH[0])
        memory.write(first + size, _GUARDS[: pages * PAGE - size])

    def free(self, address: int, tag: int | None = None) -> None:
        """Free an allocation; `tag` None or 0 accepts any.

        Bugchecks as the pages "Bug Check 0xC2" and "Bug Check 0xC1" say: freed before (0xC2, 7), never in
        any pool (0xC2, 0x46 for kernel addresses, 0x40 for user addresses), wrong tag (0xC2, 0xA), wrong IRQL
        (0xC2, 9), bytes around it overwritten (0xC1, 0x23 before it, 0x24 after it).
        """
        found = self._live.get(address)
        if found is None:
            self._not_allocated(address)
            return
        irql = self._machine.cpu.irql
        if irql > (APC_LEVEL if found.paged else DISPATCH_LEVEL):
            self._machine.bugcheck(
                BAD_POOL_CALLER, 9, irql, int(found.paged), address, reason=f"pool freed at IRQL {irql}"
            )
        # Bit 31 marks protected pool (PROTECTED_POOL); it is no part of the tag.
        if tag and (tag ^ found.tag) & 0x7FFF_FFFF:
            self._machine.bugcheck(
                BAD_POOL_CALLER,
                0xA,
                address,
                found.tag,
                tag,
                reason=f"{found} freed with tag '{tag_text(tag)}'",
            )
        self._check_guards(found)
        self._release(found)

    def _not_allocated(self, address: int) -> None:
        freed = self._freed.get(address)
        if freed is not None:
            self._machine.bugcheck(BAD_POOL_CALLER, 7, 0, freed.tag, address, reason=f"freed twice: {freed}")
        if self._memory.is_user(address):
            start = self._memory.map.system_start
            self._machine.bugcheck(
                BAD_POOL_CALLER, 0x40, address, start, 0, reason="a user-mode address was freed as pool"
            )
        inside = self.find(address)
        reason = f"{address - inside.address:#x} bytes into {inside}" if inside else "no pool allocation"
        self._machine.bugcheck(BAD_POOL_CALLER, 0x46, address, 0, 0, reason=f"freed address is {reason}")

    def _check_guards(self, found: Allocation) -> None:
        address, size, first = found.address, found.size, found.first_page
        before = address - first
        last = address + size
        if before:
            page = self._memory.read(first, PAGE)
            after = page[before + size :]
            if page.startswith(_GUARDS[:before]) and _GUARDS.startswith(after):
                return
        else:
            page = after = self._memory.read(last, found.end - last)
            if _GUARDS.startswith(after):
                return
        start, content, kind = last, after, 0x24
        if before and page[:before] != _GUARDS[:before]:
            start, content, kind = found.first_page, page[:before], 0x23
        at = start + next(i for i, byte in enumerate(content) if byte != _GUARD)
        side = "before" if kind == 0x23 else "after the end of"
        self._machine.bugcheck(
            SPECIAL_POOL_CORRUPTION, found.address, at, 0, kind, reason=f"bytes {side} {found} were written"
        )

    def _release(self, found: Allocation) -> None:
        del self._live[found.address]
        self._memory.unmap_pages(found.first_page, found.pages)
        freed = self._freed
        freed[found.address] = found
        if len(freed) > _REMEMBERED:
            freed.popitem(last=False)

    # --- questions -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Allocation]:
        return iter(list(self._live.values()))

    def outstanding(self, owner: Driver | None) -> list[Allocation]:
        """What `owner` has not freed, oldest first."""
        return [found for found in self._live.values() if found.owner is owner]

    def get(self, address: int) -> Allocation | None:
        """The live allocation that starts at `address`."""
        return self._live.get(address)

    def find(self, address: int) -> Allocation | None:
        """The live allocation whose pages contain `address`, or whose guard page does."""
        return _covering(self._live.values(), address)

    def find_freed(self, address: int) -> Allocation | None:
        """The freed allocation (of the recent ones) whose pages contained `address`."""
        return _covering(reversed(self._freed.values()), address)

    def is_pool(self, address: int) -> bool:
        """Whether `address` lies in one of the pool regions."""
        return address in self._memory.map.nonpaged_pool or address in self._memory.map.paged_pool

    def release_owned(self, owner: Driver) -> None:
        """Free everything `owner` left behind, without checks."""
        for found in self.outstanding(owner):
            self._release(found)


def _covering(allocations: Iterable[Allocation], address: int) -> Allocation | None:
    page = address & ~PAGE_MASK
    for found in allocations:
        if found.first_page <= page <= found.end:
            return found
    return None
