"""What drivers hold in a guest at a moment, and what is left of it later: the words of the leak gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

__all__ = ["NOTHING_KNOWN", "Held", "Holding", "Outstanding", "left_over", "pool_words"]


class Holding(StrEnum):
    """Kinds of things that a driver takes and has to give back."""

    DRIVERS = "loaded drivers"
    POOL = "pool"
    CALLBACKS = "registry callbacks"
    CONTEXTS = "object contexts"
    HANDLES = "handles on keys"
    REFERENCES = "references on keys"  # pointers to key objects that no handle accounts for
    KERNEL_HANDLES = "kernel handles"  # on anything but keys: files, events, threads
    PROCESS_REFERENCES = "references on processes and threads"


@dataclass(frozen=True, slots=True)
class Held:
    """`count` things of a kind, `size` bytes of them where that means something.

    `what` tells them from others of the kind, in words: "regprobe.sys, tag 'RgRp', nonpaged".
    """

    kind: Holding
    what: str
    count: int = 1
    size: int = 0

    def __str__(self) -> str:
        count = f"{self.count} x " if self.count != 1 else ""
        size = f" ({self.size} bytes)" if self.size else ""
        return f"{self.kind}: {count}{self.what}{size}"


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What is held at a moment. Of the kinds in `unknown`, with the reason, the guest can't tell."""

    held: tuple[Held, ...] = ()
    unknown: Mapping[Holding, str] = field(default_factory=dict)


#: Of a guest that can't look into its own kernel.
NOTHING_KNOWN: Final = Outstanding(
    unknown=dict.fromkeys(Holding, "this guest has no documented way to tell them by driver")
)


def pool_words(driver: str, tag: str | None, *, paged: bool) -> str:
    """`Held.what` of pool; `tag` None is what no tag of its own accounts for."""
    told = "other tags" if tag is None else f"tag '{tag}'"
    return f"{driver}, {told}, {'paged' if paged else 'nonpaged'}"


def left_over(before: Iterable[Held], now: Iterable[Held]) -> tuple[Held, ...]:
    """What `now` holds more than `before` did, in its order."""
    counts = {(held.kind, held.what): held for held in before}
    found = []
    for held in now:
        earlier = counts.get((held.kind, held.what))
        count = held.count - (earlier.count if earlier else 0)
        if count > 0:
            size = held.size - (earlier.size if earlier else 0)
            found.append(replace(held, count=count, size=max(size, 0)))
    return tuple(found)
