"""A hive: a tree of keys that is loaded, unloaded and written to its file as a whole."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from harness.registry.options import LoadFlags

from .security import SecurityDescriptor

if TYPE_CHECKING:
    from .key import Key

__all__ = ["Hive"]


class Hive:
    """A loaded hive.

    openers: key objects open on any of its keys, by process. security: the descriptor of every key of an
    application hive. file: DOS path of its file, None for the volatile hives \\REGISTRY consists of.
    """

    __slots__ = (
        "dirty",
        "file",
        "flags",
        "loaded",
        "minor_version",
        "openers",
        "replaced",
        "root",
        "security",
    )

    def __init__(self, *, file: str | None = None, flags: int = 0, minor_version: int = 5) -> None:
        self.root: Key | None = None
        self.file = file
        self.flags = flags
        self.minor_version = minor_version
        self.loaded = True
        self.dirty = False
        self.replaced = False  # another file waits for the next boot: this one is no more written
        self.openers: Counter[int] = Counter()
        self.security: SecurityDescriptor | None = None  # of every key of an application hive (B-APP-08)

    @property
    def open_count(self) -> int:
        """Key objects open on any of its keys."""
        return self.openers.total()

    @property
    def is_app(self) -> bool:
        """Whether this is an application hive."""
        return bool(self.flags & LoadFlags.APP_HIVE)

    @property
    def is_exclusive(self) -> bool:
        """Loaded with REG_PROCESS_APPKEY: nobody may load it again (B-APP-13)."""
        return bool(self.flags & LoadFlags.PROCESS_PRIVATE)

    @property
    def is_read_only(self) -> bool:
        """Changes stay in memory; the file is left alone."""
        return bool(self.flags & (LoadFlags.OPEN_READ_ONLY | LoadFlags.IMMUTABLE))

    def __repr__(self) -> str:
        return f"<Hive {self.file or 'in memory'} {'loaded' if self.loaded else 'unloaded'}>"
