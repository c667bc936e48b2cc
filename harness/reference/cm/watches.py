"""Who is to be told when a key changes: NtNotifyChangeKey on one key, once (sdk regnotifychangekeyvalue)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .key import Key
    from .transaction import Transaction

__all__ = ["Change", "Watch", "changed", "watch"]


class Change(IntFlag):
    """REG_NOTIFY_CHANGE_xxx."""

    NAME = 1  # a subkey was added, deleted or renamed
    ATTRIBUTES = 2
    LAST_SET = 4  # a value was set or deleted
    SECURITY = 8


@dataclass(slots=True, eq=False)
class Watch:
    """One request. `fired` is called once: at the first change it asks for, or when it ends before."""

    key: Key
    wanted: int
    fired: Callable[[], None]
    done: bool = False

    def end(self) -> None:
        """Complete it, if it isn't."""
        if not self.done:
            self.done = True
            self.key.watches.remove(self)
            self.fired()


def watch(key: Key, wanted: int, fired: Callable[[], None]) -> Watch:
    """Tell of the next change of these kinds."""
    made = Watch(key, wanted, fired)
    key.watches.append(made)
    return made


def changed(key: Key, kind: Change, view: Transaction | None = None) -> None:
    """A key changed, or will have when the transaction commits."""
    if view is not None:
        view.changes.append((key, kind))
        return
    for each in list(key.watches):
        if each.wanted & kind:
            each.end()
