"""Differences between Windows versions (B-VER-01..13; B-REG-26..28)."""

from __future__ import annotations

import pytest

from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.notify import NotifyClass, Pre
from harness.registry.structures import layout
from harness.workload import Registry
from suites.support import behaviour, shown, versions
from suites.workloads import workloads


@behaviour("B-VER-01")
def test_numbers_of_the_classes(probe: Probe, registry: Registry) -> None:
    """Sampled at both ends of the original range and in the classes that came with each release."""
    known = {
        "RegNtPreDeleteKey": 0, "RegNtPreSetValueKey": 1, "RegNtPreKeyHandleClose": 14,
        "RegNtPostDeleteKey": 15, "RegNtPostKeyHandleClose": 25, "RegNtPreCreateKeyEx": 26,
        "RegNtPostOpenKeyEx": 29, "RegNtPreFlushKey": 30, "RegNtPreLoadKey": 32, "RegNtPreUnLoadKey": 34,
        "RegNtPreQueryKeySecurity": 36,
        "RegNtCallbackObjectContextCleanup": 40, "RegNtPreRestoreKey": 41, "RegNtPreReplaceKey": 45,
        "RegNtPreQueryKeyName": 47, "RegNtPostSaveMergedKey": 50,
    }  # fmt: skip
    named = {each.documented_name: int(each) for each in NotifyClass}
    assert {name: named[name] for name in known} == known

    probe.add_monitor()
    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")
    assert probe.trace.of(write).column("notify_class").tolist()[0] == 1


@behaviour("B-VER-02", "B-REG-26", "B-VER-13")
@versions(until="5.1")
def test_xp_has_posts_for_create_and_open_only(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        missing = p.open_key(p.test_root / "missing")
        write = p.set_value(key, "v", "x")

    assert probe.trace.of(key) == [NotifyClass.PRE_CREATE_KEY, NotifyClass.POST_CREATE_KEY]
    assert probe.trace.of(write) == [Pre.SetValueKey]
    record("B-VER-13 classes of a failed open", shown(probe.trace.of(missing)))


@behaviour("B-VER-03", "B-REG-27")
@versions(since="5.2")
def test_the_xp_create_and_open_classes_are_gone(guest: Guest, probe: Probe, registry: Registry) -> None:
    probe.add_monitor()

    with registry.program() as p:
        steps = [p.create_key(p.test_root / "app"), p.open_key(p.test_root / "app")]

    for step, workload in zip(steps, workloads("create", "open"), strict=True):
        assert probe.trace.of(step) == workload.expected(guest.info.version)
        assert {10, 11, 12, 13}.isdisjoint(probe.trace.of(step).classes)


@behaviour("B-NOT-11")
@versions(until="5.2")
def test_bypass_before_vista(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add_monitor().on(Pre.SetValueKey, under=registry.test_root, value="v").return_(0xC0000503)

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    assert probe.trace.of(write).by(Pre.SetValueKey)
    record("B-NOT-11 status the caller sees", write.status_name)


@behaviour("B-VER-06", "B-VER-07")
@versions(since="6.0")
@pytest.mark.parametrize("call", ["create", "open"])
def test_the_structure_version_of_create_and_open(
    guest: Guest, probe: Probe, registry: Registry, record: Recorder, call: str
) -> None:
    """The slot that is called Reserved in the first structure and Version in V1."""
    probe.add_monitor()

    with registry.program() as p:
        step = p.create_key(p.test_root / "app")
        if call == "open":
            step = p.open_key(p.test_root / "app")

    (pre,) = probe.trace.of(step).pre
    first = layout(Pre.CreateKeyEx, guest.info.version, guest.info.arch.pointer_size)
    slot = pre["Version"] if "Version" in first else pre["Reserved"]
    record("B-VER-07 structure version", slot)
    assert slot == (1 if guest.info.version.number >= (6, 1, 0) else 0)


@behaviour("B-VER-11", "B-REG-28")
@versions(until="5.2")
def test_the_short_structures(guest: Guest, probe: Probe, registry: Registry) -> None:
    """No context, no ReturnStatus, no PreInformation: the probe reads none of them."""
    probe.add_monitor()

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    for event in probe.trace.of(write):
        assert "CallContext" not in event.scalars
        assert "PreInformation" not in event.scalars
        assert (event.call_context, event.object_context) == (0, 0)


@behaviour("B-VER-11", "B-REG-28")
@versions(since="6.0")
def test_the_members_that_came_with_vista(probe: Probe, registry: Registry) -> None:
    probe.add_monitor()

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    pre, post = probe.trace.of(write)
    assert {"CallContext", "ObjectContext", "Reserved"} <= set(pre.scalars)
    assert {"PreInformation", "ReturnStatus", "CallContext", "ObjectContext"} <= set(post.scalars)
    assert post["PreInformation"] != 0


@behaviour("B-VER-12", "B-NOT-01")
def test_the_members_lie_where_the_layout_says(probe: Probe, registry: Registry) -> None:
    """Every scalar of a set value, by what the requester passed."""
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", b"12345", title_index=7)

    (pre,) = probe.trace.of(write).pre
    assert (pre["TitleIndex"], pre["Type"], pre["DataSize"]) == (7, 3, 5)
    assert (pre.name, pre.data) == ("v", b"12345")
    assert pre["Object"] == pre.object != 0
