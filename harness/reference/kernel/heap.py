"""Memory for the kernel's own objects: size classes carved from the static arena, freed blocks used again.

Driver allocations never come from here (they get pages of their own, see the pool), so speed matters more
than catching overruns: nothing a driver owns lies beside these blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from harness.reference.memory import Memory

__all__ = ["SYSTEM_OWNED", "ObjectHeap"]

#: What a freed block is filled with: a driver that keeps using it meets nonsense, not plausible data.
_DEAD: Final = b"\xdd"


class ObjectHeap:
    """Zeroed blocks, 16-byte aligned."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._free: dict[int, list[int]] = {}
        self._sizes: dict[int, int] = {}

    def alloc(self, size: int) -> int:
        rounded = max(32, -(-size // 32) * 32)
        blocks = self._free.get(rounded)
        address = blocks.pop(0) if blocks and len(blocks) > 16 else self._memory.alloc_static(rounded)
        self._memory.write(address, bytes(rounded))
        self._sizes[address] = rounded
        return address

    def free(self, address: int) -> None:
        """Release a block; unknown addresses (memory the object's creator owns) are left alone."""
        rounded = self._sizes.pop(address, 0)
        if rounded:
            self._memory.write(address, _DEAD * rounded)
            # Oldest first, and only when some lie in wait: an address comes back late.
            self._free.setdefault(rounded, []).append(address)


#: Owner of pool the kernel allocates for itself while serving a driver: never part of that driver's leaks.
SYSTEM_OWNED: Final[Any] = object()
