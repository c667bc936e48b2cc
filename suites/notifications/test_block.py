"""Blocking in pre: the caller gets that status and nothing happens (B-NOT-03..08; B-HIV-03, 24)."""

from __future__ import annotations

import pytest

from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.scene import Scene
from suites.support import ODD_STATUS, behaviour, versions
from suites.workloads import Workload, workloads


@behaviour("B-NOT-05", "B-NOT-07", "B-NOT-08", "B-HIV-24", "B-HIV-03")
@pytest.mark.parametrize("workload", workloads(blockable=True), ids=str)
def test_a_blocked_operation_fails_with_that_status_and_has_no_effect(
    scene: Scene, guest: Guest, probe: Probe, workload: Workload
) -> None:
    scene.prepare_notified(workload)
    expected = workload.expected(guest.info.version)
    blocker = probe.add_monitor()
    blocker.on(expected[0], **scene.scope(workload)).block(ODD_STATUS)

    step = scene.perform(workload)

    assert step.status == ODD_STATUS
    assert probe.trace.of(step).seen_by(blocker).by(*expected) == [expected[0]]
    assert scene.look(workload) == (workload.undone if workload.check else None)


@behaviour("B-NOT-05")
@pytest.mark.parametrize(
    "status",
    [NTSTATUS.ACCESS_DENIED, NTSTATUS.INSUFFICIENT_RESOURCES, ODD_STATUS, 0xFFFFFFFF],
    ids=hex,
)
def test_any_error_status_reaches_the_caller(probe: Probe, registry: Registry, status: int) -> None:
    probe.add_monitor().on(Pre.SetValueKey, under=registry.test_root, value="secret").block(status)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "secret", "x")
        other = p.set_value(key, "other", "x")

    assert write.status == status
    assert other.status == NTSTATUS.SUCCESS, "only the matching operation is blocked"


@behaviour("B-NOT-06")
@pytest.mark.parametrize("status", [NTSTATUS.BUFFER_OVERFLOW, NTSTATUS.NO_MORE_ENTRIES, 0x80DE0001], ids=hex)
def test_a_warning_blocks_too(probe: Probe, registry: Registry, status: int) -> None:
    blocker = probe.add_monitor()
    blocker.on(Pre.QueryValueKey, under=registry.test_root, value="secret").return_(status)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "secret", "x")
        read = p.query_value(key, "secret")

    assert read.status == status
    assert probe.trace.of(read) == [Pre.QueryValueKey]


@behaviour("B-NOT-04")
@pytest.mark.parametrize(
    "status", [NTSTATUS.OBJECT_NAME_EXISTS, NTSTATUS.PENDING, 0x40DE0001, 0x7FFFFFFF], ids=hex
)
@pytest.mark.parametrize("workload", workloads("set-value", "delete-value", "create", "rename"), ids=str)
def test_any_success_status_lets_the_operation_go_on(
    scene: Scene, guest: Guest, probe: Probe, record: Recorder, workload: Workload, status: int
) -> None:
    scene.prepare(workload)
    expected = workload.expected(guest.info.version)
    probe.add_monitor().on(expected[0], **scene.scope(workload)).return_(status)

    step = scene.perform(workload)

    record("B-NOT-04 status the caller sees", step.status_name)
    assert probe.trace.of(step).by(*expected) == expected
    assert scene.look(workload) == workload.done


@behaviour("B-NOT-04", "B-LAY-06")
@versions(since="6.0")
def test_a_lower_filter_is_asked_after_informational_success(probe: Probe, registry: Registry) -> None:
    high, low = probe.stack("380020.7301", "380000.7301")
    high.on(Pre.SetValueKey, under=registry.test_root, value="v").succeed(NTSTATUS.OBJECT_NAME_EXISTS)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    assert probe.trace.of(write).seen_by(high) == [Pre.SetValueKey, Post.SetValueKey]
    assert probe.trace.of(write).seen_by(low) == [Pre.SetValueKey, Post.SetValueKey]


@behaviour("B-NOT-05", "B-NOT-07")
def test_blocked_at_the_nth_time_only(probe: Probe, registry: Registry) -> None:
    probe.add_monitor().on(Pre.SetValueKey, under=registry.test_root, nth=2, count=1).block()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        writes = [p.set_value(key, f"v{number}", number) for number in range(3)]
        reads = [p.query_value(key, f"v{number}") for number in range(3)]

    assert [w.status for w in writes] == [0, NTSTATUS.ACCESS_DENIED, 0]
    assert [r.status for r in reads] == [0, NTSTATUS.OBJECT_NAME_NOT_FOUND, 0]


@behaviour("B-NOT-07")
def test_a_blocked_create_gives_no_handle(guest: Guest, probe: Probe, registry: Registry) -> None:
    version = guest.info.version
    create = workloads("create")[0].expected(version)[0]
    probe.add_monitor().on(create, under=registry.test_root / "app").block()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    assert key.status == NTSTATUS.ACCESS_DENIED
    assert key.handle == 0
    assert write.status == NTSTATUS.INVALID_HANDLE
