"""User-mode programs for Windows: what the runner is made of, and its image.

A program is a folder of C files linked without a compiler's runtime library: the C runtime is msvcrt.dll,
which every Windows has. What it may import is listed in the folder's ``imports/*.def``, functions of
Windows XP only; anything else does not link.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.driver.build import BuildResult, build_image
from harness.driver.spec import ImageSpec, Product, driver_sources
from harness.driver.toolchain import Toolchain
from harness.errors import UsageError

__all__ = ["ProgramSpec", "build_program", "program_spec", "runner_image", "runner_spec"]


@dataclass(frozen=True, slots=True)
class ProgramSpec(ImageSpec):
    """What one user-mode program is made of."""

    product: ClassVar[Product] = Product.PROGRAM


def program_spec(folder: Path, name: str, *, include: tuple[Path, ...] = ()) -> ProgramSpec:
    """The program in `folder`. Raises `UsageError` when there is nothing to compile or to import."""
    sources = tuple(sorted(path for path in folder.resolve().glob("*") if path.suffix in (".c", ".S")))
    definitions = tuple(sorted((folder.resolve() / "imports").glob("*.def")))
    if not sources or not definitions:
        raise UsageError(f"{folder}: a program needs C files, and imports/*.def naming what it may import")
    return ProgramSpec(
        name=name, sources=sources, include=(folder.resolve(), *include), definitions=definitions
    )


def runner_spec(root: Path | None = None) -> ProgramSpec:
    """The runner (driver-src/runner)."""
    source = driver_sources() if root is None else root / "driver-src"
    return program_spec(source / "runner", "regrun", include=(source / "abi",))


def build_program(
    spec: ProgramSpec, arch: str, *, toolchain: Toolchain | None = None, output: Path | None = None
) -> BuildResult:
    """Build a program to ``<output>/<arch>/<name>.exe``; raises as `build_driver` does."""
    return build_image(spec, arch, toolchain=toolchain, output=output)


@functools.cache
def runner_image(arch: str) -> bytes:
    """regrun.exe for ``"x64"`` or ``"x86"``, built first when its sources have changed.

    Looked up once a process. Raises as `build_driver` does.
    """
    return build_program(runner_spec(), str(arch)).image.read_bytes()
