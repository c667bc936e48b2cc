"""Recipes: what an image is made of, as data in ``recipe.toml``.

A recipe is a folder: ``vm-images/NAME/`` of the project, or any folder below one that `--recipes DIR` or
``HARNESS_RECIPES`` names. It says what the guest is, what hardware it runs on, how one talks to it, what it
lacks, and where its disk comes from: ``[build]`` makes one from packages, ``[install]`` from the user's own
install medium, ``[adopt]`` takes one that is there already. What several recipes share stands in a file they
name as `based_on`.
Reading a recipe touches nothing but its file; `harness.image.store` makes images of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from harness.guest.base import Arch, GuestKind
from harness.image.installspec import Install, check_install
from harness.image.recipe_checks import (
    check_adopt,
    check_channels,
    check_hardware,
    check_names,
    check_number,
    read_build,
)
from harness.image.recipe_tables import Access, AccessKind, Adopt, Builder, DebianBuild, Payload
from harness.machine.describe.spec import Hardware
from harness.registry.version import WindowsVersion
from harness.strict import ConfigError, load_based, mistake, read_table

__all__ = [
    "Access",
    "AccessKind",
    "Adopt",
    "Builder",
    "DebianBuild",
    "Payload",
    "Recipe",
    "load_recipe",
]

RECIPE_FILE: Final = "recipe.toml"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe as read; `file` is where it stands. `limits` names what the guest lacks
    (members of `Capability`) with the reason that a skipped test shows.
    """

    file: Path
    name: str
    title: str
    kind: GuestKind
    version: WindowsVersion
    arch: Arch
    hardware: Hardware
    channels: tuple[Access, ...]
    source: DebianBuild | Install | Adopt
    limits: Mapping[str, str] = field(default_factory=dict)
    boot_seconds: float = 600.0

    @property
    def folder(self) -> Path:
        """The folder the recipe stands in."""
        return self.file.parent

    @property
    def guest_ports(self) -> tuple[int, ...]:
        """Ports of the guest that its channels need."""
        return tuple(dict.fromkeys(access.guest_port for access in self.channels if access.guest_port))

    @property
    def build_command(self) -> str:
        """What makes its image."""
        medium = " --media ISO" if isinstance(self.source, Install) else ""
        return f"harness image build {self.name}{medium}"

    @property
    def digest(self) -> str:
        """The hash of everything that determines the image; of disks and CDs it hashes the content."""
        from harness.image.digest import recipe_digest

        return recipe_digest(self)

    def access(self, kind: str) -> Access | None:
        """The first way in of that kind."""
        return next((access for access in self.channels if access.kind == kind), None)


@dataclass(frozen=True, slots=True)
class _File:
    """The keys of recipe.toml."""

    name: str
    title: str
    kind: GuestKind
    version: str
    arch: Arch
    hardware: Hardware = field(default_factory=Hardware)
    channels: tuple[Access, ...] = (Access(AccessKind.SERIAL),)
    limits: Mapping[str, str] = field(default_factory=dict)
    boot_seconds: float = 600.0
    build: Mapping[str, Any] | None = None
    install: Install | None = None
    adopt: Adopt | None = None


def load_recipe(file: Path) -> Recipe:
    """The recipe in `file`. Raises `ConfigError` that names file, key and what is allowed."""
    file = file.absolute()
    tables, bases = load_based(file)
    try:
        return _recipe(read_table(_File, tables, file), file)
    except ConfigError as error:
        if not bases:
            raise
        others = ", ".join(map(str, bases))
        raise ConfigError(f"{error}; keys that are not there are those of {others}") from error


def _recipe(read: _File, file: Path) -> Recipe:
    check_names(read.name, read.kind, read.limits, file)
    check_number(read.boot_seconds, 1, 86400, file, "boot_seconds")
    check_hardware(read.hardware, file)
    check_channels(read.channels, read.hardware, file, built=read.adopt is None)
    if [read.build, read.install, read.adopt].count(None) != 2:
        raise mistake(file, "build, install, adopt", "a recipe has exactly one of these tables")
    source: DebianBuild | Install | Adopt
    if read.adopt is not None:
        check_adopt(read.adopt, read.hardware.firmware, file)
        source = read.adopt
    elif read.install is not None:
        check_install(read.install, read.hardware, file)
        source = read.install
    else:
        source = read_build(read.build or {}, file)
    return Recipe(
        file=file,
        name=read.name,
        title=read.title,
        kind=read.kind,
        version=_version(read.version, file),
        arch=read.arch,
        hardware=read.hardware,
        channels=read.channels,
        source=source,
        limits=read.limits,
        boot_seconds=read.boot_seconds,
    )


def _version(text: str, file: Path) -> WindowsVersion:
    from harness.errors import UsageError

    try:
        return WindowsVersion.parse(text)
    except UsageError as error:
        raise mistake(file, "version", str(error)) from error
