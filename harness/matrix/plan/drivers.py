"""The ``[[driver]]`` tables of a plan: drivers of the user's, their builds, and what runs with each."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from harness.between import parse_parameters
from harness.errors import UsageError
from harness.firstlook import architecture_of
from harness.guest.base import Arch
from harness.matrix.plan.plan import Build
from harness.strict import Mistakes
from harness.targets import Target

__all__ = ["DriverTable", "existing", "read_builds"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
_LARGEST_IMAGE: Final = 64 << 20
_MOST_BUILDS: Final = 1000
_NAMES: Final = "must be letters, digits, dots and dashes, at most 64"


@dataclass(frozen=True, slots=True)
class DriverTable:
    """One ``[[driver]]``. Exactly one of `file`, `builds` and `glob` says which files.

    A build of `builds` is called NAME-KEY, one that `glob` finds NAME and what its wildcards matched.
    """

    name: str
    file: Path | None = None
    builds: Mapping[str, Path] = field(default_factory=dict)
    glob: str = ""
    #: Values of the driver's Parameters key.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: Without: the suite for drivers of one's own.
    suites: tuple[Path, ...] = ()
    #: Patterns of the plan's targets.
    targets: tuple[str, ...] = ("*",)


def read_builds(
    tables: Sequence[DriverTable],
    targets: Sequence[Target],
    usual_suites: tuple[Path, ...],
    file: Path,
    mistakes: Mistakes,
) -> tuple[Build, ...]:
    """The builds of all tables, each with those of `targets` that have its architecture."""
    found: dict[str, Build] = {}
    for index, table in enumerate(tables):
        where = f"driver[{index}]"
        if not _NAME.fullmatch(table.name):
            mistakes.add(file, f"{where}.name", f"{table.name!r} {_NAMES}")
        suites = existing(table.suites or usual_suites, file, f"{where}.suites", mistakes)
        parameters = _parameters(table.parameters, file, where, mistakes)
        wanted = [each for each in targets if any(fnmatchcase(each.name, one) for one in table.targets)]
        if targets and not wanted:
            mistakes.add(file, f"{where}.targets", "match none of the plan's targets; mend the patterns")
        for key, name, image in _files(table, file, where, mistakes):
            if name in found:
                mistakes.add(file, key, f"there is a build {name!r} already; give them different names")
            elif name != table.name and not _NAME.fullmatch(name):
                mistakes.add(file, key, f"the build's name, {name!r}, {_NAMES}")
            with mistakes.gathered(file, key):
                arch, digest = _examine(image)
                names = tuple(target.name for target in wanted if target.arch is arch)
                if wanted and not names:
                    raise UsageError(f"{image} is a driver for {arch}, and none of its targets is {arch}")
                found[name] = Build(name, image, digest, names, suites, parameters)
    return tuple(found.values())


def existing(paths: Iterable[Path], file: Path, where: str, mistakes: Mistakes) -> tuple[Path, ...]:
    """Those of `paths` that are there, without ``..`` in them."""
    found = []
    for index, path in enumerate(paths):
        if path.exists():
            found.append(Path(os.path.normpath(path)))
        else:
            mistakes.add(file, f"{where}[{index}]", f"there is no file or folder {path}")
    return tuple(found)


def _files(table: DriverTable, file: Path, where: str, mistakes: Mistakes) -> list[tuple[str, str, Path]]:
    """Key, name and file of each build."""
    if [table.file is not None, bool(table.builds), bool(table.glob)].count(True) != 1:
        mistakes.add(file, where, "must have exactly one of file, builds and glob")
        return []
    if table.file is not None:
        return [(f"{where}.file", table.name, table.file)]
    if table.builds:
        return [(f"{where}.builds.{key}", f"{table.name}-{key}", path) for key, path in table.builds.items()]
    if "**" in table.glob:
        mistakes.add(file, f"{where}.glob", "can't hold **: builds are called after what single * match")
        return []
    found = _globbed(table.glob, file.parent)
    if not 0 < len(found) <= _MOST_BUILDS:
        why = f"{table.glob!r} matches {len(found)} files below {file.parent}, not 1 to {_MOST_BUILDS}"
        mistakes.add(file, f"{where}.glob", why)
        return []
    return [(f"{where}.glob", f"{table.name}-{matched}", path) for matched, path in found]


def _globbed(pattern: str, folder: Path) -> list[tuple[str, Path]]:
    """Files by pattern, sorted, each with the parts of its path that wildcards stand in, joined by dashes."""
    parts = Path(pattern).expanduser().parts
    fixed = next((at for at, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
    start = folder.joinpath(*parts[:fixed])
    rest = parts[fixed:]
    if not rest:
        return []
    found = []
    for path in sorted(start.glob("/".join(rest))):
        words = [
            name.removesuffix(".sys")
            for name, part in zip(path.relative_to(start).parts, rest, strict=True)
            if set(part) & set("*?[")
        ]
        found.append(("-".join(words), path))
    return found


def _examine(image: Path) -> tuple[Arch, str]:
    """Architecture and SHA-256 of a driver's file. Raises `UsageError` for what is no driver."""
    try:
        if image.stat().st_size > _LARGEST_IMAGE:
            raise UsageError(f"{image} is larger than {_LARGEST_IMAGE >> 20} MB, which no driver is")
        data = image.read_bytes()
    except OSError as error:
        raise UsageError(f"{image}: {error.strerror or error}; build it, or name the right file") from error
    return architecture_of(data, str(image)), hashlib.sha256(data).hexdigest()


def _parameters(raw: Mapping[str, Any], file: Path, where: str, mistakes: Mistakes) -> tuple[str, ...]:
    found = []
    for name, value in raw.items():
        with mistakes.gathered(file, f"{where}.parameters.{name}"):
            if type(value) not in (int, str):
                raise UsageError("must be a whole number or a text")
            if "=" in name:
                raise UsageError("a name can't have = in it")
            text = f"{name}={value}"
            if isinstance(value, str) and not _is_text(value):
                text = f'{name}="{value}"'
            parse_parameters([text])
            found.append(text)
    return tuple(found)


def _is_text(value: str) -> bool:
    """Whether ``NAME=VALUE`` means this text without quotes; "385200", an altitude, would be a number."""
    try:
        return parse_parameters([f"_={value}"]) == {"_": value}
    except UsageError:
        return False
