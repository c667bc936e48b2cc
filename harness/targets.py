"""Target names and the guests behind them.

A target is written ``reference:VERSION`` or ``reference:VERSION-ARCH``: ``reference:10.0.26100``,
``reference:6.1-x86``. Without an architecture it is x64, or x86 where Windows had no other. A name with
``*``, ``?`` or ``[`` stands for every known target it matches (``reference:*``, ``reference:10.0.*``,
``reference:*-x86``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from harness.errors import UsageError
from harness.guest.base import Arch, Guest, GuestKind
from harness.registry.version import MODELLED, WIN11_24H2, WindowsVersion, architectures

__all__ = ["DEFAULT_TARGET", "Target", "boot", "known_targets", "parse_target", "resolve_targets"]


@dataclass(frozen=True, slots=True)
class Target:
    """A guest that can be had by name, before it is booted."""

    name: str
    kind: GuestKind
    version: WindowsVersion
    arch: Arch

    def __str__(self) -> str:
        return self.name


def _reference(version: WindowsVersion, arch: str) -> Target:
    name = f"{GuestKind.REFERENCE}:{version}"
    if arch != architectures(version)[0]:
        name += f"-{arch}"
    return Target(name, GuestKind.REFERENCE, version, Arch(arch))


DEFAULT_TARGET: Final = f"{GuestKind.REFERENCE}:{WIN11_24H2}"


def known_targets() -> tuple[Target, ...]:
    """Every target this machine can offer: the modelled versions in order, x64 before x86."""
    return tuple(_reference(version, arch) for version in MODELLED for arch in architectures(version))


def parse_target(name: str) -> Target:
    """The one target of that name. Raises `UsageError` that says which names there are."""
    kind, _, rest = name.partition(":")
    if kind != GuestKind.REFERENCE or not rest:
        raise UsageError(
            f"no target {name!r}; write it like {DEFAULT_TARGET} (`harness target list` shows all)"
        )
    text, dash, arch = rest.partition("-")
    version = WindowsVersion.parse(text)
    if version not in MODELLED:
        known = ", ".join(map(str, MODELLED))
        raise UsageError(f"the reference guest doesn't model Windows {version}; it models {known}")
    released = architectures(version)
    if dash and arch not in released:
        raise UsageError(
            f"there was no {arch or 'such'} Windows {version}; {name!r} can be {' or '.join(released)}"
        )
    return _reference(version, arch if dash else released[0])


def resolve_targets(names: Iterable[str]) -> tuple[Target, ...]:
    """Names and patterns to targets, each once, in the order given.

    Raises `UsageError` for an unknown name and for a pattern that matches nothing.
    """
    found: dict[Target, None] = {}
    for name in names:
        if not any(mark in name for mark in "*?["):
            found.setdefault(parse_target(name))
            continue
        matching = [target for target in known_targets() if fnmatchcase(target.name, name)]
        if not matching:
            raise UsageError(f"no target matches {name!r}; `harness target list` shows all")
        found.update(dict.fromkeys(matching))
    return tuple(found)


def boot(target: Target) -> Guest:
    """Boot the target's guest; the caller closes it.

    Raises `ToolMissingError` when the reference guest's packages aren't installed.
    """
    from harness.errors import ToolMissingError

    try:
        from harness import reference
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("harness"):
            raise
        raise ToolMissingError(
            f"the reference guest needs {error.name}: pip install 'regfilter-harness[reference]'"
        ) from error
    return reference.boot(target.version, arch=target.arch)
