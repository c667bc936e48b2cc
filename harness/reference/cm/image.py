"""A hive's content as plain data: what hive files are read into and written from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["HiveImage", "KeyImage", "ValueImage"]


@dataclass(frozen=True, slots=True)
class ValueImage:
    """A value; the default value has the name ""."""

    name: str
    type: int
    data: bytes


@dataclass(slots=True)
class KeyImage:
    """A key. `security` is a self-relative descriptor, `last_write` a FILETIME.

    flags: those of regf_format that say what kind of key it is, KEY_LINK and KEY_PREDEFINED.
    """

    name: str
    security: bytes
    last_write: int = 0
    class_name: str = ""
    flags: int = 0
    values: list[ValueImage] = field(default_factory=list)
    subkeys: list[KeyImage] = field(default_factory=list)

    def tree(self) -> Iterator[KeyImage]:
        """This key and all below it, parents first."""
        todo = [self]
        while todo:
            key = todo.pop()
            yield key
            todo += reversed(key.subkeys)


@dataclass(slots=True)
class HiveImage:
    """A whole hive: the root key, the format's minor version, when it was written, the embedded file name."""

    root: KeyImage
    minor_version: int = 5
    timestamp: int = 0
    file_name: str = ""
