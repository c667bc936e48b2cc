"""Guest memory: one physical arena and a page table that Python owns.

Unicorn sees the arena as physical memory and asks `harness.reference.cpu` for every page it does not
know yet (a TLB miss); the answer comes from the page table here. Mapping, unmapping and protecting a page
are dictionary operations, and Python reads and writes the arena directly.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from typing import Final

from harness.errors import InfrastructureError
from harness.guest import Arch
from harness.reference.arenas import Bump, Scratch, ScratchBlock, Shown
from harness.reference.faults import Access, GuestFault, MemoryExhausted
from harness.reference.layout import PAGE, PAGE_MASK, address_map

__all__ = ["EXECUTE", "PAGEABLE", "READ", "WRITE", "Memory", "MemoryExhausted"]

READ: Final = 1
WRITE: Final = 2
EXECUTE: Final = 4
#: May be paged out: touching it at DISPATCH_LEVEL or above is a bugcheck (page "Bug Check 0xD1").
PAGEABLE: Final = 8

_FRAME: Final = ~PAGE_MASK
_NEEDS: Final = {Access.READ: READ, Access.WRITE: WRITE, Access.EXECUTE: EXECUTE}
_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_UNICODE_STRING: Final = {4: struct.Struct("<HHI"), 8: struct.Struct("<HH4xQ")}


class Memory:
    """The memory of one machine.

    Addresses are guest virtual addresses. `read`, `write` and the typed accessors raise `GuestFault`
    for pages that are absent or protected, as the processor would; ``force=True`` ignores protection,
    for the loader and for tests. `size` is the arena in bytes (address space only, pages cost when used).
    """

    def __init__(self, arch: Arch, *, size: int = 256 << 20) -> None:
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
        #: Asked before an export touches user memory for a driver (`user_read`); set by the machine.
        self.guard: Callable[[int, Access], None] = _anybody
        self._ptr = _U64 if self.pointer_size == 8 else _U32
        self._unicode_string = _UNICODE_STRING[self.pointer_size]
        self._scratch = Scratch(self)
        self._static = Bump(self, self.map.static)
        self._user = Bump(self, self.map.user)

    # --- pages -----------------------------------------------------------------------------------

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
        self.pages[address >> 12] = (self.pages[target >> 12] & _FRAME) | rights

    def unmap_pages(self, address: int, count: int = 1, *, free: bool = True) -> None:
        """Remove `count` pages; ``free=False`` keeps the frames (an alias goes)."""
        for page in range(address >> 12, (address >> 12) + count):
            entry = self.pages.pop(page, 0)
            if entry:
                self.forget(page)
                if free:
                    self._free.append(entry & _FRAME)

    def protect(self, address: int, count: int, rights: int) -> None:
        """Change the rights of `count` mapped pages."""
        for page in range(address >> 12, (address >> 12) + count):
            entry = self.pages.get(page)
            if entry is None:
                raise GuestFault(page << 12)
            self.pages[page] = (entry & _FRAME) | rights
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

    def physical(self, address: int, access: Access = Access.READ) -> int:
        """Offset of `address` in the arena. Raises `GuestFault`."""
        entry = self.pages.get(address >> 12, 0)
        if not entry & _NEEDS[access]:
            raise GuestFault(address, access)
        return (entry & _FRAME) + (address & PAGE_MASK)

    # --- bytes -----------------------------------------------------------------------------------

    def read(self, address: int, n: int) -> bytes:
        """`n` bytes at `address`."""
        offset = address & PAGE_MASK
        if offset + n <= PAGE:
            if n <= 0:
                return b""
            entry = self.pages.get(address >> 12, 0)
            if not entry & READ:
                raise GuestFault(address, Access.READ)
            start = (entry & _FRAME) + offset
            return self.arena[start : start + n]
        return b"".join(
            self.arena[s : s + size] for s, size in self._runs(address, n, Access.READ, force=False)
        )

    def write(self, address: int, data: bytes | bytearray | memoryview, *, force: bool = False) -> None:
        """Store `data` at `address`; nothing is written when any page of it can't be."""
        n = len(data)
        offset = address & PAGE_MASK
        if offset + n <= PAGE:
            if n == 0:
                return
            entry = self.pages.get(address >> 12, 0)
            if not (entry & WRITE or (force and entry)):
                raise GuestFault(address, Access.WRITE)
            start = (entry & _FRAME) + offset
            self.arena[start : start + n] = bytes(data)
            return
        view = memoryview(data)
        done = 0
        for start, size in list(self._runs(address, n, Access.WRITE, force=force)):
            self.arena[start : start + size] = bytes(view[done : done + size])
            done += size

    def user_read(self, address: int, n: int) -> bytes:
        """As `read`, on behalf of a driver that passed the address: checks that it may touch user memory.

        Kernel addresses are read like any other. Raises `RaiseInGuest` or `GuestFault`.
        """
        if address < self.map.user_limit:
            self.guard(address, Access.READ)
        return self.read(address, n)

    def user_write(self, address: int, data: bytes) -> None:
        """As `write`, on behalf of a driver; see `user_read`."""
        if address < self.map.user_limit:
            self.guard(address, Access.WRITE)
        self.write(address, data)

    def fill(self, address: int, n: int, value: int = 0) -> None:
        """Set `n` bytes to `value`."""
        for start, size in list(self._runs(address, n, Access.WRITE, force=False)):
            self.arena[start : start + size] = bytes((value,)) * size

    def _runs(self, address: int, n: int, access: Access, *, force: bool) -> Iterator[tuple[int, int]]:
        """The bytes as pieces of the arena (start, size); pages with neighbouring frames make one piece."""
        need = _NEEDS[access]
        end = address + n
        start = size = 0
        while address < end:
            entry = self.pages.get(address >> 12, 0)
            if not (entry & need or (force and entry)):
                raise GuestFault(address, access)
            offset = address & PAGE_MASK
            at = (entry & _FRAME) + offset
            length = min(PAGE - offset, end - address)
            if at == start + size:
                size += length
            else:
                if size:
                    yield start, size
                start, size = at, length
            address += length
        if size:
            yield start, size

    # --- scalars ---------------------------------------------------------------------------------

    def u8(self, address: int) -> int:
        """The byte at `address`."""
        entry = self.pages.get(address >> 12, 0)
        if not entry & READ:
            raise GuestFault(address, Access.READ)
        return self.arena[(entry & _FRAME) + (address & PAGE_MASK)]

    def u16(self, address: int) -> int:
        """The unsigned 16-bit value at `address`."""
        return self._scalar(address, _U16)

    def u32(self, address: int) -> int:
        """The unsigned 32-bit value at `address`."""
        return self._scalar(address, _U32)

    def u64(self, address: int) -> int:
        """The unsigned 64-bit value at `address`."""
        return self._scalar(address, _U64)

    def ptr(self, address: int) -> int:
        """The pointer at `address`."""
        return self._scalar(address, self._ptr)

    def put_u8(self, address: int, value: int) -> None:
        """Store the low 8 bits of `value`."""
        self.write(address, bytes((value & 0xFF,)))

    def put_u16(self, address: int, value: int) -> None:
        """Store the low 16 bits of `value`."""
        self._put(address, _U16, value & 0xFFFF)

    def put_u32(self, address: int, value: int) -> None:
        """Store the low 32 bits of `value`."""
        self._put(address, _U32, value & 0xFFFF_FFFF)

    def put_u64(self, address: int, value: int) -> None:
        """Store the low 64 bits of `value`."""
        self._put(address, _U64, value & 0xFFFF_FFFF_FFFF_FFFF)

    def put_ptr(self, address: int, value: int) -> None:
        """Store a pointer."""
        self._put(address, self._ptr, value & self.map.address_mask)

    def _scalar(self, address: int, kind: struct.Struct) -> int:
        offset = address & PAGE_MASK
        if offset + kind.size > PAGE:
            return int.from_bytes(self.read(address, kind.size), "little")
        entry = self.pages.get(address >> 12, 0)
        if not entry & READ:
            raise GuestFault(address, Access.READ)
        value: int = kind.unpack_from(self.arena, (entry & _FRAME) + offset)[0]
        return value

    def _put(self, address: int, kind: struct.Struct, value: int) -> None:
        offset = address & PAGE_MASK
        if offset + kind.size > PAGE:
            self.write(address, kind.pack(value))
            return
        entry = self.pages.get(address >> 12, 0)
        if not entry & WRITE:
            raise GuestFault(address, Access.WRITE)
        kind.pack_into(self.arena, (entry & _FRAME) + offset, value)

    # --- strings ---------------------------------------------------------------------------------

    def read_unicode(self, address: int) -> str:
        """The text of the UNICODE_STRING structure at `address`; unpaired surrogates survive."""
        length, _maximum, buffer = self._unicode_string.unpack(self.read(address, self._unicode_string.size))
        return self.read(buffer, length & ~1).decode("utf-16-le", "surrogatepass")

    def write_unicode(self, address: int, text: str, buffer: int, *, maximum: int | None = None) -> int:
        """Store `text` at `buffer` and a UNICODE_STRING for it at `address`; returns the length in bytes.

        `maximum` is MaximumLength in bytes, the length when not given.
        """
        raw = text.encode("utf-16-le", "surrogatepass")
        self.write(buffer, raw)
        self.put_unicode_string(address, len(raw), len(raw) if maximum is None else maximum, buffer)
        return len(raw)

    def put_unicode_string(self, address: int, length: int, maximum: int, buffer: int) -> None:
        """Store the three fields of a UNICODE_STRING (or ANSI_STRING) at `address`."""
        self.write(address, self._unicode_string.pack(length & 0xFFFF, maximum & 0xFFFF, buffer))

    def unicode_string(self, address: int) -> tuple[int, int, int]:
        """Length, MaximumLength (bytes) and Buffer of the UNICODE_STRING at `address`."""
        length, maximum, buffer = self._unicode_string.unpack(self.read(address, self._unicode_string.size))
        return length, maximum, buffer

    @property
    def unicode_string_size(self) -> int:
        """Size of a UNICODE_STRING: 8 or 16 bytes."""
        return self._unicode_string.size

    def read_wide(self, address: int, limit: int = 0x8000) -> str:
        """The UTF-16 text at `address` up to its terminating zero or `limit` characters."""
        return self._terminated(address, 2, limit).decode("utf-16-le", "surrogatepass")

    def read_ansi(self, address: int, limit: int = 0x8000) -> bytes:
        """The bytes at `address` up to the terminating zero or `limit`."""
        return self._terminated(address, 1, limit)

    def _terminated(self, address: int, width: int, limit: int) -> bytes:
        out = bytearray()
        while len(out) < limit * width:
            size = PAGE - (address & PAGE_MASK)
            # A character across two pages is read alone.
            chunk = self.read(address, max(width, size - size % width))
            at = _find_zero(chunk, width)
            if at >= 0:
                out += chunk[:at]
                break
            out += chunk
            address += len(chunk)
        return bytes(out[: limit * width])

    # --- arenas ----------------------------------------------------------------------------------

    def scratch(self) -> ScratchBlock:
        """Kernel memory for arguments of calls into the guest, given back when the block ends."""
        return ScratchBlock(self._scratch)

    def find_gone(self, address: int) -> tuple[Shown, int] | None:
        """What a driver was shown at `address` in `scratch` memory that is gone; see `Scratch.find_gone`."""
        return self._scratch.find_gone(address)

    def share_scratch(self, shared: bool) -> None:
        """Whether operations use `scratch` in no order for now, so that none may give anything back."""
        self._scratch.shared = shared

    def alloc_static(self, n: int) -> int:
        """`n` zeroed bytes of kernel memory for the life of the machine, 16-byte aligned."""
        return self._static.alloc(n)

    def alloc_user(self, n: int) -> int:
        """`n` bytes of user-mode memory, 16-byte aligned; cheap, given back by `reset_user`."""
        return self._user.alloc(n)

    def reset_user(self) -> None:
        """Forget every user-mode allocation (the requesting program ended)."""
        self._user.reset()

    def map_user(self, n: int) -> int:
        """Pages of their own for `n` bytes of user memory, so that `unmap_user` really takes them away."""
        return self._user.alloc_pages(n)

    def unmap_user(self, address: int, n: int) -> None:
        """Take pages of `map_user` away, as a requester that frees its buffer does."""
        self.unmap_pages(address & _FRAME, ((address & PAGE_MASK) + n + PAGE_MASK) >> 12)

    def close(self) -> None:
        """Give the arena back."""
        self.pages.clear()
        self.forget = _nobody
        self.guard = _anybody
        try:
            self.arena.close()
        except BufferError as error:  # somebody still exports a view of it
            raise InfrastructureError("guest memory is still in use while the machine closes") from error


def _find_zero(chunk: bytes, width: int) -> int:
    at = chunk.find(b"\0" * width)
    while at >= 0 and at % width:
        at = chunk.find(b"\0" * width, at + 1)
    return at


def _nobody(_page: int) -> None:
    return None


def _anybody(_address: int, _access: Access) -> None:
    return None


_ZEROES: Final = bytes(PAGE)
