"""Each filter has its own view of one operation (B-LAY-17, 18)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.notify import Post, Pre
from harness.workload import Registry
from suites.scene import Scene
from suites.support import THREE, behaviour, versions
from suites.workloads import WORKLOADS, Workload

pytestmark = versions(since="6.0")


@behaviour("B-LAY-17", "B-CTX-01")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_call_contexts_of_three_filters_do_not_mix(scene: Scene, probe: Probe, workload: Workload) -> None:
    scene.prepare_notified(workload)
    stack = probe.stack(*THREE)
    for number, each in enumerate(stack, start=1):
        each.on(workload.pre, **scene.scope(workload)).set_call_context(0xC0DE_0000 + number)

    step = scene.perform(workload)

    for number, each in enumerate(stack, start=1):
        (post,) = probe.trace.of(step).seen_by(each).by(workload.post)
        assert post.call_context == 0xC0DE_0000 + number


@behaviour("B-LAY-17", "B-CTX-03")
def test_an_object_context_is_invisible_to_the_others(probe: Probe, registry: Registry) -> None:
    high, middle, low = probe.stack(*THREE)
    middle.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(0x0B1EC7)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    trace = probe.trace.of(write)
    assert [e.object_context for e in trace.seen_by(middle)] == [0x0B1EC7, 0x0B1EC7]
    assert [e.object_context for e in trace.seen_by(high)] == [0, 0]
    assert [e.object_context for e in trace.seen_by(low)] == [0, 0]


@behaviour("B-LAY-18")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_call_context_on_entry(scene: Scene, probe: Probe, record: Recorder, workload: Workload) -> None:
    scene.prepare_notified(workload)
    high, _middle, low = probe.stack(*THREE)
    high.on(workload.pre, **scene.scope(workload)).set_call_context(0x1234)

    step = scene.perform(workload)

    (first,) = probe.trace.of(step).seen_by(high).by(workload.pre)
    (last,) = probe.trace.of(step).seen_by(low).by(workload.pre)
    (post,) = probe.trace.of(step).seen_by(high).by(workload.post)
    assert post.call_context == 0x1234, "what was stored over it"
    record(f"B-LAY-18 {workload}: CallContext on entry of the first callback", first.call_context)
    record(f"B-LAY-18 {workload}: CallContext on entry after another stored one", last.call_context)


@behaviour("B-LAY-17")
def test_a_lower_filter_sees_no_trace_of_a_higher_ones_decision(probe: Probe, registry: Registry) -> None:
    """Informational success above leaves the pre below as it would have been without it."""
    high, _middle, low = probe.stack(*THREE)
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        plain = p.set_value(key, "v", "x")
    high.on(Pre.SetValueKey, under=registry.test_root).succeed(0x103)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        again = p.set_value(key, "v", "x")

    (before,) = probe.trace.of(plain).seen_by(low).by(Pre.SetValueKey)
    (after,) = probe.trace.of(again).seen_by(low).by(Pre.SetValueKey)
    assert (before.name, before["Type"], before["DataSize"]) == (after.name, after["Type"], after["DataSize"])
    assert before.data == after.data
