"""The images in memory: which driver an address belongs to, and what unloaded images left behind."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.reference.memory import Memory

__all__ = ["Driver", "Function", "Modules", "Section"]

_REMEMBERED: Final = 32


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a loaded image: name, first address, size in memory, rights in the page table."""

    name: str
    address: int
    size: int
    rights: int


@dataclass(frozen=True, slots=True)
class Function:
    """One RUNTIME_FUNCTION of an x64 image; all three are relative to the image base."""

    begin: int
    end: int
    unwind: int


@dataclass(slots=True, eq=False)
class Driver:
    """A loaded image. `name` is the file name ("regprobe.sys"), `entry` the address of DriverEntry."""

    name: str
    base: int
    size: int
    entry: int
    sections: tuple[Section, ...]
    functions: tuple[Function, ...] = ()  # by address
    image: bytes = field(default=b"", repr=False)
    #: Where the file came from, if anywhere: symbols are looked for beside it.
    path: Path | None = None
    #: Distance from where the linker put the image: address in memory minus address in symbols.
    slide: int = 0
    #: Address of the table of RUNTIME_FUNCTION entries (x64).
    table: int = 0
    #: Whatever the IO manager keeps for it (DRIVER_OBJECT, service ...).
    body: Any = None
    #: Imports that are there so that it loads and do nothing (`Export.declined`).
    declined: tuple[str, ...] = ()
    #: x64: instructions seen to touch user memory under a __try of their own function -> its end, or 0.
    guarded: dict[int, int] = field(default_factory=dict, repr=False)
    _starts: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        self._starts = tuple(f.begin for f in self.functions)

    @property
    def end(self) -> int:
        """First address after the image."""
        return self.base + self.size

    def function_at(self, address: int) -> Function | None:
        """The function whose unwind data covers `address`, or None for a leaf function."""
        rva = address - self.base
        index = bisect_right(self._starts, rva) - 1
        if index < 0:
            return None
        found = self.functions[index]
        return found if rva < found.end else None

    def section_at(self, address: int) -> Section | None:
        """The section that contains `address`."""
        return next((s for s in self.sections if s.address <= address < s.address + s.size), None)


class Modules:
    """Loaded images by address."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._loaded: list[Driver] = []
        self.unloaded: deque[tuple[str, int, int]] = deque(maxlen=_REMEMBERED)

    def __iter__(self) -> Iterator[Driver]:
        return iter(tuple(self._loaded))

    def __len__(self) -> int:
        return len(self._loaded)

    def add(self, driver: Driver) -> None:
        """Note a loaded image."""
        self._loaded.append(driver)

    def remove(self, driver: Driver) -> None:
        """Forget an image; its range is remembered as unloaded."""
        self._loaded.remove(driver)
        self.unloaded.append((driver.name, driver.base, driver.end))

    def at(self, address: int) -> Driver | None:
        """The image that contains `address`."""
        for driver in self._loaded:
            if driver.base <= address < driver.end:
                return driver
        return None

    def entry_address(self, driver: Driver | None, function: Function | None) -> int:
        """Address of the RUNTIME_FUNCTION of `function` in its image, 0 when there is none."""
        if driver is None or function is None:
            return 0
        return driver.table + 12 * driver.functions.index(function)

    def unloaded_at(self, address: int) -> str | None:
        """The name of the unloaded image that was at `address`, unless another one is there now."""
        if self.at(address) is not None:
            return None
        for name, start, end in reversed(self.unloaded):
            if start <= address < end:
                return name
        return None
