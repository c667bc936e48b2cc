"""Adopt a machine the user already has: write the recipe that describes it.

The disk or CD stays where it is and is never written; what the guest needs from the harness goes on a payload
disk. Nothing of it is remembered anywhere else: the recipe is a file, to be edited like any other.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from harness.errors import UsageError
from harness.guest.base import Arch, Capability, GuestKind
from harness.image.recipe import RECIPE_FILE, Access, Adopt, Payload, Recipe, load_recipe
from harness.machine.describe.spec import ChannelPort, DiskBus, DiskFormat, Hardware
from harness.machine.disk.disks import inspect_disk

__all__ = ["Adoption", "adopt", "detect_format", "usual_hardware", "usual_limits"]

#: What an image file of a format begins with; anything else is raw.
_MAGIC: Final = {b"QFI\xfb": DiskFormat.QCOW2, b"vhdxfile": DiskFormat.VHDX}

#: Seen on the free NT 5.2-compatible system: a Pentium-class processor, its kernel's debug port is COM1.
_REACTOS: Final = Hardware(
    machine="pc",
    arch="i686",
    cpu="pentium3",
    memory_mib=512,
    disk_bus=DiskBus.IDE,
    channel=ChannelPort.COM2,
    debug_com=1,
    clock="localtime",
)
_REACTOS_LIMITS: Final[Mapping[str, str]] = {
    Capability.LAYERING: "an NT 5.2-level kernel has only CmRegisterCallback",
    Capability.APP_HIVES: "an NT 5.2-level system has no RegLoadAppKey",
    Capability.TRANSACTIONS: "an NT 5.2-level system has no kernel transactions",
}


@dataclass(frozen=True, slots=True)
class Adoption:
    """What a recipe for an existing disk or CD says. `version` as ``5.2.3790``."""

    name: str
    kind: GuestKind
    version: str
    arch: Arch
    hardware: Hardware
    source: Adopt
    channels: tuple[Access, ...]
    title: str = ""
    limits: Mapping[str, str] = field(default_factory=dict)
    boot_seconds: float = 600.0


def detect_format(path: Path) -> DiskFormat:
    """The format of a disk image by its first bytes. Raises `UsageError` where there is no such file."""
    try:
        with path.open("rb") as handle:
            head = handle.read(8)
    except OSError as error:
        raise UsageError(f"{path}: can't be read: {error.strerror}") from error
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), DiskFormat.RAW)


def usual_hardware(kind: GuestKind) -> Hardware:
    """The hardware an adopted guest of that kind has unless told otherwise."""
    return _REACTOS if kind is GuestKind.REACTOS else Hardware(machine="pc", clock="localtime")


def usual_limits(kind: GuestKind) -> Mapping[str, str]:
    """What guests of that kind are known to lack; `info` finds out the rest when one runs."""
    return dict(_REACTOS_LIMITS) if kind is GuestKind.REACTOS else {}


def adopt(adoption: Adoption, recipes: Path, *, replace: bool = False) -> Recipe:
    """Write ``NAME/recipe.toml`` below the folder `recipes` and read it back.

    Raises `UsageError` when there is one already and `replace` isn't set, or when the disk isn't what was
    said; `ConfigError` when the recipe would be refused. Nothing stays behind then.
    """
    if adoption.source.disk is not None:
        inspect_disk(adoption.source.disk, adoption.source.format)
    folder = recipes.absolute() / adoption.name
    file = folder / RECIPE_FILE
    if file.exists() and not replace:
        raise UsageError(f"{file} is there already; --replace overwrites it, or choose another name")
    before = file.read_bytes() if file.exists() else None
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        file.write_text(recipe_text(adoption), encoding="utf-8")
        return load_recipe(file)
    except BaseException:
        if before is not None:
            file.write_bytes(before)
        elif made:
            shutil.rmtree(folder)
        else:
            file.unlink(missing_ok=True)
        raise


def recipe_text(adoption: Adoption) -> str:
    """The recipe as TOML: what differs from the defaults, and all of what tells this machine from another."""
    title = adoption.title or f"{adoption.name}, adopted"
    lines = [
        *_keys(name=adoption.name, title=title, kind=adoption.kind, version=adoption.version),
        *_keys(arch=adoption.arch, boot_seconds=adoption.boot_seconds),
        *_table("hardware", adoption.hardware),
    ]
    for access in adoption.channels:
        lines += _table("channels", access, array=True)
    if adoption.limits:
        lines += ["", "[limits]", *_keys(**adoption.limits)]
    lines += _table("adopt", adoption.source)
    return "\n".join(lines) + "\n"


def _table(name: str, value: Any, *, array: bool = False) -> list[str]:
    """A dataclass as a table: the fields that don't have their default, nested dataclasses below."""
    plain: dict[str, Any] = {}
    nested: list[str] = []
    for entry in fields(value):
        content = getattr(value, entry.name)
        if isinstance(content, Payload):
            nested += _table(f"{name}.{entry.name}", content)
        elif content is not None and (isinstance(value, Payload) or content != entry.default):
            plain[entry.name] = content
    return ["", f"[[{name}]]" if array else f"[{name}]", *_keys(**plain), *nested]


def _keys(**values: Any) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in values.items()]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, Path):
        return json.dumps(str(value.absolute()))
    # Every JSON string is a TOML basic string, but for DEL, which JSON leaves as it is.
    text = value.value if isinstance(value, StrEnum) else str(value)
    return json.dumps(text).replace("\x7f", "\\u007f")
