"""Names and root objects of create and open (B-CRE-01..05, 13..17, 26)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.notify import Post, Pre
from harness.registry.options import REG_CREATED_NEW_KEY, REG_OPENED_EXISTING_KEY
from harness.registry.paths import REGISTRY, same_path
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.support import MIDDLE, behaviour, shown, versions

pytestmark = versions(since="6.0")


@behaviour("B-CRE-01", "B-CRE-03", "B-CRE-05")
@pytest.mark.parametrize("call", ["create", "open"])
def test_an_absolute_name_is_relative_to_registry(probe: Probe, registry: Registry, call: str) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.create_key(p.test_root / "app")
        if call == "open":
            step = p.open_key(p.test_root / "app")

    (pre,) = probe.trace.of(step).pre
    assert pre.name == registry.test_root / "app"
    assert pre.root_object != 0
    assert same_path(pre.key_name, REGISTRY)


@behaviour("B-CRE-02", "B-CRE-03", "B-CRE-05")
@pytest.mark.parametrize("name", ["child", "child\\grandchild"])
@pytest.mark.parametrize("call", ["create", "open"])
def test_a_relative_name_is_relative_to_its_root(
    probe: Probe, registry: Registry, call: str, name: str
) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.create_key(key / "child")
        step = p.create_key(key / name)
        if call == "open":
            step = p.open_key(key / name)

    (pre,) = probe.trace.of(step).pre
    assert pre.name == name
    assert same_path(pre.key_name, registry.test_root / "app")
    (created,) = probe.trace.of(key).by(Post.CreateKeyEx)
    assert pre.root_object == created.object, "the object of the RootDirectory handle"


@behaviour("B-CRE-03", "B-CRE-26")
def test_an_empty_name(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        step = p.open_key(None, root=key)
        write = p.set_value(step, "v", "x")

    assert step.status == write.status == NTSTATUS.SUCCESS
    assert step.handle != key.handle
    (pre,) = probe.trace.of(step).by(Pre.OpenKeyEx)
    assert pre.root_object != 0
    record("B-CRE-26 CompleteName of an empty name", (pre.name, pre.spans.name.length))


@behaviour("B-CRE-04")
@versions(since="6.1")
def test_remaining_name(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        absolute = p.create_key(p.test_root / "app")
        relative = p.create_key(absolute / "child")

    (pre,) = probe.trace.of(absolute).by(Pre.CreateKeyEx)
    assert pre.second_name == str(registry.test_root / "app").removeprefix("\\REGISTRY\\")
    (pre,) = probe.trace.of(relative).by(Pre.CreateKeyEx)
    assert pre.second_name == pre.name == "child"


@behaviour("B-CRE-13", "B-CRE-14")
def test_disposition_tells_created_from_opened(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        created = p.create_key(p.test_root / "app")
        opened = p.create_key(p.test_root / "app")

    for step, disposition in ((created, REG_CREATED_NEW_KEY), (opened, REG_OPENED_EXISTING_KEY)):
        assert probe.trace.of(step) == [Pre.CreateKeyEx, Post.CreateKeyEx]
        (post,) = probe.trace.of(step).by(Post.CreateKeyEx)
        assert post.disposition == disposition == step.disposition


@behaviour("B-CRE-13")
def test_disposition_may_be_null(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.create_key(p.test_root / "app", null_disposition=True)

    assert step.status == NTSTATUS.SUCCESS
    (post,) = probe.trace.of(step).by(Post.CreateKeyEx)
    assert not post.faulted


@behaviour("B-CRE-15")
def test_missing_levels(probe: Probe, registry: Registry, record: Recorder) -> None:
    """A native create makes one level; the levels above it must exist."""
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.create_key(p.test_root / "a" / "b" / "c")

    assert probe.trace.of(step).by(Pre.CreateKeyEx)
    record("B-CRE-15 native create below missing keys", step.status_name)
    record("B-CRE-15 notifications", shown(probe.trace.of(step)))


@behaviour("B-CRE-16")
@pytest.mark.parametrize("class_name", [None, "Shell"])
def test_the_class_of_a_create(probe: Probe, registry: Registry, class_name: str | None) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.create_key(p.test_root / "app", class_name=class_name)

    (pre,) = probe.trace.of(step).by(Pre.CreateKeyEx)
    if class_name is None:
        assert pre["Class"] == 0 or pre.spans.class_name.length == 0
    else:
        assert pre.class_name == class_name


@behaviour("B-CRE-16", "B-CRE-17")
@versions(since="6.1")
def test_class_and_descriptor_of_an_open(probe: Probe, registry: Registry, record: Recorder) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.open_key(p.test_root / "app", sddl="D:(A;;KA;;;SY)")

    (pre,) = probe.trace.of(step).by(Pre.OpenKeyEx)
    assert step.succeeded
    record("B-CRE-16 Class of an open is NULL", pre["Class"] == 0)
    record("B-CRE-17 SecurityDescriptor of an open is NULL", pre["SecurityDescriptor"] == 0)


@behaviour("B-HIV-22")
def test_a_rename_names_the_last_component(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.rename_key(p.create_key(p.test_root / "before"), "after")

    (pre,) = probe.trace.of(step).by(Pre.RenameKey)
    record("B-HIV-22 NewName", pre.name)
    assert step.status == NTSTATUS.SUCCESS
    assert pre.name.endswith("after")
