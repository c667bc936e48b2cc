"""How a wrong driver is started and brought to do its wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness import reference
from harness.driver import build_signed, find_project_root
from harness.errors import ToolMissingError
from harness.guest import Guest
from harness.registry.version import WindowsVersion
from harness.workload.registry import Registry

DEVICE = r"\\.\RegWrong"
IOCTL = 0x00222000  # WRONG_IOCTL of wrong.h


def driver_image(relative: str, arch: str) -> bytes:
    """The signed driver made of `relative` below driver-src; skips the test where nothing can compile it."""
    try:
        return build_signed(find_project_root() / "driver-src" / relative, arch).read()
    except ToolMissingError as error:
        pytest.skip(str(error))


@contextmanager
def started(name: str, arch: str, version: WindowsVersion, *, deadline: float = 10.0) -> Iterator[Guest]:
    """A guest with the wrong driver `name` running; a hang is one after `deadline` seconds."""
    with reference.boot(version, arch=arch, deadline=deadline) as guest:
        guest.install_driver(name, driver_image(f"wrong/{name}.c", arch))
        assert guest.start_driver(name) == 0
        yield guest


def set_values(guest: Guest, *names: str) -> list[int]:
    """Set these values below a test key, one program; the statuses."""
    # No clean-up: a guest that crashed can't do it, and its error would hide the one that matters.
    with Registry(guest).program() as p:
        key = p.create_key(p.test_root / "wrong")
        steps = [p.set_value(key, name, b"1234") for name in names]
    return [step.status for step in steps]


def query_value(guest: Guest) -> None:
    with Registry(guest).program() as p:
        key = p.create_key(p.test_root / "wrong")
        p.set_value(key, "harmless", b"1234")
        p.query_value(key, "harmless")


def delete_value(guest: Guest) -> int:
    with Registry(guest).program() as p:
        key = p.create_key(p.test_root / "wrong")
        p.set_value(key, "harmless", b"1234")
        deleted = p.delete_value(key, "harmless")
    return deleted.status
