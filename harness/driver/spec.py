"""Which drivers there are and what an image is made of.

A driver is a folder of C files (`driver-src/probe`) or a single C file (the small ones in
`driver-src/wrong` and `driver-src/samples`). Files that end in ``_x64.S`` or ``_x86.S`` belong to one
architecture; everything else is compiled for both.

A C file can say more in a comment near its top:

    harness: x64 only            it makes sense on one architecture
    harness: since 6.0           the oldest Windows it loads on; default 6.1, and 5.1 on x86
    harness: with ../probe/seh_copy    assembly of another folder that belongs to it, without the suffix
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Final

from harness.errors import UsageError

__all__ = [
    "ARCHITECTURES",
    "DriverSpec",
    "ImageSpec",
    "Product",
    "check_arch",
    "driver_sources",
    "driver_spec",
    "find_project_root",
    "project_drivers",
]

#: The architectures drivers are built for, as `harness.guest.Arch` names them.
ARCHITECTURES: Final = ("x64", "x86")

#: Image names of drivers whose folder is not named after them.
_IMAGE_NAMES: Final = {"probe": "regprobe"}

_COMPILED: Final = (".c", ".S")

_DIRECTIVE: Final = re.compile(r"\bharness: (?:(x64|x86) only|since (\d+)\.(\d+)|with (\S+))")
_DIRECTIVES_WITHIN: Final = 2000  # characters from the start of the file

_INCLUDE: Final = re.compile(rb"""^[ \t]*#[ \t]*include[ \t]*["<]([^">\r\n]+)[">]""", re.MULTILINE)


class Product(StrEnum):
    """What kind of image is linked; the value is the file's suffix."""

    DRIVER = ".sys"
    PROGRAM = ".exe"


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What one image is made of: common to drivers and user-mode programs.

    `sources` are the C and assembly files of every architecture; `inputs(arch)` picks those of one.
    `include` are folders searched for headers.
    """

    product: ClassVar[Product]

    name: str
    sources: tuple[Path, ...]
    include: tuple[Path, ...]
    architectures: tuple[str, ...] = ARCHITECTURES
    #: The subsystem version, where it isn't the toolchain's default.
    since: tuple[int, int] | None = None
    #: Module definition files: the only functions the image may import; the kernel's own when empty.
    definitions: tuple[Path, ...] = ()

    def inputs(self, arch: str) -> tuple[Path, ...]:
        """The files compiled for `arch`, in the order they are linked."""
        other = tuple(f"_{name}.S" for name in ARCHITECTURES if name != arch)
        return tuple(source for source in self.sources if not source.name.endswith(other))

    def headers(self) -> tuple[Path, ...]:
        """Every file the sources may include: the headers of `include`, and what is named from elsewhere.

        Whatever an ``#include`` names counts, taken or not: ``"../common/list.h"``, ``"tables.inc"``.
        """
        found = {header for folder in self.include for header in folder.glob("*.h")}
        unread = [*self.sources, *found]
        while unread:
            path = unread.pop()
            for name in _INCLUDE.findall(path.read_bytes()):
                for folder in (path.parent, *self.include):
                    named = Path(os.path.normpath(folder / os.fsdecode(name)))
                    if named not in found and named.is_file():
                        found.add(named)
                        unread.append(named)
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class DriverSpec(ImageSpec):
    """What one kernel driver is made of."""

    product: ClassVar[Product] = Product.DRIVER


def check_arch(arch: str) -> str:
    """`arch` when drivers can be built for it; raises `UsageError` otherwise."""
    if arch not in ARCHITECTURES:
        raise UsageError(
            f"unknown architecture {arch!r}: drivers are built for {' and '.join(ARCHITECTURES)}"
        )
    return str(arch)


def find_project_root() -> Path:
    """The checkout this package belongs to, or the one the working directory is in.

    Raises `UsageError` where neither is one.
    """
    for start in (Path(__file__).resolve().parent, Path.cwd().resolve()):
        for folder in (start, *start.parents):
            if (folder / "driver-src" / "abi" / "regprobe.h").is_file():
                return folder
    raise UsageError(
        "this is no checkout of regfilter-harness (driver-src/ was not found): run from one, or name the "
        "folder of your own driver"
    )


def driver_sources() -> Path:
    """The folder with abi, probe and runner: driver-src of the checkout, or a copy in an installed wheel."""
    carried = Path(__file__).with_name("sources")
    return carried if carried.is_dir() else find_project_root() / "driver-src"


def driver_spec(source: Path, *, root: Path | None = None) -> DriverSpec:
    """The driver in `source`: a folder, or one C file.

    Raises `UsageError` when there is nothing to compile.
    """
    source = source.resolve()
    if source.is_file():
        folder, sources = source.parent, [source]
        name = source.stem
    elif source.is_dir():
        folder = source
        sources = sorted(path for path in source.iterdir() if path.suffix in _COMPILED)
        name = _IMAGE_NAMES.get(source.name, source.name)
    else:
        raise UsageError(f"{source}: there is no such driver folder or C file")
    if not any(path.suffix == ".c" for path in sources):
        raise UsageError(f"{source}: no C file to build a driver from")
    sources_of_ours = driver_sources() if root is None else root / "driver-src"
    include = [folder, sources_of_ours / "abi"]
    architectures: tuple[str, ...] = ARCHITECTURES
    since = None
    for path in [path for path in sources if path.suffix == ".c"]:
        head = path.read_text(encoding="utf-8", errors="replace")[:_DIRECTIVES_WITHIN]
        for only, major, minor, stem in _DIRECTIVE.findall(head):
            if only:
                architectures = (only,)
            elif major:
                since = (int(major), int(minor))
            else:
                sources += [_assembly(path, stem, arch) for arch in ARCHITECTURES]
    return DriverSpec(
        name=name, sources=tuple(sources), include=tuple(include), architectures=architectures, since=since
    )


def _assembly(source: Path, stem: str, arch: str) -> Path:
    path = (source.parent / f"{stem}_{arch}.S").resolve()
    if not path.is_file():
        raise UsageError(f"{source} needs {path}, which is not there")
    return path


def project_drivers(root: Path | None = None) -> dict[str, DriverSpec]:
    """Every driver of the checkout by image name: the probe, the samples and the deliberately wrong ones."""
    base = root if root is not None else find_project_root()
    specs = [driver_spec(base / "driver-src" / "probe", root=base)]
    for folder in ("samples", "wrong"):
        for entry in sorted((base / "driver-src" / folder).iterdir()):
            is_driver = entry.suffix == ".c" if entry.is_file() else any(entry.glob("*.c"))
            if is_driver:
                specs.append(driver_spec(entry, root=base))
    return {spec.name: spec for spec in specs}
