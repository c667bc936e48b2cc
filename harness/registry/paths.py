"""Registry paths in object-manager form: \\REGISTRY\\MACHINE\\...

A path is counted text: it may hold any UTF-16 unit but the backslash inside a name. Comparison of keys
ignores case (B-INF-04) by upcasing one UTF-16 unit at a time, as the system does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Self

__all__ = [
    "APPLICATION",
    "MACHINE",
    "REGISTRY",
    "SEPARATOR",
    "USER",
    "RegistryPath",
    "is_absolute",
    "is_at_or_under",
    "join",
    "leaf",
    "parent",
    "same_path",
    "split",
    "upcase",
]

SEPARATOR: Final = "\\"

#: Spellings Win32 users know, and what they stand for. HKEY_CURRENT_USER needs a user and is not here.
_WIN32_ROOTS: Final = {
    "HKLM": r"\REGISTRY\MACHINE",
    "HKEY_LOCAL_MACHINE": r"\REGISTRY\MACHINE",
    "HKU": r"\REGISTRY\USER",
    "HKEY_USERS": r"\REGISTRY\USER",
    "HKCR": r"\REGISTRY\MACHINE\SOFTWARE\Classes",
    "HKEY_CLASSES_ROOT": r"\REGISTRY\MACHINE\SOFTWARE\Classes",
}


def upcase(text: str) -> str:
    """Upcase unit by unit: a character whose upper case is not exactly one character stays as it is."""
    if text.isascii():
        return text.upper()
    return "".join(up if len(up := char.upper()) == 1 and ord(char) < 0x10000 else char for char in text)


def split(path: str) -> tuple[str, ...]:
    """The names of a path; empty ones (leading, doubled and trailing backslashes) are left out."""
    return tuple(name for name in path.split(SEPARATOR) if name)


def join(base: str, *names: str) -> str:
    """Append names or relative paths to a path with exactly one backslash between."""
    result = base
    for name in names:
        if name:
            result = f"{result.rstrip(SEPARATOR)}{SEPARATOR}{name.lstrip(SEPARATOR)}" if result else name
    return result


def is_absolute(path: str) -> bool:
    """A leading backslash is the test for an absolute path (B-CRE-05)."""
    return path.startswith(SEPARATOR)


def parent(path: str) -> str:
    """The path without its last name; "\\REGISTRY" and relative single names have the parent ""."""
    return path.rstrip(SEPARATOR).rpartition(SEPARATOR)[0]


def leaf(path: str) -> str:
    """The last name of a path."""
    return path.rstrip(SEPARATOR).rpartition(SEPARATOR)[2]


def same_path(one: str, other: str) -> bool:
    """Whether two paths name the same key by text: case and superfluous backslashes don't count."""
    return is_absolute(one) == is_absolute(other) and [upcase(name) for name in split(one)] == [
        upcase(name) for name in split(other)
    ]


def is_at_or_under(path: str, root: str) -> bool:
    """Whether `path` is `root` or below it, by whole names."""
    names, roots = split(path), split(root)
    return len(names) >= len(roots) and all(
        upcase(name) == upcase(top) for name, top in zip(names, roots, strict=False)
    )


class RegistryPath(str):
    """An absolute registry path: text that knows `/`.

    `RegistryPath("HKLM") / "Software"` is `\\REGISTRY\\MACHINE\\Software`. Equality is that of text;
    use `same` to compare as the registry does.
    """

    __slots__ = ()

    def __new__(cls, text: str = r"\REGISTRY") -> Self:
        head, separator, rest = text.partition(SEPARATOR)
        root = _WIN32_ROOTS.get(head.upper())
        if root is not None:
            text = root + separator + rest
        return super().__new__(cls, text.rstrip(SEPARATOR) or SEPARATOR)

    def __truediv__(self, name: str) -> RegistryPath:
        return RegistryPath(join(self, name))

    def joinpath(self, names: Iterable[str]) -> RegistryPath:
        """Append several names."""
        return RegistryPath(join(self, *names))

    @property
    def parent(self) -> RegistryPath:
        """The path of the parent key."""
        return RegistryPath(parent(self))

    @property
    def name(self) -> str:
        """The last name."""
        return leaf(self)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, REGISTRY first."""
        return split(self)

    def same(self, other: str) -> bool:
        """Whether `other` names the same key."""
        return same_path(self, other)

    def contains(self, other: str) -> bool:
        """Whether `other` is this key or below it."""
        return is_at_or_under(other, self)


REGISTRY: Final = RegistryPath(r"\REGISTRY")
MACHINE: Final = RegistryPath(r"\REGISTRY\MACHINE")
USER: Final = RegistryPath(r"\REGISTRY\USER")
APPLICATION: Final = RegistryPath(r"\REGISTRY\A")
