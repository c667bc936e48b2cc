"""A key of the registry: names, values, subkeys, security, and its state inside one open transaction.

A key has a committed state. The one transaction that changed it, if any, has a pending state beside it:
handles bound to that transaction see the pending one, everybody else the committed one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.registry.status import NTSTATUS

from .names import SYMBOLIC_LINK_VALUE, sort_key, upcase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .hive import Hive
    from .security import SecurityDescriptor
    from .transaction import Transaction
    from .watches import Watch

__all__ = ["Key", "KeyState", "Value"]


def _is_in_volatile_list(item: tuple[str, Key]) -> bool:
    return item[1].volatile and not item[1].is_hive_root


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a key: its name as it was spelled first, any 32-bit type, the data."""

    name: str
    type: int
    data: bytes


@dataclass(slots=True)
class KeyState:
    """Everything about a key that a transaction can change.

    values: by upcased name, in the order they were set first, which is the order of enumeration.
    subkeys: by upcased name; `ordered` gives the order of enumeration.
    """

    name: str
    last_write: int  # FILETIME
    security: SecurityDescriptor
    values: dict[str, Value] = field(default_factory=dict)
    subkeys: dict[str, Key] = field(default_factory=dict)
    deleted: bool = False
    _ordered: tuple[Key, ...] | None = None

    def copy(self) -> KeyState:
        """A state of its own to change."""
        return KeyState(
            self.name, self.last_write, self.security, dict(self.values), dict(self.subkeys), self.deleted
        )

    def ordered(self) -> tuple[Key, ...]:
        """The subkeys in the order of enumeration: stable before volatile ones, each by name.

        No page promises an order; this is the one of the two subkey lists a key has.
        """
        if self._ordered is None:
            by_name = sorted(self.subkeys.items(), key=lambda item: sort_key(item[0]))
            self._ordered = tuple(key for _, key in sorted(by_name, key=_is_in_volatile_list))
        return self._ordered

    def add(self, name: str, key: Key) -> None:
        """Put a subkey under a name."""
        self.subkeys[upcase(name)] = key
        self._ordered = None

    def remove(self, name: str) -> None:
        """Take the subkey of that name away."""
        del self.subkeys[upcase(name)]
        self._ordered = None


class Key:
    """A key (not an open instance of it). Made by the manager only.

    `object_id` identifies the key: unique, never used again, not changed by a rename (B-INF-05..07).
    `open_count` counts the key objects (open instances) that refer to it.
    """

    __slots__ = (
        "_committed",
        "_pending",
        "class_name",
        "control_flags",
        "hive",
        "is_link",
        "is_predefined",
        "object_id",
        "open_count",
        "parent",
        "transaction",
        "volatile",
        "watches",
        "wow64_flags",
    )

    # Shaped like the identifiers of the documentation's dumps: even, non-zero, far from small integers.
    _identifiers = itertools.count(0xE000_0001_0000, 0x10)

    def __init__(
        self,
        hive: Hive,
        parent: Key | None,
        state: KeyState,
        *,
        class_name: str = "",
        volatile: bool = False,
        is_link: bool = False,
        is_predefined: bool = False,
    ) -> None:
        self.hive = hive
        self.parent = parent
        self.class_name = class_name
        self.volatile = volatile
        self.is_link = is_link
        self.is_predefined = is_predefined
        self.wow64_flags = 0
        self.control_flags = 0
        self.open_count = 0
        #: Requests to be told of a change, the oldest first.
        self.watches: list[Watch] = []
        self.object_id: Final = next(Key._identifiers)
        self.transaction: Transaction | None = None  # the open transaction that changed this key
        self._committed = state
        self._pending: KeyState | None = None

    # -- states ------------------------------------------------------------------------------------

    def state(self, view: Transaction | None = None) -> KeyState:
        """The state a handle bound to `view` sees."""
        if view is not None and view is self.transaction and self._pending is not None:
            return self._pending
        return self._committed

    def status(self, view: Transaction | None = None) -> int:
        """SUCCESS, or why no operation on this key can go on."""
        if view is not None and not view.is_active:
            return view.inactive_status
        if not self.hive.loaded:
            return NTSTATUS.HIVE_UNLOADED
        return NTSTATUS.KEY_DELETED if self.state(view).deleted else NTSTATUS.SUCCESS

    def change(self, view: Transaction | None) -> KeyState:
        """The state to write to. The caller has settled conflicts with `Transaction.enter` before."""
        self.hive.dirty = True
        if view is None:
            return self._committed
        if self._pending is None:
            self._pending = self._committed.copy()
            self.transaction = view
            view.touch(self)
        return self._pending

    def begin_uncommitted(self, view: Transaction) -> None:
        """Make a key that was just made invisible outside of `view`."""
        self._pending = self._committed.copy()
        self._committed.deleted = True
        self.transaction = view
        view.touch(self)

    def settle(self, *, commit: bool) -> None:
        """End of the transaction: the pending state becomes the committed one, or goes."""
        if commit and self._pending is not None:
            self._committed = self._pending
        self._pending = None
        self.transaction = None

    # -- reading -----------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The committed name; of a key no transaction has committed yet, the name it was created with."""
        return self._committed.name

    @property
    def deleted(self) -> bool:
        """Whether the key is gone for everybody outside of transactions."""
        return self._committed.deleted

    @property
    def is_hive_root(self) -> bool:
        """Whether this is the root of its hive."""
        return self.hive.root is self

    def subkey(self, name: str, view: Transaction | None = None) -> Key | None:
        """The subkey of that name, as `view` sees it."""
        return self.state(view).subkeys.get(upcase(name))

    def value(self, name: str, view: Transaction | None = None) -> Value | None:
        """The value of that name; "" is the default value."""
        return self.state(view).values.get(upcase(name))

    def link_target(self, view: Transaction | None = None) -> Value | None:
        """The value that holds a link's target."""
        return self.value(SYMBOLIC_LINK_VALUE, view)

    def tree(self, view: Transaction | None = None) -> Iterator[Key]:
        """This key and everything below it, parents first; other hives mounted below are not entered."""
        todo = [self]
        while todo:
            key = todo.pop()
            yield key
            todo += [child for child in key.state(view).subkeys.values() if child.hive is self.hive]

    def path(self, view: Transaction | None = None) -> str:
        """The absolute path, \\REGISTRY\\..."""
        names: list[str] = []
        key: Key | None = self
        while key is not None:
            names.append(key.state(view).name)
            key = key.parent
        return "\\" + "\\".join(reversed(names))

    def depth(self) -> int:
        """Levels below the root of the hive; 0 for the root."""
        count, key = 0, self
        while not key.is_hive_root and key.parent is not None:
            count, key = count + 1, key.parent
        return count

    def __repr__(self) -> str:
        return f"<Key {self.path()!r}{' deleted' if self.deleted else ''}>"
