"""Exceptions that leave a callback (B-NOT-39, 40). Each test costs a guest; only disposable ones are used."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from harness.errors import GuestCrashed
from harness.probe import MIDDLE, Probe
from harness.registry.notify import NotifyClass, Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.support import behaviour, requires, versions

pytestmark = requires("disposable")

Crashing = Callable[[], AbstractContextManager[pytest.ExceptionInfo[GuestCrashed]]]

REGISTRY_FILTER_DRIVER_EXCEPTION = 0x135


@behaviour("B-NOT-39")
@versions(since="6.1")
@pytest.mark.parametrize("moment", [Pre.SetValueKey, Post.SetValueKey], ids=["pre", "post"])
@pytest.mark.parametrize(
    ("raised", "code"),
    [(0, NTSTATUS.ACCESS_VIOLATION), (0xC0000420, 0xC0000420)],
    ids=["write through NULL", "assertion"],
)
def test_an_unhandled_exception_is_bugcheck_135(
    probe: Probe, registry: Registry, crashing: Crashing, moment: NotifyClass, raised: int, code: int
) -> None:
    """Its parameters: exception code, context record, callback, reserved."""
    probe.add(MIDDLE).on(moment, under=registry.test_root, value="v").raise_(raised)

    with crashing() as crash, registry.program() as p:
        p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    bugcheck = crash.value.bugcheck
    assert bugcheck.code == REGISTRY_FILTER_DRIVER_EXCEPTION
    assert bugcheck.parameters[0] == code
    assert bugcheck.parameters[1] != 0
    assert bugcheck.parameters[2] != 0
    assert bugcheck.driver.startswith("regprobe")


@behaviour("B-NOT-39", "B-NOT-40")
@versions(since="6.0", until="6.0.6002")
@pytest.mark.parametrize("raised", [0, 0xC0000420], ids=["write through NULL", "assertion"])
def test_version_1_0_swallows_it_and_goes_on(probe: Probe, registry: Registry, raised: int) -> None:
    """The sample's expectation: the operation is as if nothing had happened."""
    probe.add(MIDDLE).on(Pre.OpenKeyEx, under=registry.test_root / "missing").raise_(raised)
    probe_after = probe.add_monitor()

    with registry.program() as p:
        missing = p.open_key(p.test_root / "missing")
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    assert missing.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert write.status == NTSTATUS.SUCCESS
    assert probe.trace.of(write).seen_by(probe_after) == [Pre.SetValueKey, Post.SetValueKey]
