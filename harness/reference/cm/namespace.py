"""Walking a path: one call of the key type's parse routine.

A symbolic link ends the walk with the path to restart with (B-CRE-20); the caller counts restarts.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.registry.paths import join
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType

from .key import Key
from .names import MAX_KEY_NAME, decode_utf16, units, upcase
from .transaction import Transaction

__all__ = ["Found", "Link", "Missing", "Refused", "walk"]


@dataclass(frozen=True, slots=True)
class Found:
    """The path leads to this key."""

    key: Key


@dataclass(frozen=True, slots=True)
class Missing:
    """`parent` has no subkey names[0]; more names may follow."""

    parent: Key
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Link:
    """The walk met a symbolic link; the whole absolute path to go on with."""

    path: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The walk can't go on."""

    status: int


def _follow(link: Key, rest: list[str], view: Transaction | None) -> Link | Refused:
    target = link.link_target(view)
    path = decode_utf16(target.data) if target else ""
    if target is None or target.type != ValueType.LINK or not path.startswith("\\"):
        return Refused(NTSTATUS.OBJECT_NAME_NOT_FOUND)
    return Link(join(path, *rest))


def walk(
    start: Key,
    names: list[str],
    *,
    registry: Key,
    open_link: bool,
    internal: bool,
    view: Transaction | None,
) -> Found | Missing | Link | Refused:
    """Follow `names` from `start`.

    open_link: a link as the last name is opened itself. internal: the walk may enter \\REGISTRY\\A, which
    nobody else may by path, not even to open \\REGISTRY\\A itself (B-APP-03).
    """
    status = start.status(view)
    if status != NTSTATUS.SUCCESS:
        return Refused(status)
    key = start
    for index, name in enumerate(names):
        if key.is_link:
            return _follow(key, names[index:], view)
        if units(name) > MAX_KEY_NAME:
            return Refused(NTSTATUS.INVALID_PARAMETER)
        if key is registry and upcase(name) == "A" and not internal:
            return Refused(NTSTATUS.ACCESS_DENIED)
        child = key.subkey(name, view)
        if child is None:
            return Missing(key, tuple(names[index:]))
        key = child
    if names and key.is_link and not open_link:
        return _follow(key, [], view)
    return Found(key)
