"""Cutting traces, events and their members, comparisons."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from harness.errors import UsageError
from harness.probe import Action, EventFlag, Probe, Trace
from harness.probe.expect import explain, side_by_side
from harness.registry.notify import NotifyClass, Operation, Post, Pre
from harness.registry.status import NTSTATUS
from harness.registry.version import VISTA, XP
from tests.probe.fake_device import FakeDevice


@dataclass(frozen=True)
class Timed:
    begin: int
    end: int
    thread_id: int = 44


def trace_of(device: FakeDevice) -> Trace:
    return Probe(device).trace


@pytest.fixture
def layered(device: FakeDevice) -> Trace:
    """A write blocked by filter 2 between 10 and 19, an open at 25, a stranger's write at 15."""
    name = r"\REGISTRY\MACHINE\T"
    parent = device.notify(Pre.SetValueKey, 1, time=11, name="v", key_name=name, members={"DataSize": 4})
    device.act(parent, Action.SET_CALL_CONTEXT, Pre.SetValueKey, 1, value=7)
    device.notify(Pre.SetValueKey, 2, time=12, name="v", key_name=name, returned=-1073741790)
    device.notify(Pre.SetValueKey, 1, time=15, thread=48, name="other", key_name=r"\REGISTRY\MACHINE\U")
    device.notify(Post.SetValueKey, 1, time=18, name="v", key_name=name, status=-1073741790)
    device.notify(Pre.OpenKeyEx, 1, time=25, name="sub", key_name=name, root_object=0xFFFF_8000_0000_2000)
    return trace_of(device)


def test_a_trace_is_cut_by_operation_and_filter(layered: Trace) -> None:
    write = layered.of(Timed(10, 19))
    assert write == [Pre.SetValueKey, Pre.SetValueKey, Post.SetValueKey]
    assert write.seen_by(1) == [Pre.SetValueKey, Post.SetValueKey]
    assert write.seen_by(2) == [Pre.SetValueKey]
    assert write.seen_by(3) == []
    assert write.by(Pre.SetValueKey).seen_by(1, 2).classes == [Pre.SetValueKey] * 2
    assert write.by(Operation.SET_VALUE_KEY) == write
    assert write.pre == [Pre.SetValueKey] * 2
    assert write.post == [Post.SetValueKey]
    assert layered.between(Timed(10, 19)).thread(48) == [Pre.SetValueKey]
    assert layered.during(25, 25) == [Pre.OpenKeyEx]
    assert layered.process(41) == []
    assert layered.under(r"\registry\machine\t") == [*write.classes, Pre.OpenKeyEx]
    assert layered.where(name="other").thread(48) == layered.thread(48)
    assert layered.where(status=NTSTATUS.ACCESS_DENIED) == [Post.SetValueKey]
    assert layered.where(lambda event: event.blocked) == [Pre.SetValueKey]


def test_actions_are_apart_from_notifications(layered: Trace) -> None:
    assert len(layered) == 5
    (action,) = layered.of(Timed(10, 19)).actions
    assert (action.action, action.value, action.parent) == (Action.SET_CALL_CONTEXT, 7, 1)
    assert layered.actions.by(Pre.SetValueKey) == [Pre.SetValueKey]
    assert layered.seen_by(2).actions == []
    assert layered.notifications == layered
    assert [event.action for event in layered[:1].with_actions] == [None, Action.SET_CALL_CONTEXT]


def test_a_trace_is_a_sequence(layered: Trace) -> None:
    assert layered[0].notify_class is Pre.SetValueKey
    assert layered[-1].name == "sub"
    assert layered[1:3] == [Pre.SetValueKey, Pre.SetValueKey]
    assert [event.sequence for event in layered] == layered.sequences == [1, 3, 4, 5, 6]
    assert next(reversed(layered)).sequence == 6
    with pytest.raises(IndexError):
        _ = layered[9]
    assert not Trace.empty(layered.system)
    assert Trace.empty(layered.system) == []
    assert (layered == 5) is False
    assert layered == list(layered)
    with pytest.raises(TypeError):
        hash(layered)


def test_members_of_pre_and_post(device: FakeDevice) -> None:
    probe = Probe(device)
    members = {"Type": 1, "DataSize": 12, "Object": 0xFFFF_8000_0000_3000}
    device.notify(Pre.SetValueKey, members=members, name="v\udc00", data=b"abc")
    (pre,) = probe.trace
    device.notify(Post.SetValueKey, members={"Status": 0xC0000022}, pre_structure=pre.structure)
    post = probe.trace[1]
    assert (pre["Type"], pre["DataSize"], pre["Object"]) == (1, 12, 0xFFFF_8000_0000_3000)
    assert pre.name == "v\udc00"
    assert (pre.data, pre.spans.data.length) == (b"abc", 3)
    assert pre.spans.second_name.address == 0
    assert post["Status"] == NTSTATUS.ACCESS_DENIED
    assert post["DataSize"] == 12, "by way of PreInformation"
    with pytest.raises(KeyError, match="PostSetValueKey has no member Nothing; it has Object, Status"):
        _ = post["Nothing"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        pre.name = "x"  # type: ignore[misc]


def test_layouts_follow_the_version(device: FakeDevice) -> None:
    device.version, device.pointer_size = XP, 4
    device.notify(Pre.SetValueKey, members={"DataSize": 9})
    (event,) = trace_of(device)
    assert len(event.structure) == 24
    assert event["DataSize"] == 9
    assert "CallContext" not in event.scalars
    vista = FakeDevice(version=VISTA)
    vista.notify(Pre.CreateKeyEx, members={"CreateOptions": 1})
    assert trace_of(vista)[0]["CreateOptions"] == 1


def test_optional_outputs_are_none_where_there_are_none(device: FakeDevice) -> None:
    device.notify(Post.CreateKeyEx, flags=EventFlag.HAS_DISPOSITION, disposition=1, result_length=5)
    (event,) = trace_of(device)
    assert (event.disposition, event.result_length, event.result_object) == (1, None, None)
    assert not event.faulted


def test_unknown_numbers_stay_numbers(device: FakeDevice) -> None:
    device.notify(Pre.SetValueKey)
    device.events[0][0][36] = 63  # notify_class
    device.act(1, 99, Pre.SetValueKey)
    trace = trace_of(device)
    assert trace.classes == [63]
    assert trace[0].scalars == {}
    assert trace == [63]
    assert trace.actions[0].action == 99
    assert "class 63" in str(trace)
    assert trace.paired() == []


def test_columns_need_no_events(device: FakeDevice) -> None:
    probe = Probe(device)
    for number in range(20):
        device.notify(
            Pre.SetValueKey, members={"DataSize": number, "Type": 1}, name="x" * number, time=number
        )
        device.notify(Post.SetValueKey, members={"Status": 0xC0000022}, status=-1073741790)
    trace = probe.trace
    assert trace.by(Pre.SetValueKey).column("DataSize").tolist() == list(range(20))
    assert trace.column("CallContext").tolist() == [0] * 40
    assert set(trace.post.column("status").tolist()) == {NTSTATUS.ACCESS_DENIED}
    assert trace.column("time").dtype == np.uint64
    with pytest.raises(UsageError, match="has no member DataSize"):
        trace.column("DataSize")
    device.notify(Pre.SetValueKey, structure=b"")
    with pytest.raises(UsageError, match="not recorded up to DataSize"):
        probe.trace.pre.column("DataSize")


def test_pairs_nest_on_a_thread(device: FakeDevice) -> None:
    for notify_class, filter_id in [
        (Pre.SetValueKey, 1), (Pre.SetValueKey, 2), (Pre.SetValueKey, 1), (Post.SetValueKey, 1),
        (Post.SetValueKey, 1), (Post.DeleteKey, 1), (NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP, 1),
    ]:  # fmt: skip
        device.notify(notify_class, filter_id)
    pairs = trace_of(device).paired()
    numbers = [(p.pre.sequence if p.pre else 0, p.post.sequence if p.post else 0) for p in pairs]
    assert numbers == [(1, 5), (2, 0), (3, 4), (0, 6)]


def test_the_path_of_a_create(device: FakeDevice) -> None:
    root = 0xFFFF_8000_0000_2000
    device.notify(Pre.OpenKeyEx, key_name="\\REGISTRY\\MACHINE", name="Software\\X", root_object=root)
    device.notify(Pre.OpenKeyEx, key_name="\\REGISTRY", name="\\REGISTRY\\USER", root_object=root)
    device.notify(Pre.SetValueKey, key_name="\\REGISTRY\\MACHINE", name="value")
    paths = [event.path for event in trace_of(device)]
    assert paths == ["\\REGISTRY\\MACHINE\\Software\\X", "\\REGISTRY\\USER", "\\REGISTRY\\MACHINE"]


# -- for people ----------------------------------------------------------------------------------------------


def test_a_failed_comparison_shows_both_sides(layered: Trace) -> None:
    seen = layered.of(Timed(10, 19)).seen_by(1)
    lines = explain("==", seen, [Pre.SetValueKey, Pre.DeleteKey])
    assert lines is not None
    text = "\n".join(lines)
    assert "the trace has 2 events, expected 2" in text
    assert "  PreSetValueKey   #1 filter 1 PreSetValueKey" in text
    assert "< PreDeleteKey" in text
    assert any(line.startswith(">") and "STATUS_ACCESS_DENIED" in line for line in lines)
    assert explain("==", [Pre.SetValueKey], seen) is not None, "either side may be the trace"
    assert explain("!=", seen, []) is None
    assert explain("==", [1], [2]) is None
    assert any("(nothing)" in line for line in side_by_side([], Trace.empty(layered.system)))


def test_long_comparisons_are_cut(device: FakeDevice) -> None:
    for _ in range(300):
        device.notify(Pre.SetValueKey)
    lines = side_by_side([], trace_of(device))
    assert len(lines) < 70
    assert "more" in lines[-1]


def test_a_trace_prints_as_a_table(device: FakeDevice) -> None:
    probe = Probe(device)
    monitor = probe.add("380010.7301")
    parent = device.notify(
        Pre.SetValueKey, monitor.id, name="[red]\x1b[2Jv", key_name="\\REGISTRY\\MACHINE\\\udc00"
    )
    device.act(parent, Action.FETCH_NAME, Pre.SetValueKey, monitor.id)
    text = str(probe.trace)
    assert "380010.7301" in text
    assert "[red]\\x1b[2Jv" in text, "neither markup nor escapes of a guest reach the terminal"
    assert "\\udc00" in text
    assert "fetch_name (rule 1)" in text
    assert repr(probe.trace) == "<trace of 1 event: PreSetValueKey>"
    out = StringIO()
    Console(file=out, width=160).print(probe.trace)
    assert "380010.7301" in out.getvalue()


def test_long_traces_print_their_beginning(device: FakeDevice) -> None:
    probe = Probe(device)
    for _ in range(450):
        device.notify(Pre.SetValueKey)
    text = str(probe.trace)
    assert "450 events, the first 200 shown" in text
    assert "and 250 more" in text
    assert len(text.splitlines()) < 220


def test_twenty_thousand_events_are_cut_without_building_any(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20_000):
        device.notify(Pre.SetValueKey, number % 4, time=number, members={"DataSize": number})
    trace = trace_of(device)

    def refuse(*_: object) -> None:
        raise AssertionError("an event was built")

    monkeypatch.setattr("harness.probe.trace.make_event", refuse)
    assert len(trace.of(Timed(100, 199)).seen_by(1)) == 25
    assert int(trace.column("DataSize").sum()) == 20_000 * 19_999 // 2
