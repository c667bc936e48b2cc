"""Compilers that make Windows kernel drivers on Linux: mingw-w64 gcc, or the ziglang wheel.

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

from harness.driver.spec import check_arch
from harness.errors import InfrastructureError, ToolMissingError

__all__ = ["Toolchain", "ToolchainKind", "available_toolchains", "find_toolchain"]

_TRIPLE: Final = {"x64": "x86_64-w64-mingw32", "x86": "i686-w64-mingw32"}
_ZIG_TARGET: Final = {"x64": "x86_64-windows-gnu", "x86": "x86-windows-gnu"}

#: The subsystem version is what the loader compares with its own: one x86 binary for XP and on.
SUBSYSTEM_VERSION: Final = {"x64": (6, 1), "x86": (5, 1)}
_IMAGE_BASE: Final = {"x64": 0x140000000, "x86": 0x10000}

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
    "x64": ("-mno-red-zone", "-mcmodel=small", "-fasynchronous-unwind-tables", "-D_AMD64_"),
    # Frame pointers tell an x86 stack; unwind tables would be a section no Windows reads.
    "x86": ("-march=i586", "-mno-sse", "-fno-asynchronous-unwind-tables", "-D_X86_"),
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
        self, source: Path, output: Path, *, include: tuple[Path, ...], root: Path
    ) -> list[str]:
        """The command line that compiles one C or assembly file. `root` disappears from the output."""
        flags = [
            *_COMMON,
            *_PER_ARCH[self.arch],
            f"-ffile-prefix-map={root}=.",
            f"-ffile-prefix-map={output.parent}=.",
        ]
        if self.kind is ToolchainKind.GCC:
            flags += ["-Werror", "-isystem", f"/usr/{_TRIPLE[self.arch]}/include/ddk"]
        else:
            flags += [
                "-isystem",
                str(_zig_mingw_include() / "ddk"),
                "-fno-sanitize=all",
                "-Wno-ignored-attributes",
            ]
            flags += ["-Wno-pragma-pack", "-Wno-ignored-pragma-intrinsic", "-Wno-microsoft-anon-tag"]
        flags += [f"-I{folder}" for folder in include]
        return [*self.compiler, *flags, "-c", "-o", str(output), str(source)]

    def link_commands(
        self, objects: list[Path], image: Path, debug: Path, *, since: tuple[int, int] | None = None
    ) -> list[list[str]]:
        """The command lines that make the unstripped `debug` image and the stripped `image`.

        `since` is the oldest Windows the image claims to load on; `SUBSYSTEM_VERSION` by default.
        """
        version = since if since is not None else SUBSYSTEM_VERSION[self.arch]
        if self.kind is ToolchainKind.GCC:
            link = [
                *self.compiler,
                "-o",
                str(debug),
                *map(str, objects),
                *_gcc_link_flags(self.arch, version),
            ]
            strip = [f"{_TRIPLE[self.arch]}-strip", "--strip-all", "-o", str(image), str(debug)]
            return [link, strip]
        libraries = _zig_libraries(self.arch, image.parent)
        commands = [command for command, _ in libraries]
        tail = [*map(str, objects), *(str(library) for _, library in libraries)]
        for output, extra in ((debug, ["/debug:dwarf"]), (image, [])):
            commands.append(
                [
                    self.compiler[0],
                    "lld-link",
                    *_lld_flags(self.arch, version),
                    *extra,
                    f"/out:{output}",
                    *tail,
                ]
            )
        return commands


def _gcc_link_flags(arch: str, version: tuple[int, int]) -> list[str]:
    major, minor = version
    entry = "DriverEntry" if arch == "x64" else "_DriverEntry@8"
    options = [
        f"--subsystem,native:{major}.{minor}",
        f"--major-os-version,{major}",
        f"--minor-os-version,{minor}",
        f"--image-base,{_IMAGE_BASE[arch]:#x}",
        "--dynamicbase",
        "--nxcompat",
        "--wdmdriver",
        "--enable-reloc-section",
        "--no-insert-timestamp",
        "--disable-runtime-pseudo-reloc",
        "--disable-auto-import",
        f"--entry,{entry}",
    ]
    if arch == "x64":
        options.append("--high-entropy-va")
    return ["-nostdlib", "-nostartfiles", *(f"-Wl,{option}" for option in options), "-lntoskrnl", "-lhal"]


def _lld_flags(arch: str, version: tuple[int, int]) -> list[str]:
    major, minor = version
    flags = [
        "/driver:wdm",
        f"/subsystem:native,{major}.{minor}",
        f"/osversion:{major}.{minor}",
        f"/base:{_IMAGE_BASE[arch]:#x}",
        f"/entry:DriverEntry{'' if arch == 'x64' else '@8'}",
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


def _zig_mingw() -> Path:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise ToolMissingError(
            "the ziglang package is not installed: pip install 'regfilter-harness[toolchain]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _zig_mingw_include() -> Path:
    return _zig_mingw() / "lib" / "libc" / "include" / "any-windows-any"


def _zig_libraries(arch: str, folder: Path) -> list[tuple[list[str], Path]]:
    """Import libraries made from the definition files that zig bundles."""
    mingw = _zig_mingw() / "lib" / "libc" / "mingw"
    found: list[tuple[list[str], Path]] = []
    for module in ("ntoskrnl", "hal"):
        places = [mingw / ("lib64" if arch == "x64" else "lib32"), mingw / "lib-common"]
        definition = next((p / f"{module}.def" for p in places if (p / f"{module}.def").is_file()), None)
        if definition is None:
            raise ToolMissingError(
                f"ziglang brings no {module}.def for {arch}: install mingw-w64 (apt-get install mingw-w64)"
            )
        library = folder / f"{module}.lib"
        machine = "i386:x86-64" if arch == "x64" else "i386"
        zig = str(_zig_mingw() / "zig")
        command = [zig, "dlltool", "-m", machine, "-d", str(definition), "-l", str(library)]
        found.append(([*command, *(["-k"] if arch == "x86" else [])], library))
    return found


@functools.cache
def _gcc(arch: str) -> Toolchain | None:
    compiler = shutil.which(f"{_TRIPLE[arch]}-gcc")
    if compiler is None or shutil.which(f"{_TRIPLE[arch]}-strip") is None:
        return None
    if not Path(f"/usr/{_TRIPLE[arch]}/include/ddk/ntifs.h").is_file():
        return None
    version = _first_line([compiler, "--version"])
    linker = _first_line([f"{_TRIPLE[arch]}-ld", "--version"])
    return Toolchain(ToolchainKind.GCC, arch, (compiler,), f"{version}; {linker}")


@functools.cache
def _zig(arch: str) -> Toolchain | None:
    if importlib.util.find_spec("ziglang") is None:
        return None
    zig = _zig_mingw() / "zig"
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
