"""What a higher filter sees in post, and can do there, after a lower one decided (B-LAY-07..10, 19)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS, nt_success, status_name
from harness.workload import Registry
from suites.scene import Scene
from suites.support import ODD_STATUS, THREE, behaviour, versions
from suites.workloads import Workload, workloads

pytestmark = versions(since="6.0")


@behaviour("B-LAY-07")
@pytest.mark.parametrize("workload", workloads(blockable=True), ids=str)
def test_the_status_above_a_block_is_a_failure(
    scene: Scene, probe: Probe, record: Recorder, workload: Workload
) -> None:
    scene.prepare_notified(workload)
    high, middle, _low = probe.stack(*THREE)
    middle.on(workload.pre, **scene.scope(workload)).block(ODD_STATUS)

    step = scene.perform(workload)

    (post,) = probe.trace.of(step).seen_by(high).by(workload.post)
    assert not nt_success(post.status)
    record(f"B-LAY-07 {workload}: the status above is the blocking one", post.status == ODD_STATUS)
    record(f"B-LAY-07 {workload}: ReturnStatus on entry", status_name(post.return_status))


@behaviour("B-LAY-08")
@pytest.mark.parametrize("workload", workloads("set-value", "delete-value", "delete", "flush"), ids=str)
def test_status_above_a_bypass(scene: Scene, probe: Probe, record: Recorder, workload: Workload) -> None:
    scene.prepare(workload)
    high, middle, _low = probe.stack(*THREE)
    middle.on(workload.pre, **scene.scope(workload)).bypass()

    step = scene.perform(workload)

    (post,) = probe.trace.of(step).seen_by(high).by(workload.post)
    assert nt_success(step.status), "the bypass says what the requester gets"
    record(f"B-LAY-08 {workload}: Status of the higher post after a bypass", status_name(post.status))


@behaviour("B-LAY-09")
def test_overriding_above_a_block(probe: Probe, registry: Registry, record: Recorder) -> None:
    high, middle, _low = probe.stack(*THREE)
    middle.on(Pre.SetValueKey, under=registry.test_root, value="secret").block(ODD_STATUS)
    high.on(Post.SetValueKey, under=registry.test_root, value="secret").override(NTSTATUS.SUCCESS)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "secret", "x")
        read = p.query_value(key, "secret")

    record("B-LAY-09 caller's status after an override above a block", write.status_name)
    assert write.status in (ODD_STATUS, NTSTATUS.SUCCESS)
    assert read.status == NTSTATUS.OBJECT_NAME_NOT_FOUND, "the override can't make the write happen"


@behaviour("B-LAY-10", "B-OBJ-03")
@versions(since="6.1")
@pytest.mark.parametrize("workload", workloads("create", "open"), ids=str)
def test_no_object_above_a_blocked_create_or_open(scene: Scene, probe: Probe, workload: Workload) -> None:
    scene.prepare(workload)
    high, middle, _low = probe.stack(*THREE)
    middle.on(workload.pre, **scene.scope(workload)).block(ODD_STATUS)

    step = scene.perform(workload)

    (post,) = probe.trace.of(step).seen_by(high).by(workload.post)
    assert post.object == 0


@behaviour("B-LAY-10")
@versions(until="6.0.6002")
@pytest.mark.parametrize("workload", workloads("create", "open"), ids=str)
def test_object_above_a_blocked_create_or_open_in_version_1_0(
    scene: Scene, probe: Probe, record: Recorder, workload: Workload
) -> None:
    scene.prepare(workload)
    high, middle, _low = probe.stack(*THREE)
    middle.on(workload.pre, **scene.scope(workload)).block(ODD_STATUS)

    step = scene.perform(workload)

    pre, post = probe.trace.of(step).seen_by(high)
    assert step.status == ODD_STATUS
    found = {0: "NULL", pre.root_object: "the root object"}.get(post.object, "another pointer")
    record(f"B-LAY-10 {workload}: Object above a block", found)


@behaviour("B-LAY-19", "B-NOT-12")
def test_what_a_bypass_answers_is_never_seen_below(probe: Probe, registry: Registry) -> None:
    high, middle, low = probe.stack(*THREE)
    forged = bytes.fromhex(
        "00000000 04000000 04000000 2a000000"
    )  # KEY_VALUE_PARTIAL_INFORMATION: REG_DWORD 42
    middle.on(Pre.QueryValueKey, under=registry.test_root, value="answer").bypass_output(forged)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "answer", 41)
        read = p.query_value(key, "answer")

    assert read.status == NTSTATUS.SUCCESS
    assert read.data == (42).to_bytes(4, "little")
    assert probe.trace.of(read).seen_by(high) == [Pre.QueryValueKey, Post.QueryValueKey]
    assert probe.trace.of(read).seen_by(low) == []
