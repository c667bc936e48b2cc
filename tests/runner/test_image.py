"""The runner's image: loads on every Windows from XP on, on a Pentium, and is the same wherever it is built.

The x86 image is checked as a file; nothing here can run it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pefile
import pytest

from harness.driver import (
    ARCHITECTURES,
    BuildFailedError,
    BuildResult,
    Toolchain,
    available_toolchains,
    build_program,
    find_project_root,
    program_spec,
    runner_spec,
)

#: (architecture, compiler) of this machine.
CHAINS = [(arch, chain) for arch in ARCHITECTURES for chain in available_toolchains(arch)]
IDS = [f"{arch}-{chain.kind}" for arch, chain in CHAINS]

#: Instructions that a Pentium lacks: conditional moves, and whatever touches an MMX or SSE register.
#: Source: Intel's SDM, volume 2; CMOV and FCOMI came with the Pentium Pro.
TOO_NEW = re.compile(
    r"\t(f?cmov\w*|f(u)?comi[p]?|sysenter|prefetch\w*|[lms]fence|pause|endbr32|\S*\s.*%[xyz]?mm\d)\b"
)


@pytest.fixture(scope="module", params=CHAINS, ids=IDS)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    arch, chain = request.param
    return build_program(
        runner_spec(), arch, toolchain=chain, output=tmp_path_factory.mktemp(str(chain.kind))
    )


def allowed_imports() -> dict[str, set[str]]:
    """What driver-src/runner/imports lists, by DLL in lower case."""
    allowed = {}
    for definition in (find_project_root() / "driver-src" / "runner" / "imports").glob("*.def"):
        lines = [line for line in definition.read_text().splitlines() if line and not line.startswith(";")]
        assert lines[1] == "EXPORTS"
        library = lines[0].removeprefix("LIBRARY ").strip('"').lower()
        allowed[library] = {line.split("@")[0] for line in lines[2:]}
    return allowed


def test_it_imports_only_what_windows_xp_has(built: BuildResult) -> None:
    allowed = allowed_imports()
    assert set(allowed) <= {"kernel32.dll", "advapi32.dll", "msvcrt.dll", "ntdll.dll"}
    image = pefile.PE(str(built.image))
    found = {
        (module.dll.decode().lower(), entry.name.decode())
        for module in image.DIRECTORY_ENTRY_IMPORT
        for entry in module.imports
    }
    assert found
    assert [pair for pair in found if pair[1] not in allowed.get(pair[0], set())] == []
    # Imports by the DLLs of this list alone, late ones too.
    assert not hasattr(image, "DIRECTORY_ENTRY_DELAY_IMPORT")


@pytest.mark.parametrize(
    "name", ["GetTickCount64", "RegGetValueW", "CancelIoEx", "InitOnceExecuteOnce", "strcpy_s"]
)
def test_the_lists_hold_nothing_newer(name: str) -> None:
    # Vista's, by Microsoft's reference pages: a list that is extended carelessly.
    assert all(name not in names for names in allowed_imports().values())


def test_it_is_a_console_program_for_the_oldest_windows(built: BuildResult) -> None:
    optional = pefile.PE(str(built.image)).OPTIONAL_HEADER
    assert optional.Subsystem == 3
    oldest = {"x64": (5, 2), "x86": (5, 1)}[built.arch]
    assert (optional.MajorSubsystemVersion, optional.MinorSubsystemVersion) == oldest
    assert (optional.MajorOperatingSystemVersion, optional.MinorOperatingSystemVersion) == oldest
    assert optional.DllCharacteristics & 0x140 == 0x140  # NX and relocatable
    assert optional.DATA_DIRECTORY[5].Size > 0
    assert optional.CheckSum == pefile.PE(str(built.image)).generate_checksum()


def test_x86_runs_on_a_pentium(built: BuildResult) -> None:
    if built.arch != "x86":
        pytest.skip("x64 processors have SSE2")
    objdump = shutil.which("i686-w64-mingw32-objdump")
    if objdump is None:
        pytest.skip("no objdump for x86 images: install binutils-mingw-w64-i686")
    listing = subprocess.run(
        [objdump, "-d", "--no-show-raw-insn", str(built.image)], capture_output=True, text=True, check=True
    ).stdout
    assert listing.count("\n") > 5000
    assert [line for line in listing.splitlines() if TOO_NEW.search(line)] == []


def test_two_builds_in_different_places_are_byte_identical(built: BuildResult, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "driver-src"
    source = find_project_root() / "driver-src"
    for folder in ("runner", "abi"):
        shutil.copytree(source / folder, copy / folder)
    chain = next(chain for arch, chain in CHAINS if arch == built.arch and str(chain) == built.toolchain)
    again = build_program(runner_spec(copy.parent), built.arch, toolchain=chain, output=tmp_path / "build")
    assert again.rebuilt
    assert again.key == built.key
    assert again.image.read_bytes() == built.image.read_bytes()
    assert str(tmp_path).encode() not in again.debug.read_bytes()


@pytest.mark.parametrize(("arch", "chain"), CHAINS, ids=IDS)
def test_what_is_not_listed_does_not_link(arch: str, chain: Toolchain, tmp_path: Path) -> None:
    source = tmp_path / "small"
    (source / "imports").mkdir(parents=True)
    (source / "imports" / "kernel32.def").write_text('LIBRARY "KERNEL32.dll"\nEXPORTS\nExitProcess@4\n')
    code = "#include <windows.h>\nvoid __cdecl program_entry(void) { ExitProcess(CALL); }\n"
    (source / "main.c").write_text(code.replace("CALL", "0"))
    spec = program_spec(source, "small")
    assert build_program(spec, arch, toolchain=chain, output=tmp_path / "build").image.stat().st_size > 0
    (source / "main.c").write_text(code.replace("CALL", "(UINT)GetTickCount64()"))
    with pytest.raises(BuildFailedError, match="GetTickCount64"):
        build_program(spec, arch, toolchain=chain, output=tmp_path / "build")


def test_a_changed_import_list_is_an_input(tmp_path: Path) -> None:
    source = tmp_path / "small"
    (source / "imports").mkdir(parents=True)
    definition = source / "imports" / "kernel32.def"
    definition.write_text('LIBRARY "KERNEL32.dll"\nEXPORTS\nExitProcess@4\n')
    (source / "main.c").write_text(
        "#include <windows.h>\nvoid __cdecl program_entry(void) { ExitProcess(0); }\n"
    )
    first = build_program(program_spec(source, "small"), "x64", output=tmp_path / "build")
    assert not build_program(program_spec(source, "small"), "x64", output=tmp_path / "build").rebuilt
    definition.write_text(definition.read_text() + "Sleep@4\n")
    second = build_program(program_spec(source, "small"), "x64", output=tmp_path / "build")
    assert second.rebuilt
    assert second.key != first.key
