"""The worked example of docs/own-driver.md: tests of driver-src/samples/regguard.

harness run docs/examples/test_regguard.py --driver build/x64/regguard.sys
"""

from __future__ import annotations

import struct

import pytest

from harness.between import Between, ChangeKind
from harness.guest import Guest
from harness.probe import Probe
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry

# From driver-src/samples/regguard/regguard.h.
DEVICE = r"\\.\RegGuard"
PROTECT = 0x22A040
STATUS = 0x226044


@pytest.fixture
def protected(own_driver: Between, guest: Guest, registry: Registry) -> Between:
    """The driver, told by IOCTL to protect the key `app` of this test."""
    with registry.program() as p:
        p.set_value(p.create_key(p.test_root / "app"), "colour", "red")
    path = str(registry.test_root / "app").encode("utf-16-le")
    assert guest.ioctl(DEVICE, PROTECT, path).status == NTSTATUS.SUCCESS
    return own_driver


def test_a_protected_key_can_be_read_and_not_written(
    protected: Between, probe: Probe, registry: Registry
) -> None:
    with registry.program() as p:
        key = p.open_key(p.test_root / "app")
        read = p.query_value(key, "colour")
        write = p.set_value(key, "colour", "blue")

    assert read.text == "red"
    assert write.status == NTSTATUS.ACCESS_DENIED
    trace = probe.trace.of(write)
    assert trace.seen_by(protected.above) == [Pre.SetValueKey, Post.SetValueKey]
    assert trace.seen_by(protected.below) == []
    assert [change.kind for change in protected.changes(trace)] == [ChangeKind.BLOCKED]


def test_other_keys_are_none_of_its_business(protected: Between, probe: Probe, registry: Registry) -> None:
    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "application"), "colour", "blue")

    assert write.succeeded
    assert protected.changes(probe.trace.of(write)) == []


def test_it_counts_what_it_refused(protected: Between, guest: Guest, registry: Registry) -> None:
    with registry.program() as p:
        key = p.open_key(p.test_root / "app")
        p.set_value(key, "colour", "blue")
        p.delete_value(key, "colour")

    answer = guest.ioctl(DEVICE, STATUS, output=2048)
    (refused,) = struct.unpack_from("<I", answer.data)
    assert refused == 2
