"""Handles that a callback opened and somebody else closes (B-LAY-16)."""

from __future__ import annotations

from harness.probe import HIGH, LOW, Probe
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.features import Feature, Features
from suites.support import behaviour, versions


@behaviour("B-LAY-16")
@versions(since="6.0")
def test_a_close_outside_of_callbacks_is_shown_to_all(
    probe: Probe, registry: Registry, features: Features
) -> None:
    """The middle filter opens a key in its pre callback; a system thread closes the handle later."""
    high, low = probe.add(HIGH), probe.add(LOW)

    *statuses, closer, _ = features.run(Feature.LATE, registry.test_root)

    assert statuses == [NTSTATUS.SUCCESS] * 6
    closes = probe.trace.process(closer)
    (late,) = closes.seen_by(low).by(Pre.KeyHandleClose)
    opened = [event for event in probe.trace.by(Post.OpenKeyEx) if event.object == late.object]
    assert [event.filter_id for event in opened] == [low.id], "opened inside the callback"
    for each in (high, low):
        assert closes.seen_by(each) == [Pre.KeyHandleClose, Post.KeyHandleClose]
