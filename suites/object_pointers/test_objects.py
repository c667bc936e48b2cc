"""Which object pointers of a notification mean something (B-OBJ-01..03, 08..10, 13..15)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Probe, Subject
from harness.registry.access import KEY_ALL_ACCESS, KEY_READ
from harness.registry.notify import NotifyClass, Post, Pre
from harness.registry.options import KeyOptions
from harness.registry.status import NTSTATUS, nt_success, status_name
from harness.registry.valuetypes import ValueType
from harness.workload import ProgramBuilder, Registry, Step
from suites.scene import Scene
from suites.support import HIGH, MIDDLE, ODD_STATUS, behaviour, locked, versions
from suites.workloads import Workload, named, workloads

pytestmark = versions(since="6.0")


def missing(p: ProgramBuilder) -> Step:
    return p.open_key(p.test_root / "missing")


def missing_path(p: ProgramBuilder) -> Step:
    return p.create_key(p.test_root / "missing" / "below")


def denied(p: ProgramBuilder) -> Step:
    """A descriptor that grants reading only; the requester asks for everything."""
    return p.open_key(locked(p), access=KEY_ALL_ACCESS)


@behaviour("B-OBJ-01", "B-CRE-28")
def test_success_has_an_object(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        created = p.create_key(p.test_root / "app")
        opened = p.open_key(p.test_root / "app")

    for step, notify_class in ((created, Post.CreateKeyEx), (opened, Post.OpenKeyEx)):
        (post,) = probe.trace.of(step).by(notify_class)
        assert post.status == NTSTATUS.SUCCESS
        assert post.object != 0


@behaviour("B-OBJ-03", "B-OBJ-01", "B-CRE-28")
@versions(since="6.1")
@pytest.mark.parametrize("fail", [missing, missing_path, denied], ids=lambda f: f.__name__)
def test_an_error_has_none(probe: Probe, registry: Registry, fail: Callable[[ProgramBuilder], Step]) -> None:
    stack = probe.stack(HIGH, MIDDLE)

    with registry.program() as p:
        step = fail(p)

    assert not nt_success(step.status)
    posts = probe.trace.of(step).by(Post.OpenKeyEx, Post.CreateKeyEx)
    assert len(posts) == len(stack)
    for post in posts:
        assert (post.status, post.object) == (step.status, 0)


@behaviour("B-OBJ-03")
@versions(since="6.1")
@pytest.mark.parametrize("workload", workloads("create", "open"), ids=str)
def test_a_blocked_one_has_none(scene: Scene, probe: Probe, workload: Workload) -> None:
    scene.prepare(workload)
    high, middle = probe.stack(HIGH, MIDDLE)
    middle.on(workload.pre, **scene.scope(workload)).block(ODD_STATUS)

    step = scene.perform(workload)

    (post,) = probe.trace.of(step).seen_by(high).by(workload.post)
    assert (post.status, post.object) == (ODD_STATUS, 0)


@behaviour("B-OBJ-02")
def test_success_codes_other_than_success(probe: Probe, registry: Registry, record: Recorder) -> None:
    """An own link: the first round of the open ends with STATUS_REPARSE; the probe touches no object."""
    with registry.program() as p:
        p.create_key(p.test_root / "target")
        link = p.create_key(p.test_root / "link", options=KeyOptions.CREATE_LINK | KeyOptions.VOLATILE)
        p.set_value(link, "SymbolicLinkValue", str(p.test_root / "target"), type=ValueType.LINK)
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.open_key(p.test_root / "link", access=KEY_READ)

    posts = [(hex(e.status), e.object != 0) for e in probe.trace.of(step).by(Post.OpenKeyEx)]
    record("B-OBJ-02 status and whether Object was not NULL", posts)
    assert step.status == NTSTATUS.SUCCESS
    for event in probe.trace.of(step).by(Post.OpenKeyEx):
        assert event.status == NTSTATUS.SUCCESS or event.object_id == 0


@behaviour("B-OBJ-08", "B-HIV-15")
@versions(since="10.0.20348")
def test_a_merged_save_names_two_trees_and_no_object(scene: Scene, probe: Probe) -> None:
    workload = named("save-merged")
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    (pre,) = probe.trace.of(step).by(Pre.SaveMergedKey)
    assert pre["Object"] == 0
    assert pre["HighKeyObject"] != 0
    assert pre["LowKeyObject"] not in (0, pre["HighKeyObject"])


@behaviour("B-OBJ-09")
@pytest.mark.parametrize("workload", workloads("save-merged", "load"), ids=str)
def test_object_of_two_posts(scene: Scene, probe: Probe, record: Recorder, workload: Workload) -> None:
    scene.prepare_notified(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    (post,) = probe.trace.of(step).by(workload.post)
    assert post.status == step.status
    record(f"B-OBJ-09 {workload}: Object of the post is NULL", post["Object"] == 0)


@behaviour("B-OBJ-10")
@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_object_of_pre_load(
    scene: Scene, probe: Probe, registry: Registry, record: Recorder, relative: bool
) -> None:
    scene.prepare(named("load"))
    probe.add(MIDDLE)
    mount = scene.place.mount

    with registry.program() as p:
        if relative:
            step = p.load_key(mount.name, scene.place.saved, root=p.open_key(mount.parent))
        else:
            step = p.load_key(mount, scene.place.saved)

    (pre,) = probe.trace.of(step).by(Pre.LoadKey)
    assert step.status == NTSTATUS.SUCCESS
    record("B-OBJ-10 Object is NULL", pre["Object"] == 0)


@behaviour("B-OBJ-13", "B-CRE-03")
@pytest.mark.parametrize("call", ["create", "open"])
def test_the_root_object_can_be_opened_in_pre(probe: Probe, registry: Registry, call: str) -> None:
    with registry.program() as p:
        p.create_key(p.create_key(p.test_root / "app") / "child")
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.CreateKeyEx, Pre.OpenKeyEx, under=registry.test_root / "app").open_object(
        subject=Subject.ROOT_OBJECT
    )

    with registry.program() as p:
        key = p.open_key(p.test_root / "app")
        step = p.create_key(key / "child") if call == "create" else p.open_key(key / "child")

    (action,) = probe.trace.of(step).actions
    assert action.status == NTSTATUS.SUCCESS
    assert step.status == NTSTATUS.SUCCESS


@behaviour("B-OBJ-14")
@pytest.mark.parametrize("workload", workloads("set-value", "delete-value"), ids=str)
def test_the_object_of_a_value_operation_can_be_opened(
    scene: Scene, probe: Probe, workload: Workload
) -> None:
    scene.prepare(workload)
    probe.add(MIDDLE).on(workload.pre, **scene.scope(workload)).open_object(subject=Subject.OBJECT)

    step = scene.perform(workload)

    (action,) = probe.trace.of(step).actions
    assert action.status == NTSTATUS.SUCCESS
    assert step.status == NTSTATUS.SUCCESS


@behaviour("B-OBJ-14")
@pytest.mark.parametrize(
    "workload",
    workloads("enumerate-key", "enumerate-value", "query-key", "query-value", "query-multiple", "flush",
              "rename", "query-security", "set-security", "set-information", "save", "restore", "query-name"),
    ids=str,
)  # fmt: skip
def test_the_object_of_other_operations(
    scene: Scene, probe: Probe, record: Recorder, workload: Workload
) -> None:
    scene.prepare_notified(workload)
    probe.add(MIDDLE).on(workload.pre, **scene.scope(workload)).open_object(subject=Subject.OBJECT)

    step = scene.perform(workload)

    (action,) = probe.trace.of(step).actions
    assert nt_success(step.status), "looking at the object changes nothing for the requester"
    record(f"B-OBJ-14 {workload}: ObOpenObjectByPointer", status_name(action.status))


@behaviour("B-OBJ-15")
def test_a_cleanup_can_come_while_handles_are_open(probe: Probe, registry: Registry) -> None:
    filter_ = probe.add(MIDDLE)
    filter_.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(0x77)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        filter_.remove_in(p)
        still = p.query_key(key)

    assert still.status == NTSTATUS.SUCCESS, "the handle is open"
    cleanups = probe.trace.by(NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP)
    assert [event.object_context for event in cleanups] == [0x77]
    assert [event.object_id for event in cleanups] == [0], "the probe asked nothing about the object"


@behaviour("B-OBJ-01", "B-NOT-17")
@pytest.mark.parametrize("workload", workloads("set-value", "query-value", "delete-value", "rename"), ids=str)
def test_pre_and_post_name_the_same_object(
    scene: Scene, guest: Guest, probe: Probe, workload: Workload
) -> None:
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    pre, post = probe.trace.of(step)
    assert pre.object == post.object != 0
    assert pre.object_id == post.object_id
