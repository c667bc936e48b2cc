"""Unregistering: statuses, and that nothing is delivered afterwards (B-REG-18..21)."""

from __future__ import annotations

import pytest

from harness.probe import Probe
from harness.registry.notify import NotifyClass, Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.support import MIDDLE, THREE, behaviour, versions


@behaviour("B-REG-20")
@pytest.mark.parametrize("cookie", [0, 0x1234_5678, 0xFFFF_FFFF_FFFF_FFFF], ids=hex)
def test_an_unknown_cookie_is_an_invalid_parameter(probe: Probe, cookie: int) -> None:
    assert probe.unregister_cookie(cookie).status == NTSTATUS.INVALID_PARAMETER


@behaviour("B-REG-20", "B-REG-19")
def test_a_cookie_can_be_used_once(probe: Probe) -> None:
    filter_ = probe.add_monitor()
    cookie = filter_.cookie
    assert filter_.remove().status == NTSTATUS.SUCCESS
    assert probe.unregister_cookie(cookie).status == NTSTATUS.INVALID_PARAMETER


@behaviour("B-REG-18")
def test_nothing_is_delivered_before_or_after(probe: Probe, registry: Registry) -> None:
    with registry.program() as p:
        before = p.set_value(p.create_key(p.test_root / "app"), "v", "x")
    filter_ = probe.add_monitor()
    with registry.program() as p:
        during = p.set_value(p.create_key(p.test_root / "app"), "v", "x")
    filter_.remove()
    with registry.program() as p:
        after = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    assert probe.trace.of(before) == []
    assert len(probe.trace.of(during)) >= 1
    assert probe.trace.of(after) == []


@behaviour("B-REG-18")
def test_nothing_is_delivered_once_unregistering_returned(probe: Probe, registry: Registry) -> None:
    """The program itself removes the filter between two writes."""
    filter_ = probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        first = p.set_value(key, "v", "x")
        removal = filter_.remove_in(p)
        second = p.set_value(key, "v", "x")
        close = p.close(key)

    assert len(probe.trace.of(first)) >= 1
    assert removal.status == NTSTATUS.SUCCESS
    assert probe.trace.of(second) == []
    assert probe.trace.of(close) == []


@behaviour("B-REG-10", "B-REG-18")
@versions(since="6.0")
@pytest.mark.parametrize("gone", [0, 1, 2], ids=["top", "middle", "bottom"])
def test_the_others_stay_when_one_goes(probe: Probe, registry: Registry, gone: int) -> None:
    stack = list(probe.stack(*THREE))
    leaver = stack.pop(gone)
    leaver.remove()

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    assert probe.trace.of(write).seen_by(leaver) == []
    for each in stack:
        assert probe.trace.of(write).seen_by(each) == [Pre.SetValueKey, Post.SetValueKey]


@behaviour("B-REG-05", "B-REG-13", "B-REG-18")
@versions(since="6.0")
def test_registering_again_and_again(probe: Probe, registry: Registry) -> None:
    cookies = []
    for _ in range(20):
        filter_ = probe.add(MIDDLE)
        cookies.append(filter_.cookie)
        with registry.program() as p:
            write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")
        assert probe.trace.of(write) == [Pre.SetValueKey, Post.SetValueKey]
        assert filter_.remove().status == NTSTATUS.SUCCESS
    assert probe.statistics.filters == 0


@behaviour("B-REG-21", "B-REG-18")
@pytest.mark.parametrize(
    "stands_in",
    [
        pytest.param(Pre.SetValueKey, id="pre"),
        pytest.param(Post.SetValueKey, id="post", marks=versions(since="6.0")),
    ],
)
def test_unregistering_waits_for_a_running_callback(
    probe: Probe, registry: Registry, stands_in: NotifyClass
) -> None:
    """Another thread unregisters while a write stands in the callback; the program goes on meanwhile."""
    monitor = probe.add_monitor()
    gate = probe.gate()
    monitor.on(stands_in, under=registry.test_root, value="v").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1, background=True):
            write = p.set_value(key, "v", "x")
        there = gate.await_in(p)
        with p.on(thread=2, background=True):
            removal = monitor.remove_in(p)
        for number in range(20):  # time for a routine that doesn't wait to return
            p.set_value(key, f"beside {number}", number)
        opened = gate.open_in(p)
        p.wait_for(removal.step)
        after = p.set_value(key, "v", "y")

    assert there.in_time
    assert (write.status, removal.status) == (NTSTATUS.SUCCESS, NTSTATUS.SUCCESS)
    assert removal.time > opened.time, "not before the callback was let go"
    events = [event for event in probe.trace if event.filter_id == monitor.id]
    assert max(event.time for event in events) < removal.time, "B-REG-18: nothing after it returned"
    assert probe.trace.of(after) == []
