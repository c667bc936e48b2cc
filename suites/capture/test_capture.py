"""Where the pointers of a notification point, and who may probe them (B-CAP-01..13; B-VER-08)."""

from __future__ import annotations

import pytest

from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Event, Filter, Probe
from harness.registry.notify import NotifyClass, Post, Pre
from harness.registry.status import NTSTATUS, nt_success
from harness.workload import Registry, Step, TypedValue
from suites.features import Features
from suites.scene import Scene
from suites.support import MIDDLE, behaviour, shown, versions
from suites.workloads import Workload, workloads

#: Input members that are pointers to bytes or text, by pre class.
INPUT: dict[int, tuple[str, ...]] = {
    Pre.CreateKeyEx: ("name", "second_name", "class_name"),
    Pre.OpenKeyEx: ("name", "second_name"),
    Pre.SetValueKey: ("name", "data"),
    Pre.DeleteValueKey: ("name",),
    Pre.QueryValueKey: ("name",),
    Pre.RenameKey: ("name",),
    Pre.SetInformationKey: ("data",),
}
TAKES_INPUT = workloads(
    "create", "open", "set-value", "delete-value", "query-value", "rename", "set-information"
)
OUTPUT = {
    Pre.QueryKey: ("KeyInformation", "ResultLength"),
    Pre.QueryValueKey: ("KeyValueInformation", "ResultLength"),
    Pre.EnumerateKey: ("KeyInformation", "ResultLength"),
    Pre.EnumerateValueKey: ("KeyValueInformation", "ResultLength"),
    Pre.QueryMultipleValueKey: ("ValueBuffer",),
}


def is_user(guest: Guest, address: int) -> bool:
    return address <= (0x7FFF_FFFF if guest.info.arch.pointer_size == 4 else 0x7FFF_FFFF_FFFF)


def inputs(event: Event) -> dict[str, int]:
    """Address of every input the event shows, by the name of its span."""
    spans = {name: getattr(event.spans, name) for name in INPUT[event.notify_class]}
    return {name: span.address for name, span in spans.items() if span.address}


@behaviour("B-CAP-03", "B-VER-08")
@versions(since="6.2")
@pytest.mark.parametrize(
    "workload", TAKES_INPUT, ids=str
)  # fmt: skip
def test_input_is_captured_in_system_memory(
    scene: Scene, guest: Guest, probe: Probe, workload: Workload
) -> None:
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    (pre,) = probe.trace.of(step).by(workload.pre)
    found = inputs(pre)
    assert found, "there is input"
    assert {name for name, address in found.items() if is_user(guest, address)} == set()


@behaviour("B-CAP-03")
@versions(since="6.2")
def test_the_class_of_a_create_is_captured(guest: Guest, probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.create_key(p.test_root / "app", class_name="Shell")

    (pre,) = probe.trace.of(step).by(Pre.CreateKeyEx)
    assert pre.class_name == "Shell"
    assert not is_user(guest, pre.spans.class_name.address)


@behaviour("B-CAP-04", "B-CAP-12")
@versions(since="6.0", until="6.1")
@pytest.mark.parametrize(
    "workload", TAKES_INPUT, ids=str
)  # fmt: skip
def test_which_input_is_captured_before_windows_8(
    scene: Scene, guest: Guest, probe: Probe, record: Recorder, workload: Workload
) -> None:
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    (pre,) = probe.trace.of(step).by(workload.pre)
    assert step.succeeded
    user = sorted(name for name, address in inputs(pre).items() if is_user(guest, address))
    record(f"B-CAP-04 {workload}: user addresses", user)


@behaviour("B-CAP-12")
@versions(since="6.0", until="6.1")
def test_the_class_of_a_create_before_windows_8(
    guest: Guest, probe: Probe, registry: Registry, record: Recorder
) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.create_key(p.test_root / "app", class_name="Shell")

    (pre,) = probe.trace.of(step).by(Pre.CreateKeyEx)
    assert step.succeeded
    assert pre.spans.class_name.address, "a class was given"
    record("B-CAP-12 Class->Buffer is a user address", is_user(guest, pre.spans.class_name.address))


@behaviour("B-CAP-06")
@pytest.mark.parametrize(
    "workload",
    workloads("query-key", "query-value", "enumerate-key", "enumerate-value", "query-multiple"),
    ids=str,
)
def test_output_is_the_callers_own_buffer(
    scene: Scene, guest: Guest, probe: Probe, workload: Workload
) -> None:
    scene.prepare(workload)
    probe.add_monitor()

    step = scene.perform(workload)

    (pre,) = probe.trace.of(step).by(workload.pre)
    for member in OUTPUT[workload.pre]:
        assert is_user(guest, pre[member]), member
    assert pre[OUTPUT[workload.pre][0]] == step.output_address


@behaviour("B-CAP-06")
@versions(since="6.0")
def test_output_of_a_security_query(scene: Scene, guest: Guest, probe: Probe, record: Recorder) -> None:
    (workload,) = workloads("query-security")
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    (pre,) = probe.trace.of(step).by(Pre.QueryKeySecurity)
    assert step.succeeded
    assert pre["SecurityDescriptor"], "a buffer was given"
    shown = {name: is_user(guest, pre[name]) for name in ("SecurityDescriptor", "Length")}
    record("B-CAP-06 members of a security query that are user addresses", shown)


@behaviour("B-CAP-07")
@pytest.mark.parametrize("address", [0x1_0000, 0x7FFE_F000], ids=hex)
def test_a_buffer_that_is_gone_is_survived(probe: Probe, registry: Registry, address: int) -> None:
    """The requester names memory that is not there; the probe reads outputs under protection."""
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", "x")
        step = p.query_value(key, "v", address=address)
        after = p.query_value(key, "v")

    assert not nt_success(step.status)
    assert after.text == "x"


@behaviour("B-CAP-01")
@versions(since="6.0")
@pytest.mark.parametrize("case", ["output", "input"])
def test_addresses_of_the_system_are_refused(
    guest: Guest, probe: Probe, registry: Registry, record: Recorder, case: str
) -> None:
    """Probed before the callback: a user-mode requester can't pass a system address."""
    probe.add(MIDDLE)
    system = 0x8000_0000 if guest.info.arch.pointer_size == 4 else 0xFFFF_8000_0000_0000

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", "x")
        if case == "output":
            step = p.query_value(key, "v", address=system)
        else:
            step = p.set_value(key, "w", b"1234", address=system)

    assert not nt_success(step.status)
    record(f"B-CAP-01 {case}", (step.status_name, shown(probe.trace.of(step))))
    for event in probe.trace.of(step).pre:
        assert event["KeyValueInformation" if case == "output" else "Data"] != system


@behaviour("B-CAP-02", "B-NOT-32")
def test_nothing_of_a_driver_is_captured(probe: Probe, registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add_monitor()

    call = probe.kernel_call.set_value(registry.test_root / "app", "v", b"data")

    (pre,) = probe.trace.of(call).by(Pre.SetValueKey)
    assert pre.previous_mode == 0
    assert pre.spans.data.address == call.data_address
    assert pre.spans.name.address == call.name_address
    assert pre.data == b"data"


@behaviour("B-CAP-02", "B-CAP-06")
def test_output_of_a_drivers_query_is_its_own_buffer(probe: Probe, registry: Registry) -> None:
    with registry.program() as p:
        p.set_value(p.create_key(p.test_root / "app"), "v", b"data")
    probe.add_monitor()

    call = probe.kernel_call.query_value(registry.test_root / "app", "v")

    (pre,) = probe.trace.of(call).by(Pre.QueryValueKey)
    assert pre["KeyValueInformation"] == call.data_address


@behaviour("B-CAP-05", "B-CAP-03")
@versions(since="6.2")
def test_a_captured_input_can_not_change(probe: Probe, registry: Registry) -> None:
    """A lower filter sees name and data at an address that the requester can't write."""
    high, low = probe.stack("380020.7301", "380000.7301")

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "name", "data")

    first, second = (probe.trace.of(write).seen_by(each).by(Pre.SetValueKey)[0] for each in (high, low))
    assert (first.name, first.data) == (second.name, second.data)
    assert first.spans.data.address == second.spans.data.address != write.input_address


@behaviour("B-CAP-05", "B-CAP-03")
@versions(since="6.2")
def test_a_requester_that_changes_its_data_meanwhile_changes_nothing(
    probe: Probe, registry: Registry
) -> None:
    """Another thread overwrites the data while the write stands in the first filter's pre."""
    low, write, read = _changed_while_it_stands(probe, registry)

    (pre,) = probe.trace.of(write).seen_by(low).by(Pre.SetValueKey)
    assert pre.data == b"before"
    assert read.data == b"before"


@behaviour("B-CAP-05", "B-CAP-04")
@versions(since="6.0", until="6.1")
def test_what_becomes_of_data_that_changes_before_windows_8(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    low, write, read = _changed_while_it_stands(probe, registry)

    (pre,) = probe.trace.of(write).seen_by(low).by(Pre.SetValueKey)
    assert write.status == NTSTATUS.SUCCESS
    assert pre.data in (b"before", b"after!"), "one of the two, whole: it changed between the callbacks"
    assert read.data in (b"before", b"after!")
    record("B-CAP-05 the lower filter sees the change", pre.data == b"after!")
    record("B-CAP-05 the changed data is written", read.data == b"after!")


def _changed_while_it_stands(probe: Probe, registry: Registry) -> tuple[Filter, Step, Step]:
    """The lower filter, a write whose data was overwritten between the two filters, and what is read back."""
    high, low = probe.stack("380020.7301", "380000.7301")
    gate = probe.gate()
    high.on(Pre.SetValueKey, under=registry.test_root, value="v").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        memory = p.allocate_memory(data=b"before")
        with p.on(thread=1, background=True):
            write = p.set_value(key, "v", b"before", buffer=memory)
        there = gate.await_in(p)
        changed = p.write_memory(memory, b"after!")
        gate.open_in(p)
        p.wait_for(write)
        read = p.query_value(key, "v")

    assert there.in_time
    assert write.begin < changed.begin < changed.end < write.end
    assert (changed.status, write.input_address) == (NTSTATUS.SUCCESS, memory.handle)
    return low, write, read


@behaviour("B-CAP-07", "B-CAP-06")
@pytest.mark.parametrize(
    "stands_in",
    [
        pytest.param(Pre.QueryValueKey, id="pre"),
        pytest.param(Post.QueryValueKey, id="post", marks=versions(since="6.0")),
    ],
)
def test_an_output_buffer_that_goes_while_a_callback_runs(
    probe: Probe, registry: Registry, stands_in: NotifyClass
) -> None:
    """The requester frees it; filters go on, and the probe of a lower altitude reads it under protection."""
    gate = probe.gate()
    probe.add_monitor().on(stands_in, under=registry.test_root, value="v").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", "x")
        memory = p.allocate_memory(256)
        with p.on(thread=1, background=True):
            query = p.query_value(key, "v", length=256, buffer=memory)
        there = gate.await_in(p)
        freed = p.free_memory(memory)
        gate.open_in(p)
        p.wait_for(query)
        after = p.query_value(key, "v")

    assert there.in_time
    assert freed.status == NTSTATUS.SUCCESS
    assert query.begin < freed.begin < query.end
    assert nt_success(query.status) is (stands_in is Post.QueryValueKey)
    assert after.text == "x"


@behaviour("B-CAP-14")
@versions(until="6.1")
def test_an_input_buffer_that_goes_while_a_callback_runs(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    """Before Windows 8 filters see the requester's own memory; a probe that reads it lives on."""
    gate = probe.gate()
    monitor = probe.add_monitor()
    monitor.on(Pre.SetValueKey, under=registry.test_root, value="v").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        memory = p.allocate_memory(data=b"here")
        with p.on(thread=1, background=True):
            write = p.set_value(key, "v", b"here", buffer=memory)
        there = gate.await_in(p)
        freed = p.free_memory(memory)
        gate.open_in(p)
        p.wait_for(write)
        after = p.set_value(key, "w", b"there")

    assert there.in_time
    assert (freed.status, after.status) == (NTSTATUS.SUCCESS, NTSTATUS.SUCCESS)
    (pre,) = probe.trace.of(write).seen_by(monitor).by(Pre.SetValueKey)
    assert pre.data == b"here", "seen before it went"
    record("B-CAP-14 status of the write", write.status_name)


@behaviour("B-CAP-10")
def test_no_data_at_all(probe: Probe, registry: Registry) -> None:
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        step = p.set_value(key, "v", TypedValue(3, None))
        read = p.query_value(key, "v")

    assert step.status == NTSTATUS.SUCCESS
    assert (read.status, read.data) == (NTSTATUS.SUCCESS, b"")
    (pre,) = probe.trace.of(step).by(Pre.SetValueKey)
    assert pre["DataSize"] == 0
    assert not pre.faulted


@behaviour("B-CAP-10")
@versions(since="5.2")
def test_the_default_value_has_an_empty_name(probe: Probe, registry: Registry) -> None:
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        steps = [p.set_value(key, None, "default"), p.query_value(key, None), p.delete_value(key, None)]

    for step in steps:
        assert step.status == NTSTATUS.SUCCESS
        (pre,) = probe.trace.of(step).pre
        assert pre.name == ""
        assert not pre.faulted


@behaviour("B-CAP-11")
@pytest.mark.parametrize("maximum", [0, 2, 0xFFFE])
def test_maximum_length_means_nothing(probe: Probe, registry: Registry, maximum: int) -> None:
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app", name_maximum=maximum)
        step = p.set_value(key, "value", "x", name_maximum=maximum)
        read = p.query_value(key, "value")

    assert key.status == step.status == NTSTATUS.SUCCESS
    assert read.text == "x"
    (pre,) = probe.trace.of(step).by(Pre.SetValueKey)
    assert pre.name == "value"


@behaviour("B-CAP-13")
@versions(since="6.0")
def test_structures_and_objects_lie_in_system_memory(guest: Guest, probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        steps = [key, p.set_value(key, "v", "x"), p.query_key(key), p.close(key)]

    for step in steps:
        for event in probe.trace.of(step):
            assert not is_user(guest, event.information)
            assert event.object == 0 or not is_user(guest, event.object)
            if event.is_post and event.notify_class is not Post.KeyHandleClose:
                assert not is_user(guest, event["PreInformation"])


@behaviour("B-CAP-09")
@versions(since="6.2")
def test_probing_a_captured_member_raises(registry: Registry, features: Features) -> None:
    with features.capturing() as probed, registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "captured", "red")

    assert write.status == NTSTATUS.SUCCESS
    assert probed == [NTSTATUS.ACCESS_VIOLATION]
