"""Symbolic links: creating them, following them, opening the link itself (B-CRE-20..22)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.probe.event import class_name
from harness.registry.access import KEY_ALL_ACCESS, KEY_READ, ObjectAttributes
from harness.registry.notify import Post, Pre
from harness.registry.options import KeyOptions
from harness.registry.paths import same_path
from harness.registry.status import NTSTATUS, nt_success
from harness.registry.valuetypes import ValueType
from harness.workload import ProgramBuilder, Registry, Step
from suites.support import MIDDLE, behaviour, versions

pytestmark = versions(since="5.2")

LINK_ITSELF = ObjectAttributes.CASE_INSENSITIVE | ObjectAttributes.OPENLINK


def make_link(p: ProgramBuilder, name: str, target: str) -> tuple[Step, Step]:
    """A volatile link key below the test root; the target is an absolute path without a terminator."""
    link = p.create_key(p.test_root / name, options=KeyOptions.CREATE_LINK | KeyOptions.VOLATILE)
    return link, p.set_value(link, "SymbolicLinkValue", target, type=ValueType.LINK)


@behaviour("B-CRE-22")
@versions(since="6.0")
def test_a_link_is_a_key_and_a_value(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        p.set_value(p.create_key(p.test_root / "target"), "v", "behind the link")
        link, value = make_link(p, "link", str(p.test_root / "target"))
        through = p.open_key(p.test_root / "link", access=KEY_READ)
        read = p.query_value(through, "v")

    assert link.status == value.status == NTSTATUS.SUCCESS
    assert probe.trace.of(link) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    (pre,) = probe.trace.of(value).by(Pre.SetValueKey)
    assert (pre.name, pre["Type"]) == ("SymbolicLinkValue", ValueType.LINK)
    assert read.text == "behind the link"


@behaviour("B-CRE-20", "B-OBJ-02")
@versions(since="6.0")
def test_following_a_link(probe: Probe, registry: Registry, record: Recorder) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "target")
        make_link(p, "link", str(p.test_root / "target"))
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.open_key(p.test_root / "link", access=KEY_READ)

    trace = probe.trace.of(step)
    assert step.status == NTSTATUS.SUCCESS
    shown = [(class_name(e.notify_class), e.name, hex(e.status)) for e in trace]
    record("B-CRE-20 sequence", shown)
    assert same_path(trace.pre[0].name, registry.test_root / "link")
    assert trace.post[-1].status == NTSTATUS.SUCCESS


@behaviour("B-CRE-21")
@versions(since="6.1")
@pytest.mark.parametrize("how", ["option", "attribute"])
def test_opening_the_link_itself(probe: Probe, registry: Registry, how: str) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "target")
        make_link(p, "link", str(p.test_root / "target"))
    probe.add(MIDDLE)

    with registry.program() as p:
        path = p.test_root / "link"
        if how == "option":
            step = p.open_key(path, access=KEY_ALL_ACCESS, options=KeyOptions.OPEN_LINK)
        else:
            step = p.open_key(path, access=KEY_ALL_ACCESS, attributes=LINK_ITSELF)
        read = p.query_value(step, "SymbolicLinkValue")

    assert step.status == read.status == NTSTATUS.SUCCESS
    assert probe.trace.of(step) == [Pre.OpenKeyEx, Post.OpenKeyEx]
    (pre,) = probe.trace.of(step).pre
    member, flag = (
        ("Options", KeyOptions.OPEN_LINK) if how == "option" else ("Attributes", ObjectAttributes.OPENLINK)
    )
    assert pre[member] & flag


@behaviour("B-CRE-21")
def test_opening_a_link_without_the_option(registry: Registry, record: Recorder) -> None:
    """The target, as links are followed by default, or the status that the page gives; never the link."""
    with registry.program() as p:
        p.set_value(p.create_key(p.test_root / "target"), "of", "the target")
        make_link(p, "link", str(p.test_root / "target"))
        step = p.open_key(p.test_root / "link", access=KEY_READ)
        read = p.query_value(step, "of")

    record("B-CRE-21 status without the option", step.status_name)
    assert step.status in (NTSTATUS.SUCCESS, NTSTATUS.OBJECT_TYPE_MISMATCH)
    if step.succeeded:
        assert read.text == "the target"


@behaviour("B-CRE-20")
@pytest.mark.parametrize("target", ["missing", "itself"])
def test_links_that_lead_nowhere(probe: Probe, registry: Registry, record: Recorder, target: str) -> None:
    probe.add_monitor()

    with registry.program() as p:
        make_link(p, "link", str(p.test_root / ("missing" if target == "missing" else "link")))
        step = p.open_key(p.test_root / "link", access=KEY_READ)

    assert not nt_success(step.status)
    opened = probe.trace.of(step).pre
    assert opened, "the open was seen"
    record(f"B-CRE-20 link to {target}", (step.status_name, len(opened)))


@behaviour("B-INF-04")
@versions(since="6.0")
def test_the_name_of_a_key_reached_through_a_link(probe: Probe, registry: Registry, record: Recorder) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "target")
        make_link(p, "link", str(p.test_root / "target"))
    probe.add(MIDDLE).on(Pre.QueryKey, under=registry.test_root).fetch_name()

    with registry.program() as p:
        step = p.query_key(p.open_key(p.test_root / "link", access=KEY_READ))

    (action,) = probe.trace.of(step).actions
    record("B-INF-04 name through a link", action.key_name.rpartition("\\")[2])
    assert action.key_name.upper().startswith("\\REGISTRY\\")
