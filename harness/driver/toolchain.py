"""Compilers that make Windows drivers and programs on Linux: mingw-w64 gcc, or the ziglang wheel.

The flags are measured: which ones give a valid, reproducible image, and which a kernel would refuse.
"""

from __future__ import annotations

import functools
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from harness.driver.linking import TRIPLE, gcc_commands, zig_commands, zig_mingw
from harness.driver.spec import Product, check_arch
from harness.errors import InfrastructureError, ToolMissingError

__all__ = ["Toolchain", "ToolchainKind", "available_toolchains", "find_toolchain"]

_ZIG_TARGET: Final = {"x64": "x86_64-windows-gnu", "x86": "x86-windows-gnu"}

_COMMON: Final = (
    "-std=gnu11",
    "-O2",
    "-ffreestanding",
    "-fno-stack-protector",
    "-fno-strict-aliasing",
    "-fno-omit-frame-pointer",
    "-fno-ident",
    "-g",
    "-gdwarf-4",
    "-Wall",
    "-Wextra",
    "-Wno-multichar",
    "-Wno-unknown-pragmas",
    # x86 headers don't compile below Vista; what is newer than the oldest target is resolved at run time.
    "-U_WIN32_WINNT",
    "-D_WIN32_WINNT=0x0600",
    "-DNTDDI_VERSION=0x06000000",
)
_PER_ARCH: Final = {
    "x64": ("-mcmodel=small", "-fasynchronous-unwind-tables", "-D_AMD64_"),
    # Frame pointers tell an x86 stack; unwind tables would be a section no Windows reads.
    "x86": ("-march=i586", "-mno-sse", "-fno-asynchronous-unwind-tables", "-D_X86_"),
}
_PER_PRODUCT: Final = {
    Product.DRIVER: ("-mno-red-zone",),
    # The C runtime is msvcrt.dll, the one every Windows has; a frame of a page would need its stack probe.
    Product.PROGRAM: (
        "-U_UCRT",
        "-U__MSVCRT_VERSION__",
        "-D__MSVCRT_VERSION__=0x600",
        "-DUNICODE",
        "-D_UNICODE",
        "-DWIN32_LEAN_AND_MEAN",
        "-Wframe-larger-than=3584",
    ),
}


class ToolchainKind(StrEnum):
    GCC = "gcc"
    ZIG = "zig"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """One usable compiler for one architecture. `identity` changes whenever its output may."""

    kind: ToolchainKind
    arch: str
    compiler: tuple[str, ...]
    identity: str

    def __str__(self) -> str:
        return self.identity

    def compile_command(
        self,
        source: Path,
        output: Path,
        *,
        include: tuple[Path, ...],
        root: Path,
        product: Product = Product.DRIVER,
    ) -> list[str]:
        """The command line that compiles one C or assembly file. `root` disappears from the output."""
        flags = [
            *_COMMON,
            *_PER_ARCH[self.arch],
            *_PER_PRODUCT[product],
            f"-ffile-prefix-map={root}=.",
            f"-ffile-prefix-map={output.parent}=.",
        ]
        if self.kind is ToolchainKind.GCC:
            flags.append("-Werror")
            headers = Path(f"/usr/{TRIPLE[self.arch]}/include")
        else:
            flags += ["-fno-sanitize=all", "-Wno-ignored-attributes"]
            headers = zig_mingw() / "lib" / "libc" / "include" / "any-windows-any"
            flags += ["-Wno-pragma-pack", "-Wno-ignored-pragma-intrinsic", "-Wno-microsoft-anon-tag"]
        if product is Product.DRIVER:
            flags += ["-isystem", str(headers / "ddk")]
        flags += [f"-I{folder}" for folder in include]
        return [*self.compiler, *flags, "-c", "-o", str(output), str(source)]

    def link_commands(
        self,
        objects: list[Path],
        image: Path,
        debug: Path,
        *,
        product: Product = Product.DRIVER,
        since: tuple[int, int] | None = None,
        definitions: list[Path] | None = None,
    ) -> list[list[str]]:
        """The command lines that make the unstripped `debug` image and the stripped `image`.

        `since` is the oldest Windows the image claims to load on; the product's default otherwise.
        `definitions` are module definition files as `definition_for` writes them.
        """
        make = gcc_commands if self.kind is ToolchainKind.GCC else zig_commands
        return make(
            self.arch,
            self.compiler,
            objects,
            image,
            debug,
            product=product,
            since=since,
            definitions=definitions or [],
        )


@functools.cache
def _gcc(arch: str) -> Toolchain | None:
    compiler = shutil.which(f"{TRIPLE[arch]}-gcc")
    if compiler is None or shutil.which(f"{TRIPLE[arch]}-strip") is None:
        return None
    if not Path(f"/usr/{TRIPLE[arch]}/include/ddk/ntifs.h").is_file():
        return None
    version = _first_line([compiler, "--version"])
    linker = _first_line([f"{TRIPLE[arch]}-ld", "--version"])
    return Toolchain(ToolchainKind.GCC, arch, (compiler,), f"{version}; {linker}")


@functools.cache
def _zig(arch: str) -> Toolchain | None:
    if importlib.util.find_spec("ziglang") is None:
        return None
    zig = zig_mingw() / "zig"
    version = _first_line([str(zig), "version"])
    return Toolchain(
        ToolchainKind.ZIG, arch, (str(zig), "cc", "-target", _ZIG_TARGET[arch]), f"zig {version}"
    )


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise InfrastructureError(f"{command[0]} does not run: {error}") from error
    return done.stdout.splitlines()[0].strip()


def available_toolchains(arch: str) -> tuple[Toolchain, ...]:
    """Every compiler of this machine for `arch`, the preferred one first. May be empty."""
    check_arch(arch)
    return tuple(found for found in (_gcc(arch), _zig(arch)) if found is not None)


def find_toolchain(arch: str) -> Toolchain:
    """The preferred compiler for `arch`; raises `ToolMissingError` that says how to get one."""
    found = available_toolchains(arch)
    if not found:
        package = {"x64": "gcc-mingw-w64-x86-64", "x86": "gcc-mingw-w64-i686"}[arch]
        raise ToolMissingError(
            f"no compiler for {arch} Windows drivers: install {package} (apt-get install {package}), "
            f"or the ziglang wheel ({sys.executable} -m pip install ziglang)"
        )
    return found[0]
