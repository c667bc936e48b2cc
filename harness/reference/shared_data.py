"""KUSER_SHARED_DATA: the page that drivers read for the time and the version.

Offsets are those of the page "KUSER_SHARED_DATA structure (ntddk.h)" and have been the same since NT 5.
"""

from __future__ import annotations

from typing import Final

from harness.reference.clock import Clock
from harness.reference.layout import PAGE
from harness.reference.memory import READ, Memory
from harness.registry.version import WindowsVersion

__all__ = ["SharedData"]

_TICK_COUNT_LOW: Final = 0x00
_TICK_MULTIPLIER: Final = 0x04
_INTERRUPT_TIME: Final = 0x08
_SYSTEM_TIME: Final = 0x14
_SYSTEM_ROOT: Final = 0x30
_BUILD: Final = 0x260
_PRODUCT_TYPE: Final = 0x264
_PRODUCT_TYPE_VALID: Final = 0x268
_MAJOR: Final = 0x26C
_MINOR: Final = 0x270
_TICK_COUNT: Final = 0x320
_PROCESSORS: Final = 0x3C0
#: 15.625 ms per tick as a fraction of 2**24 ms.
_MULTIPLIER: Final = 0x0FA0_0000
_TICK: Final = 156_250


class SharedData:
    """The page in kernel space and its read-only twin in user space."""

    def __init__(self, memory: Memory, version: WindowsVersion, clock: Clock) -> None:
        self._memory = memory
        self._address = memory.map.shared_data
        self._clock = clock
        memory.map_pages(self._address, 1, READ)
        memory.map_alias(memory.map.user_shared_data, self._address, READ)
        page = bytearray(PAGE)

        def put(offset: int, value: int, size: int = 4) -> None:
            page[offset : offset + size] = value.to_bytes(size, "little")

        root = "C:\\Windows".encode("utf-16-le")
        page[_SYSTEM_ROOT : _SYSTEM_ROOT + len(root)] = root
        put(_TICK_MULTIPLIER, _MULTIPLIER)
        if version.major >= 10:  # earlier systems leave the field zero
            put(_BUILD, version.build)
        put(_PRODUCT_TYPE, 3 if version.build in (3790, 20348) else 1)  # VER_NT_SERVER, VER_NT_WORKSTATION
        put(_PRODUCT_TYPE_VALID, 1, 1)
        put(_MAJOR, version.major)
        put(_MINOR, version.minor)
        put(_PROCESSORS, 1)
        memory.write(self._address, page, force=True)
        self.update()

    def update(self) -> None:
        """Bring the times up to date."""
        passed = self._clock.interrupt_time()
        self._time(_SYSTEM_TIME, self._clock.system_time())
        self._time(_INTERRUPT_TIME, passed)
        ticks = passed // _TICK
        self._time(_TICK_COUNT, ticks)
        self._memory.write(
            self._address + _TICK_COUNT_LOW, (ticks & 0xFFFF_FFFF).to_bytes(4, "little"), force=True
        )

    def _time(self, offset: int, value: int) -> None:
        """A KSYSTEM_TIME: low, high, and high again, which readers compare."""
        high = (value >> 32).to_bytes(4, "little")
        low = (value & 0xFFFF_FFFF).to_bytes(4, "little")
        self._memory.write(self._address + offset, low + high + high, force=True)
