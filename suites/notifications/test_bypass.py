"""Completing an operation in the callback (B-NOT-09..16; B-HIV-19)."""

from __future__ import annotations

import struct

import pytest

from harness.guest import Guest
from harness.guest.leaks import left_over
from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.access import KEY_ALL_ACCESS, KEY_READ, MAXIMUM_ALLOWED
from harness.registry.infoclasses import KeyInformationClass
from harness.registry.notify import Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.scene import Scene
from suites.support import MIDDLE, behaviour, versions
from suites.workloads import Workload, workloads

pytestmark = versions(since="6.0")

#: Bypasses that would show a reference which is not given back, and still fit the probe's ring.
_MANY = 1000


@behaviour("B-NOT-09", "B-NOT-10")
@pytest.mark.parametrize(
    "workload", workloads("set-value", "delete-value", "delete", "flush", "set-security"), ids=str
)
def test_a_bypassed_operation_is_skipped_and_succeeds(scene: Scene, probe: Probe, workload: Workload) -> None:
    scene.prepare(workload)
    filter_ = probe.add(MIDDLE)
    filter_.on(workload.pre, **scene.scope(workload)).bypass()

    step = scene.perform(workload)

    assert step.status == NTSTATUS.SUCCESS
    assert probe.trace.of(step).seen_by(filter_) == [workload.pre]
    assert scene.look(workload) == (workload.undone if workload.check else None)


@behaviour("B-NOT-37")
@pytest.mark.parametrize("workload", workloads("rename", "set-information"), ids=str)
def test_bypassing_what_should_not_be_bypassed(
    scene: Scene, probe: Probe, record: Recorder, workload: Workload
) -> None:
    scene.prepare(workload)
    probe.add(MIDDLE).on(workload.pre, **scene.scope(workload)).bypass()

    step = scene.perform(workload)

    assert probe.trace.of(step).by(workload.pre)
    record(f"B-NOT-37 {workload}: status after a bypass", step.status_name)


@behaviour("B-NOT-12")
def test_a_forged_value(probe: Probe, registry: Registry) -> None:
    """KEY_VALUE_PARTIAL_INFORMATION of a REG_DWORD; the filter fills buffer and ResultLength."""
    forged = struct.pack("<IIII", 0, 4, 4, 42)
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.QueryValueKey, under=registry.test_root, value="answer").bypass_output(forged)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "answer", 7)
        read = p.query_value(key, "answer")
        other = p.query_value(key, "other")

    assert read.status == NTSTATUS.SUCCESS
    assert (read.dword, read.result_length) == (42, len(forged))
    assert other.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


@behaviour("B-NOT-12")
def test_a_forged_enumeration(probe: Probe, registry: Registry) -> None:
    name = "forged".encode("utf-16-le")
    forged = struct.pack("<QII", 0, 0, len(name)) + name
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.EnumerateKey, under=registry.test_root).bypass_output(forged)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.create_key(p.test_root / "app" / "real")
        listed = p.enumerate_key(key, 0, KeyInformationClass.BASIC)

    assert listed.status == NTSTATUS.SUCCESS
    assert listed.name == "forged"


@behaviour("B-NOT-12")
@pytest.mark.parametrize("call", ["set", "delete"])
def test_another_value_instead(probe: Probe, registry: Registry, call: str) -> None:
    """The sample's bypass: the filter does to another name what was asked for this one."""
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "asked", "old")
        p.set_value(key, "done", "old")
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.SetValueKey, Pre.DeleteValueKey, under=registry.test_root, value="asked").redirect("done")

    with registry.program() as p:
        key = p.open_key(p.test_root / "app")
        step = p.set_value(key, "asked", "new") if call == "set" else p.delete_value(key, "asked")
        asked, done = p.query_value(key, "asked"), p.query_value(key, "done")

    assert step.status == NTSTATUS.SUCCESS
    assert asked.text == "old"
    if call == "set":
        assert done.text == "new"
    else:
        assert done.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


@behaviour("B-NOT-13")
@pytest.mark.parametrize("disposition", [1, 2], ids=["created", "opened"])
def test_another_key_instead_of_a_created_one(probe: Probe, registry: Registry, disposition: int) -> None:
    with registry.program() as p:
        p.set_value(p.create_key(p.test_root / "real"), "v", "substitute")
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.CreateKeyEx, under=registry.test_root / "asked").bypass_with_key(
        registry.test_root / "real", access=KEY_READ, disposition=disposition
    )

    with registry.program() as p:
        key = p.create_key(p.test_root / "asked")
        read = p.query_value(key, "v")
        write = p.set_value(key, "v", "no")
        rights = p.query_object(key)

    assert key.status == NTSTATUS.SUCCESS
    assert key.disposition == disposition
    assert read.text == "substitute"
    assert rights.object_information.granted_access == KEY_READ
    assert write.status == NTSTATUS.ACCESS_DENIED, "the handle has the rights the filter granted, no others"
    probe.reset()
    with registry.program() as p:
        asked = p.open_key(p.test_root / "asked")
    assert asked.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


@behaviour("B-NOT-14")
def test_another_key_instead_of_an_opened_one(probe: Probe, registry: Registry, record: Recorder) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "asked")
        p.set_value(p.create_key(p.test_root / "real"), "v", "substitute")
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.OpenKeyEx, key=registry.test_root / "asked").bypass_with_key(
        registry.test_root / "real", access=KEY_ALL_ACCESS
    )

    with registry.program() as p:
        key = p.open_key(p.test_root / "asked")
        read = p.query_value(key, "v")

    record("B-NOT-14 status of a bypassed open", key.status_name)
    assert key.status == NTSTATUS.SUCCESS
    assert read.text == "substitute"


@behaviour("B-NOT-15")
def test_the_substitutes_reference_is_consumed(guest: Guest, probe: Probe, registry: Registry) -> None:
    """After many bypasses nothing holds the substitute: as many key objects are open as before."""
    with registry.program() as p:
        p.create_key(p.test_root / "real")
    held, before = guest.outstanding(), probe.statistics.pool_allocations
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.CreateKeyEx, under=registry.test_root / "asked").bypass_with_key(
        registry.test_root / "real", access=KEY_ALL_ACCESS
    )

    with registry.program() as p:
        closes = []
        for _ in range(_MANY):
            closes.append(p.close(p.create_key(p.test_root / "asked")))

    for close in closes:
        closed = probe.trace.of(close).by(Pre.KeyHandleClose)
        assert len(closed) == 1, "the handle's close drops the last reference"
    filter_.remove()
    assert left_over(held.held, guest.outstanding().held) == ()
    assert probe.statistics.pool_allocations <= before


@behaviour("B-NOT-16")
@pytest.mark.parametrize("asked", [KEY_READ, MAXIMUM_ALLOWED], ids=["read", "maximum"])
def test_granted_access_not_set(probe: Probe, registry: Registry, record: Recorder, asked: int) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "real")
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.CreateKeyEx, under=registry.test_root / "asked").bypass_with_key(
        registry.test_root / "real", access=None
    )

    with registry.program() as p:
        key = p.create_key(p.test_root / "asked", access=asked)
        rights = p.query_object(key)

    found = hex(rights.object_information.granted_access) if rights.succeeded else rights.status_name
    assert probe.trace.of(key).by(Pre.CreateKeyEx)
    record("B-NOT-16 status and granted access", (key.status_name, found))


@behaviour("B-NOT-16")
def test_granted_access_maximum_allowed(probe: Probe, registry: Registry, record: Recorder) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "real")
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.CreateKeyEx, under=registry.test_root / "asked").bypass_with_key(
        registry.test_root / "real", access=MAXIMUM_ALLOWED
    )

    with registry.program() as p:
        key = p.create_key(p.test_root / "asked")
        rights = p.query_object(key)

    found = hex(rights.object_information.granted_access) if rights.succeeded else rights.status_name
    assert probe.trace.of(key).by(Pre.CreateKeyEx)
    record("B-NOT-16 status and granted access for MAXIMUM_ALLOWED", (key.status_name, found))
