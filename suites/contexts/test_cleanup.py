"""RegNtCallbackObjectContextCleanup: when it comes, to whom, and how often (B-CTX-12..16; B-REG-25)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.notify import NotifyClass, Post, Pre
from harness.workload import Registry
from suites.support import MIDDLE, THREE, behaviour, versions

pytestmark = versions(since="6.0")

CLEANUP = NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP
TAG = 0x0B1EC7


@behaviour("B-CTX-13", "B-CTX-14")
def test_it_comes_between_pre_and_post_of_the_last_close(probe: Probe, registry: Registry) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        close = p.close(key)

    trace = probe.trace.of(close)
    assert trace == [Pre.KeyHandleClose, CLEANUP, Post.KeyHandleClose]
    assert trace.by(CLEANUP)[0].object_context == TAG


@behaviour("B-CTX-13", "B-NOT-42")
def test_a_remaining_duplicate_keeps_the_context(probe: Probe, registry: Registry) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        copy = p.duplicate_handle(key)
        first = p.close(key)
        last = p.close(copy)

    assert probe.trace.of(first).by(CLEANUP) == []
    assert [e.object_context for e in probe.trace.of(last).by(CLEANUP)] == [TAG]


@behaviour("B-CTX-15")
def test_it_comes_only_to_whoever_set_a_context(probe: Probe, registry: Registry) -> None:
    high, middle, low = probe.stack(*THREE)
    middle.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        close = p.close(key)

    trace = probe.trace.of(close)
    assert trace.seen_by(middle) == [Pre.KeyHandleClose, CLEANUP, Post.KeyHandleClose]
    assert trace.seen_by(high) == [Pre.KeyHandleClose, Post.KeyHandleClose]
    assert trace.seen_by(low) == [Pre.KeyHandleClose, Post.KeyHandleClose]


@behaviour("B-CTX-15", "B-CTX-03")
def test_every_filter_gets_its_own_value_back(probe: Probe, registry: Registry) -> None:
    stack = probe.stack(*THREE)
    for number, each in enumerate(stack, start=1):
        each.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG + number)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        close = p.close(key)

    for number, each in enumerate(stack, start=1):
        assert [e.object_context for e in probe.trace.of(close).seen_by(each).by(CLEANUP)] == [TAG + number]


@behaviour("B-CTX-12")
def test_cleanups_after_a_replacement(probe: Probe, registry: Registry, record: Recorder) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(0x11)
    monitor.on(Post.SetValueKey, under=registry.test_root).set_object_context(0x22)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", "x")
        close = p.close(key)

    values = [e.object_context for e in probe.trace.of(close).by(CLEANUP)]
    record("B-CTX-12 values of the cleanups after a replacement", values)
    assert 0x22 in values, "the last context is given back"


@behaviour("B-REG-25", "B-OBJ-15")
@pytest.mark.parametrize("count", [0, 1, 7])
def test_unregistering_gives_every_context_back_before_it_returns(
    probe: Probe, registry: Registry, count: int
) -> None:
    """The filter is removed by the program itself, while its keys are open."""
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, under=registry.test_root / "tagged").set_object_context(TAG)

    with registry.program() as p:
        for number in range(count):
            p.create_key(p.test_root / "tagged" / f"key{number}" if number else p.test_root / "tagged")
        p.create_key(p.test_root / "plain")
        removal = monitor.remove_in(p)

    assert removal.cleanups == count
    cleanups = probe.trace.by(CLEANUP).seen_by(monitor)
    assert [e.object_context for e in cleanups] == [TAG] * count
    assert probe.statistics.live_contexts == 0


@behaviour("B-CTX-16")
def test_no_second_cleanup_when_the_handle_is_closed_later(probe: Probe, registry: Registry) -> None:
    high, middle, _low = probe.stack(*THREE)
    middle.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        middle.remove_in(p)
        close = p.close(key)

    assert probe.trace.of(close).by(CLEANUP) == []
    assert probe.trace.of(close).seen_by(high) == [Pre.KeyHandleClose, Post.KeyHandleClose]
    assert len(probe.trace.by(CLEANUP)) == 1


@behaviour("B-CTX-13")
def test_every_context_is_given_back_in_the_end(probe: Probe, registry: Registry) -> None:
    """A hundred keys, some contexts replaced, some handles duplicated: each gives its last value back."""
    monitor = probe.add(MIDDLE)
    root = registry.test_root
    monitor.on(Post.CreateKeyEx, under=root).set_object_context(1)
    monitor.on(Post.SetValueKey, under=root, value="replace").set_object_context(2)

    with registry.program() as p:
        keys = [p.create_key(p.test_root / f"key{number}") for number in range(100)]
        for key in keys[::3]:
            p.set_value(key, "replace", "x")
        for key in keys[::7]:
            p.close(p.duplicate_handle(key))

    last = [e.object_context for e in probe.trace.by(CLEANUP)]
    assert last.count(2) == len(keys[::3])
    assert probe.statistics.live_contexts == 0
