"""Drivers of driver-src/field, built and signed once, on guests of every kind they are made for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from harness import reference
from harness.driver import build_signed, find_project_root
from harness.errors import ToolMissingError
from harness.guest import DriverParameters
from harness.reference.guest import ReferenceGuest
from harness.workload.registry import Registry

FILE_DEVICE_UNKNOWN: Final = 0x22
BUFFERED, IN_DIRECT, OUT_DIRECT, NEITHER = range(4)


def ioctl(number: int, method: int = BUFFERED) -> int:
    """FIELD_IOCTL of field.h."""
    return FILE_DEVICE_UNKNOWN << 16 | (0x800 + number) << 2 | method


def source(name: str) -> Path:
    return find_project_root() / "driver-src" / "field" / f"{name}.c"


def image(name: str, arch: str) -> bytes:
    """The signed driver `name`; skips the test where nothing can compile it."""
    try:
        return build_signed(source(name), arch).read()
    except ToolMissingError as error:
        pytest.skip(str(error))


@contextmanager
def running(
    name: str, version: str, arch: str = "x64", *, parameters: DriverParameters | None = None
) -> Iterator[tuple[ReferenceGuest, Registry]]:
    """A guest with the driver started, and a registry with its test root; both end with the driver unloaded.

    The unload is part of every test: what a driver leaves behind then is a bugcheck.
    """
    with reference.boot(version, arch=arch) as guest:
        guest.install_driver(name, image(name, arch), parameters=parameters)
        with Registry(guest) as registry:
            assert guest.start_driver(name) == 0
            yield guest, registry
        assert guest.stop_driver(name) == 0
