"""The state of the configuration manager: the namespace, its hives, open instances, the clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

from harness.registry.version import WindowsVersion

from .filesystem import FileSystem
from .hive import Hive
from .key import Key, KeyState
from .names import upcase
from .sddl import parse_sddl
from .security import SecurityDescriptor
from .transaction import Transaction
from .watches import Change, changed
from .wow64 import Redirector

__all__ = ["Store"]

_ROOT_SECURITY = parse_sddl("O:BAG:SYD:(A;CI;KA;;;BA)(A;CI;KA;;;SY)(A;CI;KR;;;WD)(A;CI;KR;;;RC)")

#: 2020-01-01 as FILETIME; the model's clock starts here and moves 1 ms with every reading, so that runs
#: of one program write the same times.
_EPOCH = 132_223_104_000_000_000
_TICK = 10_000


def _default_clock() -> Callable[[], int]:
    ticks: Iterator[int] = itertools.count(_EPOCH, _TICK)
    return lambda: next(ticks)


class Store:
    """Keys, hives and files of one machine.

    root: the key \\REGISTRY. software: HKLM\\Software, where WOW64 redirection happens. pointer_size: 8 on
    64-bit Windows, which has a 32-bit view. clock: returns the time as FILETIME.
    """

    def __init__(
        self,
        version: WindowsVersion,
        *,
        files: FileSystem | None = None,
        pointer_size: int = 8,
        clock: Callable[[], int] | None = None,
    ) -> None:
        self.version = version
        self.pointer_size = pointer_size
        self.files = files if files is not None else FileSystem()
        self.now = clock if clock is not None else _default_clock()
        self.master = Hive()
        self.root = Key(self.master, None, KeyState("REGISTRY", self.now(), _ROOT_SECURITY), volatile=True)
        self.master.root = self.root
        self.machine = self._fixed("MACHINE")
        self.user = self._fixed("USER")
        self.applications = self._fixed("A") if version.has_app_hives else None
        self.hives: list[Hive] = []
        self.redirector: Redirector | None = None

    def _fixed(self, name: str) -> Key:
        return self.add_key(self.root, name, _ROOT_SECURITY, volatile=True)

    # -- making keys -------------------------------------------------------------------------------

    def add_key(
        self,
        parent: Key,
        name: str,
        security: SecurityDescriptor,
        *,
        class_name: str = "",
        volatile: bool = False,
        is_link: bool = False,
        transaction: Transaction | None = None,
    ) -> Key:
        """A new subkey, without any check."""
        time = self.now()
        key = Key(
            parent.hive,
            parent,
            KeyState(name, time, security),
            class_name=class_name,
            volatile=volatile,
            is_link=is_link,
        )
        if transaction is not None:
            key.begin_uncommitted(transaction)
        state = parent.change(transaction)
        state.add(name, key)
        state.last_write = time
        changed(parent, Change.NAME, transaction)
        return key

    def mount(self, hive: Hive, root: Key, parent: Key, name: str) -> None:
        """Put a hive's root into the namespace."""
        root.parent = parent
        root.state().name = name
        hive.root = root
        parent.state().add(name, root)
        self.hives.append(hive)

    def unmount(self, hive: Hive) -> None:
        """Take a hive out of the namespace; its keys answer HIVE_UNLOADED from now on."""
        root = hive.root
        if root is not None and root.parent is not None:
            root.parent.state().remove(root.name)
        hive.loaded = False
        self.hives.remove(hive)

    def find(self, path: str) -> Key | None:
        """The key at an absolute path as committed; links are not followed, nothing is checked."""
        names = [name for name in path.split("\\") if name]
        if not names or upcase(names[0]) != "REGISTRY":
            return None
        key: Key | None = self.root
        for name in names[1:]:
            key = key.subkey(name) if key is not None else None
        return key

    def path_of(self, key: Key, transaction: Transaction | None = None) -> str:
        """The absolute path of a key."""
        return key.path(transaction)
