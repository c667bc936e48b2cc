"""What a post notification can change (B-NOT-19..28)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.access import KEY_ALL_ACCESS
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS, status_name
from harness.workload import Registry
from suites.scene import Scene
from suites.support import MIDDLE, ODD_STATUS, THREE, behaviour, callers, versions
from suites.workloads import Workload, workloads

pytestmark = versions(since="6.0")

OVERRIDABLE = workloads(
    "set-value", "delete-value", "query-value", "query-key", "enumerate-key", "enumerate-value",
    "query-multiple", "flush", "query-security", "set-security", "delete",
)  # fmt: skip


@behaviour("B-NOT-20", "B-NOT-25")
@pytest.mark.parametrize("workload", OVERRIDABLE, ids=str)
def test_success_to_failure(scene: Scene, probe: Probe, workload: Workload) -> None:
    """The caller sees the failure; what was done stays done."""
    scene.prepare_notified(workload)
    filter_ = probe.add(MIDDLE)
    filter_.on(workload.post, **scene.scope(workload)).override(ODD_STATUS)

    step = scene.perform(workload)

    assert step.status == ODD_STATUS
    assert scene.look(workload) == (workload.done if workload.check else None)


@behaviour("B-NOT-20")
def test_failure_to_success(probe: Probe, registry: Registry) -> None:
    filter_ = probe.add(MIDDLE)
    filter_.on(Post.DeleteValueKey, under=registry.test_root).override(NTSTATUS.SUCCESS)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        step = p.delete_value(key, "missing")

    (post,) = probe.trace.of(step).by(Post.DeleteValueKey)
    assert post.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert step.status == NTSTATUS.SUCCESS


@behaviour("B-NOT-25")
def test_an_override_with_undo_leaves_nothing(probe: Probe, registry: Registry) -> None:
    filter_ = probe.add(MIDDLE)
    filter_.on(Post.SetValueKey, under=registry.test_root, value="v").undo().override(NTSTATUS.ACCESS_DENIED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")
        read = p.query_value(key, "v")

    assert write.status == NTSTATUS.ACCESS_DENIED
    assert read.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


@behaviour("B-NOT-26")
def test_a_missing_key_becomes_another_one(probe: Probe, registry: Registry) -> None:
    """The sample's override: not found turned into success on a key that exists."""
    with registry.program() as p:
        p.set_value(p.create_key(p.test_root / "real"), "v", "substitute")
    filter_ = probe.add(MIDDLE)
    filter_.on(
        Post.OpenKeyEx, under=registry.test_root / "missing", status=NTSTATUS.OBJECT_NAME_NOT_FOUND
    ).override_with_key(registry.test_root / "real", access=KEY_ALL_ACCESS)

    with registry.program() as p:
        key = p.open_key(p.test_root / "missing")
        read = p.query_value(key, "v")

    assert key.status == NTSTATUS.SUCCESS
    assert read.text == "substitute"


@behaviour("B-NOT-21")
def test_later_callbacks_see_the_overridden_status(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    """Whichever filter is called first overrides; the others then see that status or the record says not."""
    stack = probe.stack(*THREE)
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        plain = p.set_value(key, "plain", "x")
    first, *later = callers(probe.trace.of(plain).by(Post.SetValueKey), *stack)
    stack[first].on(Post.SetValueKey, under=registry.test_root, value="v").override(ODD_STATUS)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    seen = [probe.trace.of(write).seen_by(stack[n]).by(Post.SetValueKey)[0].status for n in later]
    record("B-NOT-21 statuses later callbacks saw", [status_name(each) for each in seen])
    assert write.status == ODD_STATUS
    assert set(seen) <= {ODD_STATUS, NTSTATUS.SUCCESS}


@behaviour("B-NOT-20")
def test_the_last_override_wins(probe: Probe, registry: Registry) -> None:
    stack = probe.stack(*THREE)
    for number, each in enumerate(stack):
        each.on(Post.SetValueKey, under=registry.test_root, value="v").override(ODD_STATUS + number)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    last = callers(probe.trace.of(write).by(Post.SetValueKey), *stack)[-1]
    assert write.status == ODD_STATUS + last


@behaviour("B-NOT-22")
@pytest.mark.parametrize("returned", [NTSTATUS.SUCCESS, NTSTATUS.OBJECT_NAME_EXISTS], ids=hex)
def test_return_status_alone_means_nothing(probe: Probe, registry: Registry, returned: int) -> None:
    filter_ = probe.add(MIDDLE)
    rule = filter_.on(Post.SetValueKey, under=registry.test_root, value="v")
    rule.write_return_status(NTSTATUS.ACCESS_DENIED).return_(returned)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    assert write.status == NTSTATUS.SUCCESS


@behaviour("B-NOT-24")
def test_a_plain_failure_from_post(probe: Probe, registry: Registry, record: Recorder) -> None:
    stack = probe.stack(*THREE)
    stack[1].on(Post.SetValueKey, under=registry.test_root, value="v").return_(NTSTATUS.ACCESS_DENIED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    posts = callers(probe.trace.of(write).by(Post.SetValueKey), *stack)
    assert sorted(posts) == [0, 1, 2]
    record("B-NOT-24 caller's status", write.status_name)
    record("B-NOT-24 posts", posts)


@behaviour("B-NOT-27")
def test_output_edited_in_post_reaches_the_caller(probe: Probe, registry: Registry) -> None:
    """The data of KEY_VALUE_PARTIAL_INFORMATION begin at offset 12."""
    filter_ = probe.add(MIDDLE)
    filter_.on(Post.QueryValueKey, under=registry.test_root, value="v").edit_output(b"\x2a\0\0\0", offset=12)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", 7)
        p.set_value(key, "w", 7)
        edited, plain = p.query_value(key, "v"), p.query_value(key, "w")

    assert edited.status == NTSTATUS.SUCCESS
    assert edited.dword == 42
    assert plain.dword == 7


@behaviour("B-NOT-27")
def test_an_enumeration_edited_in_post(probe: Probe, registry: Registry) -> None:
    """KEY_BASIC_INFORMATION: the name begins at offset 16."""
    filter_ = probe.add(MIDDLE)
    filter_.on(Post.EnumerateKey, under=registry.test_root).edit_output("XY".encode("utf-16-le"), offset=16)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.create_key(p.test_root / "app" / "ab-child")
        listed = p.enumerate_key(key, 0)

    assert listed.name == "XY-child"


@behaviour("B-NOT-19")
def test_post_runs_before_the_caller_goes_on(probe: Probe, registry: Registry) -> None:
    """By the counter: the post lies between begin and end of the call, after the pre."""
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")
        after = p.mark("after")

    pre, post = probe.trace.of(write)
    assert write.begin <= pre.time <= post.time <= write.end <= after.begin


@behaviour("B-NOT-28")
def test_input_edited_in_pre(probe: Probe, registry: Registry, record: Recorder) -> None:
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.SetValueKey, under=registry.test_root, value="asked").edit_input(name="edited")

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "asked", "x")
        asked, edited = p.query_value(key, "asked"), p.query_value(key, "edited")

    assert probe.trace.of(write).by(Pre.SetValueKey)
    record("B-NOT-28 written under the asked name", asked.succeeded)
    record("B-NOT-28 written under the edited name", edited.succeeded)
