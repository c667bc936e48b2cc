"""Values as Python source: what a generated test can say plainly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from harness.registry.access import (
    DELETE,
    KEY_ALL_ACCESS,
    KEY_CREATE_SUB_KEY,
    KEY_ENUMERATE_SUB_KEYS,
    KEY_NOTIFY,
    KEY_QUERY_VALUE,
    KEY_READ,
    KEY_SET_VALUE,
    KEY_WRITE,
    MAXIMUM_ALLOWED,
)
from harness.registry.notify import NotifyClass, Operation, Post, Pre
from harness.registry.paths import RegistryPath
from harness.registry.status import NTSTATUS

__all__ = ["Imports", "NotPlainError", "access_code", "code_of", "status_code"]

#: Containers longer than this are no literals anybody wants to read.
_MAX_ITEMS: Final = 64
_MAX_TEXT: Final = 4096
_MAX_DEPTH: Final = 4
_RIGHTS: Final = {
    KEY_ALL_ACCESS: "KEY_ALL_ACCESS",
    KEY_READ: "KEY_READ",
    KEY_WRITE: "KEY_WRITE",
    KEY_QUERY_VALUE: "KEY_QUERY_VALUE",
    KEY_SET_VALUE: "KEY_SET_VALUE",
    KEY_CREATE_SUB_KEY: "KEY_CREATE_SUB_KEY",
    KEY_ENUMERATE_SUB_KEYS: "KEY_ENUMERATE_SUB_KEYS",
    KEY_NOTIFY: "KEY_NOTIFY",
    DELETE: "DELETE",
    MAXIMUM_ALLOWED: "MAXIMUM_ALLOWED",
}


class NotPlainError(Exception):
    """A value that source can't say plainly."""


@dataclass(slots=True)
class Imports:
    """``from MODULE import NAME`` lines that a piece of source needs."""

    names: set[tuple[str, str]] = field(default_factory=set)

    def add(self, module: str, name: str) -> str:
        """Remember an import; gives the name back."""
        self.names.add((module, name))
        return name

    def lines(self) -> Iterator[str]:
        """One line a module, sorted."""
        for module in sorted({module for module, _ in self.names}):
            names = ", ".join(sorted(name for other, name in self.names if other == module))
            yield f"from {module} import {names}"

    @contextmanager
    def tentative(self) -> Iterator[None]:
        """Forget what the block added when it finds its value not to be plain."""
        before = set(self.names)
        try:
            yield
        except NotPlainError:
            self.names = before
            raise


def code_of(value: object, imports: Imports, *, root: RegistryPath | None = None, depth: int = 0) -> str:
    """`value` as an expression. `root` is the test's root key: paths below it are written relative to it.

    Raises `NotPlainError` for everything that is no constant of this vocabulary.
    """
    if depth > _MAX_DEPTH:
        raise NotPlainError("nested too deeply")
    match value:
        case None | bool():
            return repr(value)
        case NotifyClass():
            return _notify(value, imports)
        case Operation():
            return f"{imports.add('harness.registry.notify', 'Operation')}.{value.name}"
        case NTSTATUS():
            return f"{imports.add('harness.registry.status', 'NTSTATUS')}.{value.name}"
        case int():
            return hex(value) if value > 0xFFFF else repr(int(value))
        case str():
            return _text(value, imports, root)
        case bytes() if len(value) <= _MAX_TEXT:
            return "b" + _double_quoted(repr(value)[1:])
        case list() | tuple() | set() | frozenset() if len(value) <= _MAX_ITEMS:
            items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
            parts = [code_of(item, imports, root=root, depth=depth + 1) for item in items]
            return _container(value, parts)
        case dict() if len(value) <= _MAX_ITEMS:
            pairs = [
                f"{code_of(key, imports, root=root, depth=depth + 1)}: "
                f"{code_of(item, imports, root=root, depth=depth + 1)}"
                for key, item in value.items()
            ]
            return "{" + ", ".join(pairs) + "}"
        case _:
            raise NotPlainError(f"a {type(value).__name__}")


def _container(value: object, parts: list[str]) -> str:
    inside = ", ".join(parts)
    match value:
        case list():
            return f"[{inside}]"
        case tuple() if type(value) is tuple:
            return f"({inside},)" if len(parts) == 1 else f"({inside})"
        case frozenset():
            return f"frozenset({{{inside}}})" if parts else "frozenset()"
        case set():
            return f"{{{inside}}}" if parts else "set()"
        case _:
            raise NotPlainError(f"a {type(value).__name__}")


def _notify(value: NotifyClass, imports: Imports) -> str:
    for home in (Pre, Post):
        for name, member in vars(home).items():
            if member is value:
                return f"{imports.add('harness.registry.notify', home.__name__)}.{name}"
    return f"{imports.add('harness.registry.notify', 'NotifyClass')}.{value.name}"


def _text(value: str, imports: Imports, root: RegistryPath | None) -> str:
    if len(value) > _MAX_TEXT:
        raise NotPlainError("a long text")
    if root is not None and value.startswith("\\") and root.contains(value):
        below = value[len(root) :].lstrip("\\")
        if value == str(root if not below else root / below):
            return f"registry.test_root / {_plain(below)}" if below else "registry.test_root"
    return _plain(value)


def _plain(text: str) -> str:
    """As a raw literal where that reads better."""
    if "\\" in text and text.isprintable() and text.isascii() and not text.endswith("\\"):
        quote = "'" if '"' in text else '"'
        if quote not in text:
            return f"r{quote}{text}{quote}"
    return _double_quoted(ascii(text))


def _double_quoted(literal: str) -> str:
    if literal[0] == "'" and '"' not in literal:
        return f'"{literal[1:-1]}"'
    return literal


def access_code(access: int, imports: Imports) -> str:
    """An access mask by its name where it has one."""
    name = _RIGHTS.get(access)
    return hex(access) if name is None else imports.add("harness.registry.access", name)


def status_code(status: int, imports: Imports) -> str:
    """An NTSTATUS by its name where it is known."""
    try:
        name = NTSTATUS(status & 0xFFFF_FFFF).name
    except ValueError:
        return hex(status & 0xFFFF_FFFF)
    return f"{imports.add('harness.registry.status', 'NTSTATUS')}.{name}"
