"""Target names and the guests behind them.

A target is written ``reference:VERSION`` or ``reference:VERSION-ARCH``: ``reference:10.0.26100``,
``reference:6.1-x86``. Without an architecture it is x64, or x86 where Windows had no other. ``vm:NAME`` is a
machine of the recipe NAME, from vm-images/ or from a folder that ``--recipes`` or ``HARNESS_RECIPES`` names;
``vm:NAME+verifier+hvci`` is the same machine with these axes on (`harness.machine.describe.axes`).
A name with ``*``, ``?`` or ``[`` stands for every known target it matches (``reference:*``,
``reference:10.0.*``, ``reference:*-x86``, ``vm:*``).

Nothing here imports libvirt before a machine is booted, nor reads recipes before a name asks for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import UsageError
from harness.guest.base import REFERENCE_LIMITS, Arch, GuestKind
from harness.machine.describe.axes import Axis, refusal, split_axes, with_axes
from harness.registry.version import MODELLED, WIN11_24H2, WindowsVersion, architectures

if TYPE_CHECKING:
    from harness.image.recipe import Recipe

__all__ = [
    "DEFAULT_TARGET",
    "VM",
    "Target",
    "known_targets",
    "parse_target",
    "reference_targets",
    "resolve_targets",
]

#: What names of machines begin with.
VM: Final = "vm:"
_PATTERN: Final = "*?["
_NO_AXES: Final = "only machines have axes; the reference guest always checks what Driver Verifier would"


@dataclass(frozen=True, slots=True)
class Target:
    """A guest that can be had by name, before it is booted.

    Version and architecture of a machine are those its recipe promises; they are checked when it boots.
    """

    name: str
    kind: GuestKind
    version: WindowsVersion
    arch: Arch
    #: A machine's recipe.toml; None for the reference guest.
    recipe: Path | None = None
    #: Capabilities that the recipe says are missing, with the reason.
    limits: Mapping[str, str] = field(default_factory=dict, compare=False)
    #: What of its Windows is switched on; a machine's only.
    axes: tuple[Axis, ...] = ()

    def __str__(self) -> str:
        return self.name


def _reference(version: WindowsVersion, arch: str) -> Target:
    name = f"{GuestKind.REFERENCE}:{version}"
    if arch != architectures(version)[0]:
        name += f"-{arch}"
    return Target(name, GuestKind.REFERENCE, version, Arch(arch), limits=REFERENCE_LIMITS)


def _machine(recipe: Recipe, axes: tuple[Axis, ...] = ()) -> Target:
    name = with_axes(VM + recipe.name, axes)
    return Target(name, recipe.kind, recipe.version, recipe.arch, recipe.file, dict(recipe.limits), axes)


def _refusals(recipe: Recipe, axes: Iterable[Axis]) -> list[str]:
    return [why for axis in axes if (why := refusal(axis, recipe))]


DEFAULT_TARGET: Final = f"{GuestKind.REFERENCE}:{WIN11_24H2}"


def reference_targets() -> tuple[Target, ...]:
    """The modelled versions in order, x64 before x86."""
    return tuple(_reference(version, arch) for version in MODELLED for arch in architectures(version))


def known_targets(recipes: Iterable[Path] = ()) -> tuple[Target, ...]:
    """Every target this host can offer: the reference guest's, then a machine for each recipe.

    `recipes` are further folders of recipes. An image need not have been built yet.
    """
    from harness.image.finding import find_recipes

    machines = sorted(find_recipes(recipes).values(), key=lambda recipe: recipe.name)
    return (*reference_targets(), *map(_machine, machines))


def parse_target(name: str, recipes: Iterable[Path] = ()) -> Target:
    """The one target of that name. Raises `UsageError` that says which names there are.

    An axis that the machine can't have is such an error too, with the reason.
    """
    plain, axes = split_axes(name)
    if plain.startswith(VM) and plain != VM:
        from harness.image.finding import find_recipe

        recipe = find_recipe(plain.removeprefix(VM), recipes)
        if refused := _refusals(recipe, axes):
            raise UsageError(f"{name}: {'; '.join(refused)}")
        return _machine(recipe, axes)
    if axes:
        raise UsageError(f"{name}: {_NO_AXES}")
    kind, _, rest = name.partition(":")
    if kind != GuestKind.REFERENCE or not rest:
        raise UsageError(
            f"no target {name!r}; write it like {DEFAULT_TARGET} or {VM}stand-in "
            "(`harness target list` shows all)"
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


def resolve_targets(names: Iterable[str], recipes: Iterable[Path] = ()) -> tuple[Target, ...]:
    """Names and patterns to targets, each once, in the order given.

    Raises `UsageError` for an unknown name and for a pattern that matches nothing.
    """
    folders = tuple(recipes)
    found: dict[Target, None] = {}
    for name in names:
        if not any(mark in name for mark in _PATTERN):
            found.setdefault(parse_target(name, folders))
            continue
        found.update(dict.fromkeys(_matching(name, folders)))
    return tuple(found)


def _matching(name: str, folders: tuple[Path, ...]) -> list[Target]:
    """The targets a pattern stands for: of those with axes, the machines that can have all of them."""
    pattern, axes = split_axes(name)
    if axes:
        return _machines_with(pattern, axes, folders)
    # Recipes are read only for a pattern that can mean them.
    plain = name.startswith(f"{GuestKind.REFERENCE}:")
    known = reference_targets() if plain else known_targets(folders)
    matching = [target for target in known if fnmatchcase(target.name, name)]
    if not matching:
        raise UsageError(f"no target matches {name!r}; `harness target list` shows all")
    return matching


def _machines_with(pattern: str, axes: tuple[Axis, ...], folders: tuple[Path, ...]) -> list[Target]:
    from harness.image.finding import find_recipes

    recipes = [
        recipe
        for recipe in sorted(find_recipes(folders).values(), key=lambda recipe: recipe.name)
        if fnmatchcase(VM + recipe.name, pattern)
    ]
    able = [_machine(recipe, axes) for recipe in recipes if not _refusals(recipe, axes)]
    if not able:
        why = "; ".join(f"{each.name}: {', '.join(_refusals(each, axes))}" for each in recipes[:3])
        raise UsageError(
            f"no machine matches {with_axes(pattern, axes)!r}" + (f" ({why})" if why else f"; {_NO_AXES}")
        )
    return able
