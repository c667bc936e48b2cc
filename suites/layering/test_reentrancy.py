"""Registry calls made inside a callback are shown only below it (B-LAY-11, 12, 14, 15; B-REG-28)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import InnerCall, Probe
from harness.registry.notify import NotifyClass, Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.support import THREE, behaviour, versions

INNER_OPEN = [Pre.OpenKeyEx, Post.OpenKeyEx, Pre.KeyHandleClose, Post.KeyHandleClose]


@behaviour("B-LAY-11", "B-LAY-12", "B-INF-01")
@versions(since="6.0")
def test_calls_in_pre_and_post_are_shown_only_below(probe: Probe, registry: Registry) -> None:
    """The counts of the sample: one create, and the middle filter opens and closes a key in both phases."""
    high, middle, low = probe.stack(*THREE)
    inner = registry.test_root / "inner"
    with registry.program() as p:
        p.create_key(inner)
    for phase in (Pre.CreateKeyEx, Post.CreateKeyEx):
        middle.on(phase, under=registry.test_root / "app").call(InnerCall.OPEN_KEY, inner)

    with registry.program() as p:
        step = p.create_key(p.test_root / "app")

    trace = probe.trace.of(step)
    assert step.status == NTSTATUS.SUCCESS
    assert trace.seen_by(high) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    assert trace.seen_by(middle) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    seen = trace.seen_by(low)
    assert len(seen.by(Pre.CreateKeyEx, Pre.OpenKeyEx, Pre.KeyHandleClose)) == 5
    assert len(seen.by(Post.CreateKeyEx, Post.OpenKeyEx, Post.KeyHandleClose)) == 5


@behaviour("B-LAY-11", "B-LAY-12")
@versions(since="6.0")
@pytest.mark.parametrize("phase", [Pre.SetValueKey, Post.SetValueKey], ids=["pre", "post"])
@pytest.mark.parametrize("position", [0, 1, 2], ids=["top", "middle", "bottom"])
def test_a_call_is_shown_strictly_below_its_caller(
    probe: Probe, registry: Registry, phase: NotifyClass, position: int
) -> None:
    stack = probe.stack(*THREE)
    inner = registry.test_root / "inner"
    with registry.program() as p:
        p.create_key(inner)
    stack[position].on(phase, under=registry.test_root, value="trigger").call(InnerCall.OPEN_KEY, inner)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "trigger", "x")

    trace = probe.trace.of(write)
    for place, each in enumerate(stack):
        inside = trace.seen_by(each).by(*INNER_OPEN)
        assert inside == (INNER_OPEN if place > position else []), f"position {place}"
        assert trace.seen_by(each).by(Pre.SetValueKey, Post.SetValueKey) == [
            Pre.SetValueKey,
            Post.SetValueKey,
        ]


@behaviour("B-LAY-14")
@versions(since="6.0")
@pytest.mark.parametrize("call", list(InnerCall), ids=lambda c: c.name.lower().replace("_", "-"))
def test_a_single_filter_does_not_see_itself(probe: Probe, registry: Registry, call: InnerCall) -> None:
    only = probe.add(THREE[1])
    inner = registry.test_root / "inner"
    with registry.program() as p:
        p.set_value(p.create_key(inner), "v", "x")
        p.create_key(inner / "child")
    only.on(Pre.SetValueKey, key=registry.test_root / "app").call(call, inner, value="v", data=b"y")

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "trigger", "x")

    assert write.status == NTSTATUS.SUCCESS
    assert probe.trace.of(write).seen_by(only) == [Pre.SetValueKey, Post.SetValueKey]


@behaviour("B-LAY-11")
@versions(since="6.0")
def test_calls_nest_one_layer_at_a_time(probe: Probe, registry: Registry) -> None:
    """Top calls, middle answers that call with one of its own, bottom sees both."""
    high, middle, low = probe.stack(*THREE)
    first, second = registry.test_root / "first", registry.test_root / "second"
    with registry.program() as p:
        p.create_key(first)
        p.create_key(second)
    high.on(Pre.SetValueKey, under=registry.test_root, value="trigger").call(InnerCall.OPEN_KEY, first)
    middle.on(Pre.OpenKeyEx, key=first).call(InnerCall.OPEN_KEY, second)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "trigger", "x")

    trace = probe.trace.of(write)
    assert trace.seen_by(high).by(Pre.OpenKeyEx) == []
    assert len(trace.seen_by(middle).by(Pre.OpenKeyEx)) == 1
    assert len(trace.seen_by(low).by(Pre.OpenKeyEx)) == 2


@behaviour("B-LAY-13")
@versions(since="6.0")
def test_a_call_from_another_thread(probe: Probe, registry: Registry, record: Recorder) -> None:
    """A system thread opens the key while the middle filter waits for it."""
    high, middle, low = probe.stack(*THREE)
    inner = registry.test_root / "inner"
    with registry.program() as p:
        p.create_key(inner)
    rule = middle.on(Pre.SetValueKey, under=registry.test_root, value="trigger")
    rule.call(InnerCall.OPEN_KEY, inner, work_item=True)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "trigger", "x")

    opens = probe.trace.between(write).by(Pre.OpenKeyEx).under(inner)
    counts = {name: len(opens.seen_by(each)) for name, each in zip("HML", (high, middle, low), strict=True)}
    assert any(counts.values())
    record("B-LAY-13 opens by a work item, seen at high, middle, low", counts)


@behaviour("B-LAY-15")
@versions(until="5.2")
def test_recursion_before_layering(probe: Probe, registry: Registry, record: Recorder) -> None:
    one, two = probe.add(None, legacy=True), probe.add(None, legacy=True)
    inner = registry.test_root / "inner"
    with registry.program() as p:
        p.create_key(inner)
    one.on(Pre.SetValueKey, under=registry.test_root, value="trigger").call(InnerCall.OPEN_KEY, inner)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "trigger", "x")

    trace = probe.trace.of(write)
    assert trace.seen_by(one).by(Pre.SetValueKey)
    assert trace.seen_by(two).by(Pre.SetValueKey)
    record("B-LAY-15 events of the calling filter", len(trace.seen_by(one)))
    record("B-LAY-15 events of the other filter", len(trace.seen_by(two)))
