"""How objects become an image: the linkers' command lines, and import libraries from definition files.

Flags are measured: which ones give a valid, reproducible image, and which a loader would refuse.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.driver.spec import Product
from harness.errors import ToolMissingError

__all__ = ["TRIPLE", "definition_for", "gcc_commands", "zig_commands", "zig_mingw"]

TRIPLE: Final = {"x64": "x86_64-w64-mingw32", "x86": "i686-w64-mingw32"}
_DLLTOOL_MACHINE: Final = {"x64": "i386:x86-64", "x86": "i386"}


@dataclass(frozen=True, slots=True)
class _Shape:
    """What the header of an image says. The subsystem version is compared by the loader with its own."""

    subsystem: str
    version: tuple[int, int]
    base: int
    #: The entry point as C names it, and the bytes of its arguments where the caller expects them popped.
    entry: str
    popped: int | None
    gcc: tuple[str, ...] = ()
    lld: tuple[str, ...] = ()


_SHAPES: Final = {
    # One x86 binary for XP and on.
    (Product.DRIVER, "x64"): _Shape(
        "native", (6, 1), 0x140000000, "DriverEntry", None, ("--wdmdriver",), ("/driver:wdm",)
    ),
    (Product.DRIVER, "x86"): _Shape(
        "native", (5, 1), 0x10000, "DriverEntry", 8, ("--wdmdriver",), ("/driver:wdm",)
    ),
    # 5.2 is the oldest x64 Windows: Server 2003 and XP x64.
    (Product.PROGRAM, "x64"): _Shape("console", (5, 2), 0x140000000, "program_entry", None),
    (Product.PROGRAM, "x86"): _Shape(
        "console",
        (5, 1),
        0x400000,
        "program_entry",
        None,
        ("--large-address-aware",),
        ("/largeaddressaware",),
    ),
}


def definition_for(arch: str, text: str) -> str:
    """A module definition file of x86 as one for `arch`: x64 has no ``@bytes`` behind its names."""
    return text if arch == "x86" else re.sub(r"(?m)^([A-Za-z_]\w*)@\d+", r"\1", text)


def gcc_commands(
    arch: str,
    compiler: tuple[str, ...],
    objects: list[Path],
    image: Path,
    debug: Path,
    *,
    product: Product,
    since: tuple[int, int] | None,
    definitions: list[Path],
) -> list[list[str]]:
    """Link with GNU ld, then strip: `debug` with symbols, `image` without."""
    shape = _SHAPES[product, arch]
    major, minor = since if since is not None else shape.version
    entry = shape.entry if arch == "x64" else f"_{shape.entry}{_popped(shape)}"
    options = [
        f"--subsystem,{shape.subsystem}:{major}.{minor}",
        f"--major-os-version,{major}",
        f"--minor-os-version,{minor}",
        f"--image-base,{shape.base:#x}",
        "--dynamicbase",
        "--nxcompat",
        *shape.gcc,
        "--enable-reloc-section",
        "--no-insert-timestamp",
        "--disable-runtime-pseudo-reloc",
        "--disable-auto-import",
        f"--entry,{entry}",
    ]
    if arch == "x64":
        options.append("--high-entropy-va")
    commands, libraries = [], ["-lntoskrnl", "-lhal"]
    if definitions:
        libraries = []
        for definition in definitions:
            library = definition.with_suffix(".a")
            # Names of temporary files end up in the library: fixed ones keep it reproducible.
            commands.append(
                [
                    *(f"{TRIPLE[arch]}-dlltool", "-m", _DLLTOOL_MACHINE[arch], "-k"),
                    *("--temp-prefix", definition.stem, "-d", str(definition), "-l", str(library)),
                ]
            )
            libraries.append(str(library))
    link = [*compiler, "-o", str(debug), *map(str, objects), "-nostdlib", "-nostartfiles"]
    commands.append([*link, *(f"-Wl,{option}" for option in options), *libraries])
    commands.append([f"{TRIPLE[arch]}-strip", "--strip-all", "-o", str(image), str(debug)])
    return commands


def zig_commands(
    arch: str,
    compiler: tuple[str, ...],
    objects: list[Path],
    image: Path,
    debug: Path,
    *,
    product: Product,
    since: tuple[int, int] | None,
    definitions: list[Path],
) -> list[list[str]]:
    """Link twice with the wheel's lld: `debug` with symbols, `image` without."""
    shape = _SHAPES[product, arch]
    sources = definitions or [_zig_definition(module, arch) for module in ("ntoskrnl", "hal")]
    libraries = [image.parent / f"{source.stem}.lib" for source in sources]
    commands = []
    for source, library in zip(sources, libraries, strict=True):
        command = [
            compiler[0],
            "dlltool",
            "-m",
            _DLLTOOL_MACHINE[arch],
            "-d",
            str(source),
            "-l",
            str(library),
        ]
        commands.append([*command, *(["-k"] if arch == "x86" else [])])
    tail = [*map(str, objects), *map(str, libraries)]
    flags = _lld_flags(shape, arch, since if since is not None else shape.version)
    for output, extra in ((debug, ["/debug:dwarf"]), (image, [])):
        commands.append([compiler[0], "lld-link", *flags, *extra, f"/out:{output}", *tail])
    return commands


def _lld_flags(shape: _Shape, arch: str, version: tuple[int, int]) -> list[str]:
    major, minor = version
    flags = [
        *shape.lld,
        f"/subsystem:{shape.subsystem},{major}.{minor}",
        f"/osversion:{major}.{minor}",
        f"/base:{shape.base:#x}",
        f"/entry:{shape.entry}{'' if arch == 'x64' else _popped(shape)}",
        f"/machine:{arch}",
        "/dynamicbase",
        "/nxcompat",
        "/release",
        "/timestamp:0",
        "/nodefaultlib",
        "/fixed:no",
        # clang emits a copy of some of the headers' inline functions in every object; they are all the same.
        "/force:multiple",
    ]
    flags.append("/highentropyva" if arch == "x64" else "/safeseh:no")
    return flags


def _popped(shape: _Shape) -> str:
    return "" if shape.popped is None else f"@{shape.popped}"


def zig_mingw() -> Path:
    """The folder of the ziglang wheel; raises `ToolMissingError` where it isn't installed."""
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise ToolMissingError(
            "the ziglang package is not installed: pip install 'regfilter-harness[toolchain]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _zig_definition(module: str, arch: str) -> Path:
    """A definition file that zig bundles."""
    mingw = zig_mingw() / "lib" / "libc" / "mingw"
    for place in (mingw / ("lib64" if arch == "x64" else "lib32"), mingw / "lib-common"):
        if (place / f"{module}.def").is_file():
            return place / f"{module}.def"
    raise ToolMissingError(
        f"ziglang brings no {module}.def for {arch}: install mingw-w64 (apt-get install mingw-w64)"
    )
