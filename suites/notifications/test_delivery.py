"""Every operation is reported before and after: class, structure, status, thread (B-NOT-01, 02, 17..42)."""

from __future__ import annotations

import pytest

from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.notify import NotifyClass, Post, Pre, delivered_by
from harness.registry.status import NTSTATUS, nt_success
from harness.registry.structures import layout
from harness.workload import Registry
from suites.scene import Scene
from suites.support import behaviour, requires, shown, versions
from suites.workloads import WORKLOADS, Workload, named


@behaviour(
    "B-VER-02", "B-VER-03", "B-VER-04", "B-REG-26", "B-REG-27", "B-HIV-01", "B-HIV-05", "B-HIV-07",
    "B-HIV-09", "B-HIV-16", "B-HIV-18", "B-NOT-18",
)  # fmt: skip
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_an_operation_causes_exactly_its_classes(
    scene: Scene, guest: Guest, probe: Probe, workload: Workload
) -> None:
    """On versions without a class for it, none: the operation then goes unnoticed."""
    scene.prepare(workload)
    monitor = probe.add_monitor()

    step = scene.perform(workload)

    assert probe.trace.of(step).seen_by(monitor).by(*_causes(workload)) == workload.expected(
        guest.info.version
    )


def _causes(workload: Workload) -> list[NotifyClass]:
    """Classes to look at: an unload and a load may touch the hive's root as well (B-HIV-08)."""
    if workload.mounted:
        return [workload.pre, workload.post]
    return list(NotifyClass)


@behaviour("B-VER-02", "B-VER-03", "B-VER-04", "B-REG-26", "B-REG-27")
def test_no_class_arrives_that_this_windows_does_not_have(scene: Scene, guest: Guest, probe: Probe) -> None:
    """One stroll through everything, whoever caused it."""
    for workload in WORKLOADS:
        if guest.info.version.number >= workload.since and not workload.disposable and not workload.mounted:
            scene.prepare(workload)
            monitor = probe.add_monitor()
            scene.perform(workload)
            assert set(probe.trace.classes) <= delivered_by(guest.info.version), workload
            monitor.remove()


@behaviour("B-NOT-01", "B-NOT-02", "B-CAP-13", "B-VER-11", "B-VER-12")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_the_structure_is_that_of_the_class(
    scene: Scene, guest: Guest, probe: Probe, workload: Workload
) -> None:
    scene.prepare_notified(workload)
    probe.add_monitor()

    step = scene.perform(workload)

    info = guest.info
    highest_user = 0x7FFFFFFF if info.arch.pointer_size == 4 else 0x7FFF_FFFF_FFFF
    for event in probe.trace.of(step).by(*workload.expected(info.version)):
        assert event.information > highest_user, "the structure lies in system memory"
        assert not event.faulted, "every member the probe reads could be read"
        assert len(event.structure) == layout(event.notify_class, info.version, info.arch.pointer_size).size


@behaviour("B-NOT-17")
@versions(since="5.2")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_post_tells_the_status_the_caller_gets(
    scene: Scene, guest: Guest, probe: Probe, workload: Workload
) -> None:
    scene.prepare_notified(workload)
    probe.add_monitor()

    step = scene.perform(workload)

    (post,) = probe.trace.of(step).by(workload.post)
    assert post.status == step.status


@behaviour("B-NOT-17", "B-NOT-18", "B-CRE-28")
@versions(since="5.2")
def test_post_comes_for_failures_too(probe: Probe, registry: Registry) -> None:
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        failures = {
            p.open_key(p.test_root / "missing"): Post.OpenKeyEx,
            p.open_key(p.test_root / "missing" / "below"): Post.OpenKeyEx,
            p.create_key(p.test_root / "missing" / "below"): Post.CreateKeyEx,
            p.query_value(key, "missing"): Post.QueryValueKey,
            p.delete_value(key, "missing"): Post.DeleteValueKey,
            p.enumerate_key(key, 7): Post.EnumerateKey,
            p.enumerate_value(key, 7): Post.EnumerateValueKey,
            p.query_key(key, length=4): Post.QueryKey,
            p.query_multiple(key, ["missing"]): Post.QueryMultipleValueKey,
        }

    for step, notify_class in failures.items():
        assert not nt_success(step.status), step
        (post,) = probe.trace.of(step).by(notify_class)
        assert post.status == step.status


@behaviour("B-NOT-31", "B-NOT-32", "B-INF-21", "B-REG-17")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_the_callback_runs_in_the_requesters_thread(
    scene: Scene, guest: Guest, probe: Probe, workload: Workload
) -> None:
    scene.prepare_notified(workload)
    probe.add_monitor()

    step = scene.perform(workload)

    for event in probe.trace.between(step).by(*workload.expected(guest.info.version)):
        assert (event.process_id, event.thread_id) == (step.process_id, step.thread_id)
        assert event.previous_mode == 1, "a user-mode request"


@behaviour("B-NOT-31", "B-REG-17")
@requires("two-processes")
def test_every_process_and_thread_is_reported(probe: Probe, registry: Registry) -> None:
    probe.add_monitor()

    with registry.program() as p:
        p.create_key(p.test_root / "app")
        steps = []
        for process, thread in [("runner", 0), ("runner", 1), ("second", 0), ("second", 1)]:
            with p.on(process=process, thread=thread):
                key = p.open_key(p.test_root / "app")
                steps.append(p.set_value(key, "v", "x"))

    assert len({step.thread_id for step in steps}) == 4
    assert len({step.process_id for step in steps}) == 2
    for step in steps:
        events = probe.trace.of(step)
        assert events.by(Pre.SetValueKey) == [Pre.SetValueKey]
        assert {event.thread_id for event in events} == {step.thread_id}
        assert {event.process_id for event in events} == {step.process_id}


@behaviour("B-NOT-29", "B-NOT-30")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_irql_of_callbacks(
    scene: Scene, guest: Guest, probe: Probe, record: Recorder, workload: Workload
) -> None:
    scene.prepare_notified(workload)
    probe.add_monitor()

    step = scene.perform(workload)

    levels = {event.irql for event in probe.trace.of(step)}
    assert levels
    record(f"B-NOT-29 {workload}: IRQLs above passive", sorted(levels - {0}))


@behaviour("B-NOT-33", "B-NOT-32")
@pytest.mark.parametrize("worker", [False, True], ids=["caller", "worker"])
def test_calls_of_drivers_are_reported_alike(
    guest: Guest, probe: Probe, registry: Registry, worker: bool
) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add_monitor()

    call = probe.kernel_call.set_value(registry.test_root / "app", "v", b"x", work_item=worker)

    assert call.status == NTSTATUS.SUCCESS
    events = probe.trace.of(call)
    version = guest.info.version
    expected = [c for name in ("open", "set-value", "close") for c in named(name).expected(version)]
    assert events == expected
    assert {event.previous_mode for event in events} == {0}
    assert {event.thread_id for event in events} == {call.thread_id}


@behaviour("B-NOT-34")
def test_a_name_the_object_manager_rejects(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add_monitor()

    with registry.program() as p:
        step = p.open_key("relative-without-root")

    assert not nt_success(step.status)
    record("B-NOT-34 status", step.status_name)
    record("B-NOT-34 notifications", shown(probe.trace.of(step)))


@behaviour("B-NOT-35")
@pytest.mark.parametrize("case", ["null", "closed", "without the right"])
def test_a_bad_handle(probe: Probe, registry: Registry, record: Recorder, case: str) -> None:
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", "x")
        if case == "null":
            step = p.query_value(p.null_handle(), "v")
        elif case == "closed":
            p.close(key)
            step = p.query_value(key, "v")
        else:
            step = p.query_value(p.open_key(p.test_root / "app", access=0x20000), "v")

    assert not nt_success(step.status)
    record(f"B-NOT-35 {case}", (step.status_name, shown(probe.trace.of(step))))


@behaviour("B-NOT-36")
@versions(since="5.2")
@pytest.mark.parametrize(
    "answer", [NTSTATUS.ACCESS_DENIED, NTSTATUS.CALLBACK_BYPASS], ids=["block", "bypass"]
)
def test_a_close_can_only_be_observed(
    guest: Guest, probe: Probe, registry: Registry, record: Recorder, answer: int
) -> None:
    monitor = probe.add_monitor()
    monitor.on(Pre.KeyHandleClose, under=registry.test_root / "app").return_(answer)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        close = p.close(key)
        again = p.query_key(key)

    assert close.status == NTSTATUS.SUCCESS
    assert again.status == NTSTATUS.INVALID_HANDLE, "the handle is gone"
    posts = len(probe.trace.of(close).by(Post.KeyHandleClose))
    record(f"B-NOT-36 posts after pre answered {NTSTATUS(answer).name}", posts)


@behaviour("B-NOT-42")
@versions(since="5.2")
def test_closing_one_of_two_handles(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        copy = p.duplicate_handle(key)
        first = p.close(key)
        last = p.close(copy)

    record("B-NOT-42 notifications of the first close", len(probe.trace.of(first)))
    assert probe.trace.of(last) == [Pre.KeyHandleClose, Post.KeyHandleClose]


@behaviour("B-HIV-23")
def test_operations_without_a_class_cause_none(probe: Probe, registry: Registry) -> None:
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        event = p.create_event()
        quiet = [p.notify_change_key(key, event), p.duplicate_handle(key), p.mark("nothing")]

    for step in quiet:
        assert probe.trace.of(step) == [], step


@behaviour("B-NOT-03")
@pytest.mark.parametrize("workload", WORKLOADS, ids=str)
def test_watching_changes_nothing(scene: Scene, probe: Probe, workload: Workload) -> None:
    """The same status and output with a filter as without, and the operation takes effect."""
    scene.prepare(workload)
    monitor = probe.add_monitor()
    step = scene.perform(workload)
    assert step.status == (NTSTATUS.OBJECT_NAME_NOT_FOUND if workload.name == "open-missing" else 0)
    monitor.remove()

    assert scene.look(workload) == (workload.done if workload.check else None)


@behaviour("B-NOT-03")
def test_answers_are_the_same_with_and_without_a_filter(probe: Probe, registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app", class_name="class")
        p.set_value(key, "text", "x")
        p.set_value(key, "number", 7)
        p.create_key(p.test_root / "app" / "child")

    answers = []
    for watched in (False, True):
        if watched:
            probe.add_monitor()
        with registry.program() as p:
            key = p.open_key(p.test_root / "app")
            steps = [
                p.query_value(key, "text"),
                p.query_value(key, "number"),
                p.query_value(key, "missing"),
                p.enumerate_value(key, 0),
                p.enumerate_key(key, 0),
                p.enumerate_key(key, 1),
                p.query_key(key),
                p.query_multiple(key, ["text", "number"]),
            ]
        answers.append([(step.status, step.output, step.result_length) for step in steps])

    assert answers[0] == answers[1]
