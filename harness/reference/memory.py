"""Guest memory as Python reads, writes and allocates it; the pages are in `harness.reference.pages`.

Python goes by the page table and reads and writes the arena directly.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Final

from harness.guest import Arch
from harness.reference.arenas import Bump, Scratch, ScratchBlock, Shown
from harness.reference.faults import Access, GuestFault, MemoryExhausted
from harness.reference.layout import PAGE, PAGE_MASK
from harness.reference.pages import EXECUTE, FRAME, NEEDS, PAGEABLE, READ, WRITE, PagedMemory

__all__ = ["EXECUTE", "PAGEABLE", "READ", "WRITE", "Memory", "MemoryExhausted"]

_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
_UNICODE_STRING: Final = {4: struct.Struct("<HHI"), 8: struct.Struct("<HH4xQ")}


class Memory(PagedMemory):
    """The memory of one machine.

    Addresses are guest virtual addresses. `read`, `write` and the typed accessors raise `GuestFault`
    for pages that are absent or protected, as the processor would; ``force=True`` ignores protection,
    for the loader and for tests. `size` is the arena in bytes (address space only, pages cost when used).
    """

    def __init__(self, arch: Arch, *, size: int = 256 << 20) -> None:
        super().__init__(arch, size=size)
        #: Asked before an export touches user memory for a driver (`user_read`); set by the machine.
        self.guard: Callable[[int, Access], None] = _anybody
        self._ptr = _U64 if self.pointer_size == 8 else _U32
        self._unicode_string = _UNICODE_STRING[self.pointer_size]
        self._scratch = Scratch(self)
        self._static = Bump(self, self.map.static)
        self._user = Bump(self, self.map.user)

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
            start = (entry & FRAME) + offset
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
            start = (entry & FRAME) + offset
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
        need = NEEDS[access]
        end = address + n
        start = size = 0
        while address < end:
            entry = self.pages.get(address >> 12, 0)
            if not (entry & need or (force and entry)):
                raise GuestFault(address, access)
            offset = address & PAGE_MASK
            at = (entry & FRAME) + offset
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
        return self.arena[(entry & FRAME) + (address & PAGE_MASK)]

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
        value: int = kind.unpack_from(self.arena, (entry & FRAME) + offset)[0]
        return value

    def _put(self, address: int, kind: struct.Struct, value: int) -> None:
        offset = address & PAGE_MASK
        if offset + kind.size > PAGE:
            self.write(address, kind.pack(value))
            return
        entry = self.pages.get(address >> 12, 0)
        if not entry & WRITE:
            raise GuestFault(address, Access.WRITE)
        kind.pack_into(self.arena, (entry & FRAME) + offset, value)

    # --- strings ---------------------------------------------------------------------------------

    def read_unicode(self, address: int) -> str:
        """The text of the UNICODE_STRING structure at `address`; unpaired surrogates survive."""
        length, _maximum, buffer = self._unicode_string.unpack(self.read(address, self._unicode_string.size))
        return self.read(buffer, length & ~1).decode("utf-16-le", "surrogatepass")

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
        self.unmap_pages(address & FRAME, ((address & PAGE_MASK) + n + PAGE_MASK) >> 12)

    def close(self) -> None:
        """Give the arena back."""
        self.guard = _anybody
        super().close()


def _anybody(_address: int, _access: Access) -> None:
    return None
