"""The story in a dozen tests: what a registry filter is told, what it can do, and who else notices.

`make demo` runs this file on every modelled Windows.
"""

from __future__ import annotations

import struct

from harness.guest import Guest
from harness.probe import InnerCall, Probe
from harness.registry.notify import NotifyClass, Post, Pre, delivered_by
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.support import HIGH, LOW, MIDDLE, THREE, behaviour, requires, versions

TAG = 0x0B1EC7


@behaviour("B-NOT-01", "B-NOT-03", "B-NOT-17")
def test_a_filter_is_told_before_and_after(guest: Guest, probe: Probe, registry: Registry) -> None:
    watcher = probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "colour", "red")

    known = delivered_by(guest.info.version)  # XP tells nothing afterwards
    seen = probe.trace.of(write).seen_by(watcher)
    assert write.succeeded
    assert seen == [c for c in (Pre.SetValueKey, Post.SetValueKey) if c in known]
    assert (seen[0].name, seen[0].data.decode("utf-16-le")) == ("colour", "red\0")


@behaviour("B-NOT-05", "B-NOT-07")
def test_a_blocked_write_fails_and_writes_nothing(probe: Probe, registry: Registry) -> None:
    guard = probe.add(MIDDLE)
    guard.on(Pre.SetValueKey, under=registry.test_root, value="secret").block(NTSTATUS.ACCESS_DENIED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "secret", "x")
        other = p.set_value(key, "public", "x")
        read = p.query_value(key, "secret")

    assert write.status == NTSTATUS.ACCESS_DENIED
    assert other.succeeded
    assert read.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


@versions(since="6.0")
@behaviour("B-LAY-03", "B-LAY-05")
def test_a_block_in_the_middle_is_seen_above_and_hidden_below(probe: Probe, registry: Registry) -> None:
    high, middle, low = probe.stack(*THREE)
    middle.on(Pre.SetValueKey, under=registry.test_root, value="secret").block(NTSTATUS.ACCESS_DENIED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "secret", "x")

    assert write.status == NTSTATUS.ACCESS_DENIED
    assert probe.trace.of(write).seen_by(high) == [Pre.SetValueKey, Post.SetValueKey]
    assert probe.trace.of(write).seen_by(middle) == [Pre.SetValueKey]
    assert probe.trace.of(write).seen_by(low) == []


@versions(since="6.0")
@behaviour("B-LAY-01", "B-REG-07")
def test_higher_altitudes_are_asked_first(probe: Probe, registry: Registry) -> None:
    low, high = probe.add(LOW), probe.add(HIGH)  # whatever the order of registration

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")

    asked = [event.filter_id for event in probe.trace.of(key).by(Pre.CreateKeyEx)]
    assert asked == [high.id, low.id]


@versions(since="6.0")
@behaviour("B-NOT-09", "B-NOT-12")
def test_a_bypassing_filter_answers_in_the_systems_place(probe: Probe, registry: Registry) -> None:
    forged = struct.pack("<IIII", 0, 4, 4, 42)  # KEY_VALUE_PARTIAL_INFORMATION of a REG_DWORD
    probe.add(MIDDLE).on(Pre.QueryValueKey, under=registry.test_root, value="answer").bypass_output(forged)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "answer", 7)
        read = p.query_value(key, "answer")

    assert read.status == NTSTATUS.SUCCESS
    assert read.dword == 42


@versions(since="6.0")
@behaviour("B-NOT-20", "B-NOT-25")
def test_a_success_overridden_afterwards_was_still_done(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE).on(Post.SetValueKey, under=registry.test_root).override(NTSTATUS.ACCESS_DENIED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "colour", "red")
        read = p.query_value(key, "colour")

    assert write.status == NTSTATUS.ACCESS_DENIED
    assert read.text == "red"


@versions(since="6.0")
@behaviour("B-CTX-01")
def test_a_call_context_travels_from_before_to_after(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE).on(Pre.SetValueKey, under=registry.test_root).set_call_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "colour", "red")

    (after,) = probe.trace.of(write).by(Post.SetValueKey)
    assert after.call_context == TAG


@versions(since="6.0")
@behaviour("B-CTX-03", "B-CTX-13", "B-CTX-14")
def test_an_object_context_lives_until_the_key_is_closed(probe: Probe, registry: Registry) -> None:
    watcher = probe.add(MIDDLE)
    watcher.on(Post.CreateKeyEx, key=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "colour", "red")
        close = p.close(key)

    assert {event.object_context for event in probe.trace.of(write)} == {TAG}
    closing = probe.trace.of(close)
    cleanup = NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP
    assert closing == [Pre.KeyHandleClose, cleanup, Post.KeyHandleClose]
    assert closing[1].object_context == TAG


@behaviour("B-NOT-36")
@versions(since="5.2")
def test_a_close_can_be_watched_and_not_stopped(probe: Probe, registry: Registry) -> None:
    watcher = probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        close = p.close(key)
        again = p.set_value(key, "colour", "red")

    assert close.succeeded
    assert probe.trace.of(close).seen_by(watcher) == [Pre.KeyHandleClose, Post.KeyHandleClose]
    assert again.status == NTSTATUS.INVALID_HANDLE


@versions(since="6.0")
@behaviour("B-LAY-11")
def test_a_filters_own_calls_are_shown_below_it_only(probe: Probe, registry: Registry) -> None:
    high, middle, low = probe.stack(*THREE)
    middle.on(Pre.SetValueKey, under=registry.test_root, value="colour").call(
        InnerCall.OPEN_KEY, registry.test_root / "app"
    )

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "colour", "red")

    opened = [event.filter_id for event in probe.trace.of(write).by(Pre.OpenKeyEx)]
    assert opened == [low.id]
    assert {high.id, middle.id}.isdisjoint(opened)


@versions(since="6.0")
@requires("app-hives")
@behaviour("B-APP-01", "B-APP-02")
def test_application_hives_are_filtered_like_any_other(
    probe: Probe, registry: Registry, app_hive: str
) -> None:
    guard = probe.add(MIDDLE)
    guard.on(Pre.SetValueKey, value="secret").fetch_name().block(NTSTATUS.ACCESS_DENIED)

    with registry.program() as p:
        hive = p.load_app_key(app_hive)
        key = p.create_key(hive / "settings")
        write = p.set_value(key, "secret", "x")

    assert hive.succeeded
    assert write.status == NTSTATUS.ACCESS_DENIED
    (told,) = probe.trace.of(write).actions
    assert told.key_name.upper().startswith("\\REGISTRY\\A\\")


@behaviour("B-REG-18")
def test_a_removed_filter_is_told_nothing_more(probe: Probe, registry: Registry) -> None:
    gone, stays = probe.add(LOW), probe.add(HIGH)
    gone.remove()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")

    assert probe.trace.of(key).seen_by(gone) == []
    assert len(probe.trace.of(key).seen_by(stays)) >= 1
