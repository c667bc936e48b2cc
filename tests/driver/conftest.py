"""Drivers built once a session into a folder of the tests' own, and pieces to take images apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.driver import (
    ARCHITECTURES,
    BuildResult,
    SignResult,
    build_driver,
    build_signed,
    find_project_root,
    find_toolchain,
)
from harness.errors import ToolMissingError

TINY_DRIVER = """
#include <ntddk.h>

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNREFERENCED_PARAMETER(driver);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    DbgPrint("tiny: %wZ\\n", service);
    driver->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
"""


@pytest.fixture(params=ARCHITECTURES)
def arch(request: pytest.FixtureRequest) -> str:
    """Each architecture that has a compiler on this machine."""
    try:
        find_toolchain(request.param)
    except ToolMissingError as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.fixture
def tiny_source(tmp_path: Path) -> Path:
    """A driver of a few lines, in a folder of its own."""
    source = tmp_path / "tiny.c"
    source.write_text(TINY_DRIVER, encoding="utf-8")
    return source


@pytest.fixture
def signed_probe(arch: str) -> SignResult:
    """The checkout's probe, built and signed where the harness puts it."""
    return build_signed(find_project_root() / "driver-src" / "probe", arch)


@pytest.fixture(scope="session")
def tiny_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small driver is built once for the tests that only read it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.c").write_text(TINY_DRIVER, encoding="utf-8")
    return folder


@pytest.fixture
def signed_tiny(tiny_build: Path, arch: str) -> SignResult:
    """The small driver, signed with a certificate of the tests' own."""
    return build_signed(tiny_build / "tiny.c", arch, output=tiny_build / "build")


@pytest.fixture
def unsigned_tiny(tiny_build: Path, arch: str) -> BuildResult:
    """The small driver as it was linked: `unsigned` is the file."""
    return build_driver(tiny_build / "tiny.c", arch, output=tiny_build / "build")
