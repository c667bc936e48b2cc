"""Object contexts: bound to a key object for one filter and shown to it (B-CTX-03..10, 17..21)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Probe, Subject
from harness.registry.notify import NotifyClass, Post, Pre
from harness.registry.status import NTSTATUS, nt_success, status_name
from harness.workload import Registry
from suites.scene import Scene
from suites.support import MIDDLE, behaviour, requires, versions
from suites.workloads import WORKLOADS, Workload

pytestmark = versions(since="6.0")

TAG = 0x0B1EC7


@behaviour("B-CTX-03")
def test_a_context_set_in_post_create_is_shown_from_then_on(probe: Probe, registry: Registry) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        steps = [
            p.set_value(key, "v", "x"),
            p.query_value(key, "v"),
            p.query_key(key),
            p.flush_key(key),
            p.delete_value(key, "v"),
            p.close(key),
        ]

    for step in steps:
        notifications = probe.trace.of(step).notifications
        assert len(notifications) >= 2
        shown = [e.object_context for e in notifications if e.notify_class is not Post.KeyHandleClose]
        assert set(shown) == {TAG}, step


@behaviour("B-CTX-03")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_it_is_shown_in_pre_and_post_of_every_operation_on_the_key(
    scene: Scene, probe: Probe, workload: Workload
) -> None:
    """Operations through a handle; create, open and load have other objects, unload opens its own."""
    if workload.name in (
        "create",
        "create-existing",
        "open",
        "open-missing",
        "load",
        "unload",
        "save-merged",
    ):
        pytest.skip("not an operation on an opened key")
    scene.prepare_notified(workload)
    monitor = probe.add(MIDDLE)
    monitor.on(Post.OpenKeyEx, **scene.scope(workload)).set_object_context(TAG)

    step = scene.perform(workload)

    trace = probe.trace.of(step)
    (pre,) = trace.by(workload.pre)
    assert pre.object_context == TAG
    if workload.pre is not Pre.KeyHandleClose:  # the cleanup came in between
        (post,) = trace.by(workload.post)
        assert post.object_context == TAG


@behaviour("B-CTX-04")
def test_another_open_of_the_same_key_shows_none(probe: Probe, registry: Registry) -> None:
    monitor = probe.add(MIDDLE)
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    monitor.on(Post.OpenKeyEx, key=registry.test_root / "app", nth=1, count=1).set_object_context(TAG)

    with registry.program() as p:
        tagged = p.open_key(p.test_root / "app")
        plain = p.open_key(p.test_root / "app")
        through_tagged = p.set_value(tagged, "v", 1)
        through_plain = p.set_value(plain, "v", 2)

    assert [e.object_context for e in probe.trace.of(through_tagged)] == [TAG, TAG]
    assert [e.object_context for e in probe.trace.of(through_plain)] == [0, 0]


@behaviour("B-CTX-05")
def test_through_a_duplicated_handle(probe: Probe, registry: Registry, record: Recorder) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        copy = p.duplicate_handle(key)
        write = p.set_value(copy, "v", "x")

    shown = [e.object_context for e in probe.trace.of(write)]
    record("B-CTX-05 ObjectContext through a duplicated handle", [hex(value) for value in shown])
    assert shown in ([TAG, TAG], [0, 0])


@behaviour("B-CTX-19")
@requires("two-processes")
def test_through_a_handle_of_another_process(probe: Probe, registry: Registry, record: Recorder) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        copy = p.duplicate_handle(key, target_process="second")
        with p.on(process="second"):
            write = p.set_value(copy, "v", "x")

    assert write.status == NTSTATUS.SUCCESS
    assert write.process_id != key.process_id
    record(
        "B-CTX-19 ObjectContext in another process", [hex(e.object_context) for e in probe.trace.of(write)]
    )


@behaviour("B-CTX-06")
@pytest.mark.parametrize(
    "moment",
    [Post.CreateKeyEx, Pre.QueryKey, Post.QueryKey, Pre.SetValueKey, Post.SetValueKey, Pre.KeyHandleClose],
    ids=lambda c: c.documented_name,
)
def test_it_can_be_set_between_post_create_and_pre_close(
    probe: Probe, registry: Registry, moment: NotifyClass
) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(moment, under=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.query_key(key)
        p.set_value(key, "v", "x")
        p.close(key)

    (action,) = probe.trace.actions.by(moment)
    assert action.status == NTSTATUS.SUCCESS


@behaviour("B-CTX-07")
@pytest.mark.parametrize("subject", [Subject.RESULT_OBJECT, Subject.OBJECT], ids=lambda s: s.name.lower())
def test_object_and_result_object_name_the_same_key(
    probe: Probe, registry: Registry, record: Recorder, subject: Subject
) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG, subject=subject)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    (post,) = probe.trace.of(key).by(Post.CreateKeyEx)
    record("B-CTX-07 Object equals *ResultObject", post.object == post.result_object)
    (action,) = probe.trace.of(key).actions
    assert action.status == NTSTATUS.SUCCESS
    assert [e.object_context for e in probe.trace.of(write)] == [TAG, TAG]


@behaviour("B-CTX-08")
@pytest.mark.parametrize("call", ["create", "open"])
def test_a_relative_create_or_open_shows_the_context_of_its_root(
    probe: Probe, registry: Registry, call: str
) -> None:
    with registry.program() as p:
        p.create_key(p.create_key(p.test_root / "app") / "child")
    monitor = probe.add(MIDDLE)
    monitor.on(Post.OpenKeyEx, key=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.open_key(p.test_root / "app")
        step = p.create_key(key / "child") if call == "create" else p.open_key(key / "child")
        absolute = p.open_key(p.test_root / "app" / "child")

    (pre,) = probe.trace.of(step).by(Pre.CreateKeyEx, Pre.OpenKeyEx)
    assert pre.object_context == TAG
    (pre,) = probe.trace.of(absolute).by(Pre.OpenKeyEx)
    assert pre.object_context == 0


@behaviour("B-CTX-09")
def test_which_context_post_create_shows(probe: Probe, registry: Registry, record: Recorder) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, key=registry.test_root / "app").set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        child = p.create_key(key / "child")

    (post,) = probe.trace.of(child).by(Post.CreateKeyEx)
    assert post.status == NTSTATUS.SUCCESS
    assert post.object_context in (0, TAG), "nobody set another one"
    shown = {0: "none", TAG: "that of the root"}.get(post.object_context, hex(post.object_context))
    record("B-CTX-09 ObjectContext in the post of a relative create", shown)


@behaviour("B-CTX-10")
def test_the_old_value_comes_back_when_it_is_replaced(probe: Probe, registry: Registry) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.SetValueKey, under=registry.test_root, value="first").set_object_context(0x11)
    monitor.on(Post.SetValueKey, under=registry.test_root, value="second").set_object_context(0x22)
    monitor.on(Post.SetValueKey, under=registry.test_root, value="third").set_object_context(0x33)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        steps = [p.set_value(key, name, "x") for name in ("first", "second", "third")]
        after = p.query_key(key)

    old = [action.value for step in steps for action in probe.trace.of(step).actions]
    assert old == [0, 0x11, 0x22]
    assert [e.object_context for e in probe.trace.of(after)] == [0x33, 0x33]


@behaviour("B-CTX-17")
@pytest.mark.parametrize("wrong", ["cookie", "object"])
def test_status_of_a_wrong_argument(probe: Probe, registry: Registry, record: Recorder, wrong: str) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.SetValueKey, under=registry.test_root).set_object_context(
        TAG, bad_cookie=wrong == "cookie", bad_object=wrong == "object"
    )

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    (action,) = probe.trace.of(write).actions
    assert not nt_success(action.status)
    record(f"B-CTX-17 {wrong}", status_name(action.status))


@behaviour("B-CTX-18")
def test_setting_null(probe: Probe, registry: Registry, record: Recorder) -> None:
    monitor = probe.add(MIDDLE)
    monitor.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(TAG)
    monitor.on(Post.SetValueKey, under=registry.test_root).set_object_context(0)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")
        after = p.query_key(key)
        close = p.close(key)

    (action,) = probe.trace.of(write).actions
    assert write.succeeded
    record("B-CTX-18 status and old value of setting NULL", (status_name(action.status), hex(action.value)))
    record("B-CTX-18 shown afterwards", [e.object_context for e in probe.trace.of(after)])
    record("B-CTX-18 cleanups", [e.object_context for e in probe.trace.of(close).cleanups])


@behaviour("B-CTX-20", "B-INF-13", "B-REG-12")
@pytest.mark.parametrize("at_apc_level", [False, True], ids=["passive", "apc"])
def test_the_routines_work_up_to_apc_level(probe: Probe, registry: Registry, at_apc_level: bool) -> None:
    monitor = probe.add(MIDDLE)
    rule = monitor.on(Post.SetValueKey, under=registry.test_root)
    rule.set_object_context(TAG, at_apc_level=at_apc_level)
    rule.fetch_transaction(at_apc_level=at_apc_level)
    rule.fetch_name(at_apc_level=at_apc_level)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    actions = probe.trace.of(write).actions
    assert len(actions) == 3
    assert [action.status for action in actions] == [NTSTATUS.SUCCESS] * 3


@behaviour("B-CTX-21")
def test_cookies_of_the_old_routine(probe: Probe, registry: Registry, record: Recorder) -> None:
    legacy = probe.add(None, legacy=True)
    rule = legacy.on(Post.SetValueKey, under=registry.test_root)
    rule.fetch_name()
    rule.fetch_transaction()
    rule.set_object_context(TAG)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    name, transaction, context = probe.trace.of(write).actions
    assert name.status == NTSTATUS.SUCCESS
    assert transaction.status == NTSTATUS.SUCCESS
    record("B-CTX-21 CmSetCallbackObjectContext with a legacy cookie", status_name(context.status))
