"""What a guest's kernel tells of drivers: pool by tag, pool by verified driver, open keys by process.

The replies of POOL_TAGS, POOL_VERIFIED and OPEN_KEYS; driver-src/runner/pool.c and open_keys.c say where they
come from.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from harness.channel.abi import constant
from harness.channel.errors import ChannelError
from harness.channel.replies import U32, U64, Reply

__all__ = [
    "MAX_TAGS",
    "OpenKey",
    "OpenKeys",
    "PoolTag",
    "PoolUse",
    "VerifiedDriver",
    "read_open_keys",
    "read_pool_tags",
    "read_verified",
]

#: Tags that one request may ask for.
MAX_TAGS: Final = constant("REGRUN_MAX_TAGS")
_MAX_VERIFIED: Final = constant("REGRUN_MAX_VERIFIED")
_MAX_OPEN_KEYS: Final = constant("REGRUN_MAX_OPEN_KEYS")
_MAX_TEXT: Final = constant("REGRUN_MAX_TEXT")


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Allocations that are held of one kind of pool, and their bytes."""

    count: int
    size: int


@dataclass(frozen=True, slots=True)
class PoolTag:
    """What is held with a tag, by whomever; `used` says whether anybody allocated with it since the boot."""

    tag: bytes
    paged: PoolUse
    nonpaged: PoolUse
    used: bool


@dataclass(frozen=True, slots=True)
class VerifiedDriver:
    """What a driver under Driver Verifier holds; `flags` are the options that it is verified with."""

    name: str
    flags: int
    paged: PoolUse
    nonpaged: PoolUse


@dataclass(frozen=True, slots=True)
class OpenKey:
    """A key that a process opened; `program` is None where that has ended."""

    process: int
    program: str | None
    name: str


@dataclass(frozen=True, slots=True)
class OpenKeys:
    """Who has keys open: `count` in all, of which the first are listed. `runner` is the runner's process."""

    runner: int
    count: int
    keys: tuple[OpenKey, ...]


def read_pool_tags(reply: Reply, asked: Collection[bytes]) -> tuple[PoolTag, ...]:
    """Raises `ChannelError` for a reply that is malformed, or about a tag that nobody asked for."""
    found = []
    for each in reply.maps_or_none("tags", count=len(asked)) or ():
        tag = each.bytes("tag", most=4)
        if tag not in asked:
            raise ChannelError(f"the reply to {reply.what} is about the tag {tag!r}, which was not asked for")
        used = each.integer("paged_allocs") > 0 or each.integer("nonpaged_allocs") > 0
        found.append(PoolTag(tag, _use(each, "paged"), _use(each, "nonpaged"), used))
    return tuple(found)


def _use(reply: Reply, kind: str) -> PoolUse:
    """Both counts go round after 32 bits, and are not read at one moment while others allocate."""
    held = (reply.integer(f"{kind}_allocs") - reply.integer(f"{kind}_frees")) & U32
    return PoolUse(held if held < 1 << 31 else 0, reply.integer(f"{kind}_bytes", most=U64))


def read_verified(reply: Reply) -> tuple[VerifiedDriver, ...]:
    """Raises `ChannelError` for a reply that is malformed."""
    return tuple(
        VerifiedDriver(
            each.text("name", most=_MAX_TEXT),
            each.integer("flags"),
            PoolUse(each.integer("paged"), each.integer("paged_bytes", most=U64)),
            PoolUse(each.integer("nonpaged"), each.integer("nonpaged_bytes", most=U64)),
        )
        for each in reply.maps_or_none("drivers", count=_MAX_VERIFIED) or ()
    )


def read_open_keys(reply: Reply) -> OpenKeys:
    """Raises `ChannelError` for a reply that is malformed."""
    keys = tuple(
        OpenKey(
            each.integer("process"),
            each.text_or_none("program", most=_MAX_TEXT),
            each.text("name", most=_MAX_TEXT),
        )
        for each in reply.maps_or_none("keys", count=_MAX_OPEN_KEYS) or ()
    )
    return OpenKeys(reply.integer("runner"), reply.integer("count", least=len(keys)), keys)
