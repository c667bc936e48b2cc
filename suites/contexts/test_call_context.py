"""CallContext: from the pre to the post of one operation (B-CTX-01, 02)."""

from __future__ import annotations

import pytest

from harness.probe import InnerCall, Probe
from harness.registry.notify import NotifyClass, Post, Pre
from harness.workload import Registry
from suites.scene import Scene
from suites.support import MIDDLE, THREE, behaviour, versions
from suites.workloads import WORKLOADS, Workload

pytestmark = versions(since="6.0")


@behaviour("B-CTX-01")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_what_pre_stores_arrives_in_post(scene: Scene, probe: Probe, workload: Workload) -> None:
    scene.prepare_notified(workload)
    monitor = probe.add(MIDDLE)
    monitor.on(workload.pre, **scene.scope(workload)).set_call_context(0x5EED)

    step = scene.perform(workload)

    (post,) = probe.trace.of(step).by(workload.post)
    assert post.call_context == 0x5EED


@behaviour("B-CTX-01")
def test_nothing_stored_means_null_in_post(probe: Probe, registry: Registry) -> None:
    """Contexts of earlier operations leave no trace."""
    monitor = probe.add(MIDDLE)
    monitor.on(Pre.SetValueKey, under=registry.test_root, value="first").set_call_context(0x5EED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        first = p.set_value(key, "first", "x")
        second = p.set_value(key, "second", "x")

    (post,) = probe.trace.of(first).by(Post.SetValueKey)
    assert post.call_context == 0x5EED
    pre, post = probe.trace.of(second)
    assert post.call_context == pre.call_context


@behaviour("B-CTX-02")
def test_operations_on_one_key_keep_their_contexts_apart(probe: Probe, registry: Registry) -> None:
    monitor = probe.add(MIDDLE)
    for number in range(8):
        monitor.on(Pre.SetValueKey, under=registry.test_root, value=f"v{number}").set_call_context(
            100 + number
        )

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        writes = []
        for number in range(8):
            with p.on(thread=number % 4):
                writes.append(p.set_value(key, f"v{number}", number))

    for number, write in enumerate(writes):
        (post,) = probe.trace.of(write).by(Post.SetValueKey)
        assert post.call_context == 100 + number


@behaviour("B-CTX-02")
@pytest.mark.parametrize("stands_in", [Pre.SetValueKey, Post.SetValueKey], ids=["pre", "post"])
def test_operations_at_one_time_keep_their_contexts_apart(
    probe: Probe, registry: Registry, stands_in: NotifyClass
) -> None:
    """One write stands in a callback of the lower filter while another of the same key goes all the way."""
    high, low = probe.stack("380020.7301", "380000.7301")
    gate = probe.gate()
    for each, number in ((high, 100), (low, 200)):
        for offset, name in enumerate(("first", "second")):
            each.on(Pre.SetValueKey, under=registry.test_root, value=name).set_call_context(number + offset)
    low.on(stands_in, under=registry.test_root, value="first").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1, background=True):
            first = p.set_value(key, "first", "x")
        there = gate.await_in(p)
        second = p.set_value(key, "second", "x")
        gate.open_in(p)

    assert there.in_time
    assert first.begin < second.begin < second.end < first.end
    for offset, write in enumerate((first, second)):
        trace = probe.trace.of(write)
        posts = {each: trace.seen_by(each).by(Post.SetValueKey)[0].call_context for each in (high, low)}
        assert posts == {high: 100 + offset, low: 200 + offset}


@behaviour("B-CTX-02", "B-LAY-12")
def test_an_operation_inside_another_has_a_context_of_its_own(probe: Probe, registry: Registry) -> None:
    """The low filter is between pre and post of the outer write while the middle one's post writes again."""
    _high, middle, low = probe.stack(*THREE)
    path = registry.test_root / "app"
    with registry.program() as p:
        p.create_key(path)
    low.on(Pre.SetValueKey, under=registry.test_root, value="outer").set_call_context(1)
    low.on(Pre.SetValueKey, under=registry.test_root, value="inner").set_call_context(2)
    for phase in (Pre.SetValueKey, Post.SetValueKey):
        middle.on(phase, key=path).call(InnerCall.SET_VALUE, path, value="inner", data=b"x")

    with registry.program() as p:
        write = p.set_value(p.open_key(path), "outer", "x")

    contexts = {(e.name, e.call_context) for e in probe.trace.of(write).seen_by(low).by(Post.SetValueKey)}
    assert contexts == {("outer", 1), ("inner", 2)}
