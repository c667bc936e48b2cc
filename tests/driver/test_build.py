"""Builds: reproducible, cached by content, and clear about what went wrong."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pefile
import pytest

from harness.driver import (
    BuildFailedError,
    available_toolchains,
    build_driver,
    build_signed,
    driver_spec,
    find_project_root,
    find_toolchain,
    project_drivers,
    verify_image,
)
from harness.driver import toolchain as toolchain_module
from harness.errors import ToolMissingError, UsageError


def test_two_builds_in_different_places_are_byte_identical(arch: str, tmp_path: Path) -> None:
    probe = find_project_root() / "driver-src"
    images = []
    for place in ("here", "there/and/deeper"):
        copy = tmp_path / place / "driver-src"
        shutil.copytree(probe / "probe", copy / "probe")
        shutil.copytree(probe / "abi", copy / "abi")
        spec = driver_spec(copy / "probe", root=copy.parent)
        built = build_driver(spec, arch, output=tmp_path / place / "build")
        assert built.rebuilt
        images.append((built.image.read_bytes(), built.debug.read_bytes()))
    assert images[0] == images[1]


def test_nothing_changed_nothing_is_built(tiny_source: Path, arch: str, tmp_path: Path) -> None:
    first = build_signed(tiny_source, arch, output=tmp_path / "build")
    stamps = {path: path.stat().st_mtime_ns for path in (first.image, first.debug)}
    second = build_signed(tiny_source, arch, output=tmp_path / "build")
    assert (first.rebuilt, first.resigned) == (True, True)
    assert (second.rebuilt, second.resigned) == (False, False)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_building_again_leaves_the_signature_in_place(tiny_source: Path, arch: str, tmp_path: Path) -> None:
    signed = build_signed(tiny_source, arch, output=tmp_path / "build").read()
    again = build_driver(tiny_source, arch, output=tmp_path / "build")
    assert again.image.read_bytes() == signed


def test_a_changed_source_is_built_and_signed_again(tiny_source: Path, arch: str, tmp_path: Path) -> None:
    first = build_signed(tiny_source, arch, output=tmp_path / "build").read()
    tiny_source.write_text(tiny_source.read_text().replace("tiny:", "small:"), encoding="utf-8")
    second = build_signed(tiny_source, arch, output=tmp_path / "build")
    assert second.rebuilt
    assert second.resigned
    assert second.read() != first
    assert verify_image(second.image).ok


def test_a_changed_header_is_an_input(tmp_path: Path, arch: str) -> None:
    folder = tmp_path / "withheader"
    folder.mkdir()
    (folder / "answer.h").write_text("#define ANSWER 1\n")
    (folder / "main.c").write_text(
        '#include <ntddk.h>\n#include "answer.h"\n'
        "NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING s)\n"
        "{ UNREFERENCED_PARAMETER(d); UNREFERENCED_PARAMETER(s); return ANSWER; }\n"
    )
    first = build_driver(folder, arch, output=tmp_path / "build")
    (folder / "answer.h").write_text("#define ANSWER 2\n")
    second = build_driver(folder, arch, output=tmp_path / "build")
    assert second.rebuilt
    assert second.key != first.key


@pytest.mark.parametrize(
    ("named", "place"),
    [("../common/answer.h", "common/answer.h"), ("tables/answer.inc", "mine/tables/answer.inc")],
)
def test_what_is_included_from_another_folder_is_an_input(
    tmp_path: Path, arch: str, named: str, place: str
) -> None:
    """Builds that share a header are not taken for up to date when it changes, nor what that one includes."""
    header = tmp_path / place
    for folder in (tmp_path / "mine", header.parent):
        folder.mkdir(parents=True, exist_ok=True)
    header.write_text('#  include "number.txt"\n')
    number = header.with_name("number.txt")
    number.write_text("#define ANSWER 1\n")
    (tmp_path / "mine" / "main.c").write_text(
        f'#include <ntddk.h>\n#include "{named}"\n'
        "NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING s)\n"
        "{ UNREFERENCED_PARAMETER(d); UNREFERENCED_PARAMETER(s); return ANSWER; }\n"
    )
    first = build_driver(tmp_path / "mine", arch, output=tmp_path / "build")
    assert not build_driver(tmp_path / "mine", arch, output=tmp_path / "build").rebuilt
    number.write_text("#define ANSWER 2\n")
    second = build_driver(tmp_path / "mine", arch, output=tmp_path / "build")
    assert second.rebuilt
    assert second.key != first.key


def test_going_back_takes_the_old_product_from_the_cache(
    tiny_source: Path, arch: str, tmp_path: Path
) -> None:
    text = tiny_source.read_text()
    first = build_driver(tiny_source, arch, output=tmp_path / "build").image.read_bytes()
    tiny_source.write_text(text.replace("tiny:", "other:"), encoding="utf-8")
    build_driver(tiny_source, arch, output=tmp_path / "build")
    tiny_source.write_text(text, encoding="utf-8")
    back = build_driver(tiny_source, arch, output=tmp_path / "build")
    assert not back.rebuilt
    assert back.image.read_bytes() == first


def test_a_product_somebody_removed_comes_back(tiny_source: Path, arch: str, tmp_path: Path) -> None:
    built = build_signed(tiny_source, arch, output=tmp_path / "build")
    content = built.read()
    built.image.unlink()
    assert build_signed(tiny_source, arch, output=tmp_path / "build").read() == content


def test_parallel_builds_make_one_product(tiny_source: Path, arch: str, tmp_path: Path) -> None:
    def build() -> tuple[bool, bytes, str]:
        signed = build_signed(tiny_source, arch, output=tmp_path / "build")
        return signed.rebuilt, signed.read(), signed.certificate.fingerprint

    with ThreadPoolExecutor(4) as pool:
        done = [job.result() for job in [pool.submit(build) for _ in range(4)]]
    assert [rebuilt for rebuilt, _, _ in done].count(True) == 1
    assert len({content for _, content, _ in done}) == 1
    assert len({fingerprint for _, _, fingerprint in done}) == 1


def test_the_debug_copy_matches_the_image(tiny_source: Path, arch: str, tmp_path: Path) -> None:
    built = build_driver(tiny_source, arch, output=tmp_path / "build")
    image, debug = pefile.PE(str(built.image)), pefile.PE(str(built.debug))
    wanted = [(s.Name, s.VirtualAddress) for s in image.sections]
    assert [(s.Name, s.VirtualAddress) for s in debug.sections][: len(wanted)] == wanted
    assert image.OPTIONAL_HEADER.AddressOfEntryPoint == debug.OPTIONAL_HEADER.AddressOfEntryPoint
    assert image.get_section_by_rva(image.OPTIONAL_HEADER.AddressOfEntryPoint).get_data() == (
        debug.get_section_by_rva(debug.OPTIONAL_HEADER.AddressOfEntryPoint).get_data()
    )
    assert built.debug.stat().st_size > built.image.stat().st_size
    assert b"tiny.c" in built.debug.read_bytes()
    assert b"tiny.c" not in built.image.read_bytes()


def test_no_path_of_the_machine_is_in_the_products(tiny_source: Path, arch: str, tmp_path: Path) -> None:
    built = build_driver(tiny_source, arch, output=tmp_path / "build")
    for product in (built.image, built.debug):
        assert str(tmp_path).encode() not in product.read_bytes()


def test_compiler_errors_are_told(tmp_path: Path, arch: str) -> None:
    source = tmp_path / "broken.c"
    source.write_text("#include <ntddk.h>\nint main(void) { return undeclared_name; }\n")
    with pytest.raises(BuildFailedError, match="undeclared_name"):
        build_driver(source, arch, output=tmp_path / "build")
    assert not (tmp_path / "build" / arch / "broken.sys").exists()


def test_warnings_are_errors(tmp_path: Path, arch: str) -> None:
    source = tmp_path / "sloppy.c"
    source.write_text(
        "#include <ntddk.h>\n"
        "NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING s) { int unused; return 0; }\n"
    )
    with pytest.raises(BuildFailedError, match="unused"):
        build_driver(source, arch, output=tmp_path / "build")


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_what_is_no_driver_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=name):
        build_driver(tmp_path / name, "x64", output=tmp_path / "build")


def test_an_unknown_architecture_is_refused(tiny_source: Path) -> None:
    with pytest.raises(UsageError, match="arm64"):
        build_driver(tiny_source, "arm64")


def test_an_architecture_the_driver_excludes_is_refused(tiny_source: Path, tmp_path: Path) -> None:
    tiny_source.write_text("/* harness: x64 only */\n" + tiny_source.read_text(), encoding="utf-8")
    assert driver_spec(tiny_source).architectures == ("x64",)
    with pytest.raises(UsageError, match="x64 only"):
        build_driver(tiny_source, "x86", output=tmp_path / "build")


def test_the_oldest_windows_a_source_names_is_in_the_image(
    tiny_source: Path, arch: str, tmp_path: Path
) -> None:
    tiny_source.write_text("/* harness: since 6.3 */\n" + tiny_source.read_text(), encoding="utf-8")
    optional = pefile.PE(
        str(build_driver(tiny_source, arch, output=tmp_path / "build").image)
    ).OPTIONAL_HEADER
    assert (optional.MajorSubsystemVersion, optional.MinorSubsystemVersion) == (6, 3)


def test_missing_assembly_is_named(tiny_source: Path) -> None:
    tiny_source.write_text(
        "/* harness: with ../missing/thing */\n" + tiny_source.read_text(), encoding="utf-8"
    )
    with pytest.raises(UsageError, match=r"thing_x64\.S"):
        driver_spec(tiny_source)


def test_a_missing_compiler_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain_module, "_gcc", lambda arch: None)
    monkeypatch.setattr(toolchain_module, "_zig", lambda arch: None)
    with pytest.raises(ToolMissingError, match="apt-get install gcc-mingw-w64-i686"):
        find_toolchain("x86")


def test_every_compiler_here_makes_a_probe_that_verifies(arch: str, tmp_path: Path) -> None:
    for chain in available_toolchains(arch):
        signed = build_signed(
            find_project_root() / "driver-src" / "probe", arch, toolchain=chain, output=tmp_path / chain.kind
        )
        report = verify_image(signed.image)
        assert report.ok, (str(chain), report.failed)


def test_the_project_has_the_drivers_it_needs() -> None:
    drivers = project_drivers()
    assert {"regprobe", "regguard", "leak_at_unload", "user_pointer", "blocks_silently"} <= set(drivers)
    for spec in drivers.values():
        for arch in spec.architectures:
            assert all(source.is_file() for source in spec.inputs(arch))
            assert not any("_x86.S" in str(s) for s in spec.inputs("x64"))
