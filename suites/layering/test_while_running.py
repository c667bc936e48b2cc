"""The stack changes while an operation is under way (B-LAY-20, 21; B-CTX-11)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import HIGH, LOW, MIDDLE, Probe
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.support import behaviour, shown, versions

pytestmark = versions(since="6.0")


@behaviour("B-LAY-20")
@pytest.mark.parametrize("altitude", [HIGH, LOW], ids=["above", "below"])
def test_a_filter_registered_meanwhile_sees_no_post_without_its_pre(
    probe: Probe, registry: Registry, record: Recorder, altitude: str
) -> None:
    """A write stands in the middle filter's pre when the other one is registered."""
    middle = probe.add(MIDDLE)
    gate = probe.gate()
    middle.on(Pre.SetValueKey, under=registry.test_root, value="v").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1, background=True):
            write = p.set_value(key, "v", "x")
        there = gate.await_in(p)
        added = probe.add_in(p, altitude)
        gate.open_in(p)
        p.wait_for(write)
        after = p.set_value(key, "w", "x")

    assert there.in_time
    assert write.begin < added.step.begin < added.step.end < write.end
    seen = probe.trace.of(write).seen_by(added.filter)
    record("B-LAY-20 seen of the operation under way", shown(seen))
    assert seen in ([], [Pre.SetValueKey, Post.SetValueKey]), "no post of an operation whose pre predates it"
    assert probe.trace.of(write).seen_by(middle) == [Pre.SetValueKey, Post.SetValueKey]
    assert probe.trace.of(after).seen_by(added.filter) == [Pre.SetValueKey, Post.SetValueKey]


@behaviour("B-LAY-21", "B-REG-18")
def test_a_filter_unregistered_between_its_pre_and_its_post(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    """A write stands in the lower filter's pre when the higher one, which let it pass, goes."""
    high, low = probe.add(HIGH), probe.add(LOW)
    gate = probe.gate()
    low.on(Pre.SetValueKey, under=registry.test_root, value="v").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1, background=True):
            write = p.set_value(key, "v", "x")
        there = gate.await_in(p)
        with p.on(thread=2, background=True):  # whether it waits for the post isn't documented either
            removal = high.remove_in(p)
        p.mark("the filter is going")
        gate.open_in(p)
        p.wait_for(removal.step)

    assert there.in_time
    assert (write.status, removal.status) == (NTSTATUS.SUCCESS, NTSTATUS.SUCCESS)
    seen = probe.trace.of(write).seen_by(high)
    assert seen.pre == [Pre.SetValueKey]
    assert all(event.time < removal.time for event in seen), "not called once it has returned"
    assert probe.trace.of(write).seen_by(low) == [Pre.SetValueKey, Post.SetValueKey]
    record("B-LAY-21 seen by a filter that went between pre and post", shown(seen))


@behaviour("B-CTX-11")
def test_an_object_context_that_is_replaced_meanwhile(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    """A write stands in its pre with the first context when another thread replaces it."""
    middle = probe.add(MIDDLE)
    gate = probe.gate()
    path = registry.test_root / "app"
    middle.on(Post.CreateKeyEx, key=path).set_object_context(0xC1)
    middle.on(Pre.SetValueKey, key=path, value="stands").stand(gate)
    middle.on(Pre.SetValueKey, key=path, value="replaces").set_object_context(0xC2)

    with registry.program() as p:
        key = p.create_key(path)
        with p.on(thread=1, background=True):
            stands = p.set_value(key, "stands", "x")
        there = gate.await_in(p)
        replaces = p.set_value(key, "replaces", "x")
        gate.open_in(p)
        p.wait_for(stands)
        after = p.query_value(key, "stands")

    assert there.in_time
    assert stands.begin < replaces.begin < replaces.end < stands.end
    pre, post = probe.trace.of(stands).seen_by(middle)
    (before, *_) = probe.trace.of(replaces).seen_by(middle)
    (later, _) = probe.trace.of(after).seen_by(middle)
    assert pre.object_context == before.object_context == 0xC1
    assert later.object_context == 0xC2
    assert post.object_context in (0xC1, 0xC2)
    record("B-CTX-11 context in the post of the operation that stood", hex(post.object_context))
    record("B-CTX-11 old context that replacing gave", hex(probe.trace.of(replaces).actions[0].value))
