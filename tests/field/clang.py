"""Drivers as clang makes them for Microsoft's environment: __try, security cookies, lld-link."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest

from harness.driver import sign_image, signing_certificate
from harness.driver.build import build_directory
from tests.field.world import source

_MACHINE: Final = {"x64": "i386:x86-64", "x86": "i386"}
_TARGET: Final = {"x64": "x86_64-windows-msvc", "x86": "x86-windows-msvc"}
_FLAGS: Final = (
    *("-O2", "-ffreestanding", "-fno-sanitize=all", "-Wno-everything"),
    *("-fms-extensions", "-fms-compatibility", "-fgnuc-version=4.2.1"),
    *("-D_WIN32_WINNT=0x0600", "-DNTDDI_VERSION=0x06000000"),
)
#: As /kernel makes it: neither exceptions of C++ nor run-time types, and nothing that guards local statics.
_CXX: Final = (
    *("-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"),
    "-fno-stack-protector",
)
_PER_ARCH: Final = {"x64": ("-D_AMD64_", "-mno-red-zone"), "x86": ("-D_X86_", "-mno-sse")}


def _zig() -> Path:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs clang: the ziglang package is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def clang_image(name: str, arch: str, *flags: str) -> bytes:
    """The signed driver `name` (C, or C++ where there is a .cpp) built by clang and lld-link; skips the test
    without them."""
    written = source(name)
    if not written.exists():
        written = written.with_suffix(".cpp")
        flags = (*flags, *_CXX)
    home = _zig()
    zig, mingw = str(home / "zig"), home / "lib" / "libc"
    with tempfile.TemporaryDirectory(prefix="field-clang-") as work:
        folder = Path(work)

        def run(*command: str) -> None:
            done = subprocess.run(
                command, cwd=folder, env=os.environ, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"

        names = (mingw / "mingw" / ("lib64" if arch == "x64" else "lib32") / "ntoskrnl.def").read_text()
        if arch == "x86":
            names += "\n_except_handler3\n_local_unwind2\n_chkstk\n_alldiv\n_aulldiv\n_allmul\n"
        else:
            names += "\n__chkstk\n"
        (folder / "kernel.def").write_text(names)
        decorated = ("-k",) if arch == "x86" else ()
        run(zig, "dlltool", "-m", _MACHINE[arch], "-d", "kernel.def", *decorated, "-l", "kernel.lib")
        headers = mingw / "include" / "any-windows-any"
        run(
            *(
                zig,
                "cc",
                "-target",
                _TARGET[arch],
                *_FLAGS,
                *_PER_ARCH[arch],
                *(flags or ("-fno-stack-protector",)),
            ),
            *("-isystem", str(headers / "ddk"), "-isystem", str(headers), f"-I{written.parent}"),
            *("-c", str(written), "-o", "driver.obj"),
        )
        entry = "DriverEntry" if arch == "x64" else "DriverEntry@8"
        run(
            *(zig, "lld-link", "/driver:wdm", "/subsystem:native,6.1", f"/entry:{entry}", f"/machine:{arch}"),
            *("/nodefaultlib", "/dynamicbase", "/release", "/force:multiple", "/out:driver.sys"),
            *(("/safeseh:no",) if arch == "x86" else ()),
            *("driver.obj", "kernel.lib"),
        )
        image = (folder / "driver.sys").read_bytes()
    return sign_image(image, signing_certificate(build_directory() / "keys"))
