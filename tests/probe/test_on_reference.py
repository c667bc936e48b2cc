"""The whole path: the compiled probe on the reference guest, driven by programs, read as traces."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.errors import DriverRefusedError, TraceIncompleteError
from harness.guest.base import Guest
from harness.probe import HIGH, LOW, MIDDLE, Action, InnerCall, Probe, ProbeError, Routine
from harness.registry.notify import Operation, Post, Pre
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.workload import Registry

pytest.importorskip(
    "unicorn", reason="the reference guest needs unicorn: pip install regfilter-harness[reference]"
)

from harness import reference

OPEN_SET_CLOSE = [
    Pre.OpenKeyEx,
    Post.OpenKeyEx,
    Pre.SetValueKey,
    Post.SetValueKey,
    Pre.KeyHandleClose,
    Post.KeyHandleClose,
]


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with reference.boot("10.0.26100") as guest:
        yield guest


@pytest.fixture(scope="module")
def loaded(guest: Guest) -> Iterator[Probe]:
    with Probe.install(guest) as probe:
        yield probe


@pytest.fixture
def probe(loaded: Probe) -> Iterator[Probe]:
    yield loaded
    loaded.reset()


@pytest.fixture
def registry(guest: Guest) -> Iterator[Registry]:
    with Registry(guest) as registry:
        yield registry


def test_the_probe_says_where_it_runs(guest: Guest, probe: Probe) -> None:
    assert probe.info.version.number == guest.info.version.number
    assert probe.info.pointer_size == guest.info.arch.pointer_size
    assert Routine.GET_KEY_OBJECT_ID_EX in probe.info.routines
    assert probe.info.time_frequency > 0


def test_a_block_in_the_middle_is_seen_above_and_hidden_below(probe: Probe, registry: Registry) -> None:
    high, middle, low = probe.stack(HIGH, MIDDLE, LOW)
    middle.on(Pre.SetValueKey, value="secret").block(NTSTATUS.ACCESS_DENIED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "secret", "x")

    assert write.status == NTSTATUS.ACCESS_DENIED
    assert probe.trace.of(write).seen_by(high) == [Pre.SetValueKey, Post.SetValueKey]
    assert probe.trace.of(write).seen_by(middle) == [Pre.SetValueKey]
    assert probe.trace.of(write).seen_by(low) == []


def test_an_event_tells_the_whole_story(guest: Guest, probe: Probe, registry: Registry) -> None:
    monitor = probe.add(MIDDLE, context=0x5EED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "text")
        read = p.query_value(key, "v")

    pre, post = probe.trace.of(write)
    assert pre.filter_id == monitor.id
    assert pre.callback_context == 0x5EED
    assert (pre.process_id, pre.thread_id) == (write.process_id, write.thread_id)
    assert registry.test_root.joinpath(["app"]).same(pre.key_name)
    assert (pre.name, pre.data) == ("v", "text\0".encode("utf-16-le"))
    assert (pre["Type"], pre["DataSize"]) == (ValueType.SZ, 10)
    assert (post.status, post["DataSize"]) == (write.status, 10)
    assert write.begin <= pre.time < post.time <= write.end
    assert (read.text, read.result_length) == ("text", 22)
    (create,) = probe.trace.of(key).post
    assert create.disposition == key.disposition == 1
    assert create.result_object == create.object != 0
    (query,) = probe.trace.of(read).post
    assert query.data == read.output
    assert len(probe.trace.of(key).by(Operation.CREATE_KEY_EX).paired()) == 1


def test_a_vectorised_column_equals_the_events(probe: Probe, registry: Registry) -> None:
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        for number in range(50):
            p.set_value(key, f"v{number}", bytes(number))

    writes = probe.trace.by(Pre.SetValueKey)
    assert writes.column("DataSize").tolist() == list(range(50))
    assert [event["DataSize"] for event in writes] == list(range(50))


def test_a_rule_below_a_handle_is_set_by_the_program(probe: Probe, registry: Registry) -> None:
    monitor = probe.add_monitor()

    with registry.program() as p:
        app, other = p.create_key(p.test_root / "app"), p.create_key(p.test_root / "other")
        free = p.set_value(app, "v", 1)
        rule = monitor.on(Pre.SetValueKey, under=app).block()
        refused = [p.set_value(app, "v", 1), p.set_value(p.create_key(app / "child"), "v", 1)]
        elsewhere = p.set_value(other, "v", 1)

    assert [free.status, elsewhere.status] == [0, 0]
    assert [step.status for step in refused] == [NTSTATUS.ACCESS_DENIED] * 2
    assert rule.rules[0].id > 0
    rule.remove()
    with registry.program() as p:
        p.set_value(p.open_key(p.test_root / "app"), "v", 1, expect=0)


def test_a_program_removes_a_filter(probe: Probe, registry: Registry) -> None:
    monitor = probe.add_monitor()
    monitor.on(Post.CreateKeyEx, under=registry.test_root).set_object_context(7)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        removal = monitor.remove_in(p)
        write = p.set_value(key, "v", 1)

    assert (removal.status, removal.cleanups) == (0, 1)
    assert probe.trace.of(write) == []
    assert [event.object_context for event in probe.trace.cleanups] == [7]
    assert probe.statistics.filters == 0


def test_actions_are_recorded_inside_their_notification(probe: Probe, registry: Registry) -> None:
    monitor = probe.add_monitor()
    monitor.on(Pre.SetValueKey, value="v").fetch_name(ex=True).set_call_context(9)

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", 1)

    trace = probe.trace.of(write)
    assert [event.action for event in trace.actions] == [Action.FETCH_NAME, Action.SET_CALL_CONTEXT]
    assert trace.actions[0].key_name == trace[0].key_name
    assert {event.parent for event in trace.actions} == {trace[0].sequence}
    assert trace[1].call_context == 9


def test_an_inner_call_acts_on_another_value(probe: Probe, registry: Registry) -> None:
    monitor = probe.add_monitor()
    app = registry.test_root / "app"
    rule = monitor.on(Pre.SetValueKey, value="outer")
    rule.call(InnerCall.SET_VALUE, app, value="inner", data=b"\7\0\0\0", value_type=ValueType.DWORD)

    with registry.program() as p:
        key = p.create_key(app)
        p.set_value(key, "outer", 1)
        read = p.query_value(key, "inner")

    assert read.dword == 7


@pytest.mark.parametrize("worker", [False, True], ids=["caller", "worker"])
def test_a_kernel_call_is_cut_out_like_an_operation(probe: Probe, registry: Registry, worker: bool) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add_monitor()

    call = probe.kernel_call.set_value(registry.test_root / "app", "v", b"x", work_item=worker)

    assert call.succeeded, call.status_name
    assert probe.trace.of(call) == OPEN_SET_CLOSE
    missing = probe.kernel_call.open_key(registry.test_root / "missing")
    assert missing.open_status == NTSTATUS.OBJECT_NAME_NOT_FOUND


def test_an_application_hive_is_one_line(probe: Probe, registry: Registry) -> None:
    monitor = probe.add_monitor()

    with registry.program() as p:
        hive = p.load_app_key("app.dat", expect=0)
        write = p.set_value(p.create_key(hive / "settings", expect=0), "v", "x", expect=0)

    (pre, _) = probe.trace.of(write).seen_by(monitor)
    assert pre.key_name.upper().startswith("\\REGISTRY\\A\\")
    assert hive.path is None


def test_statuses_of_registration(probe: Probe) -> None:
    probe.add(HIGH)
    assert probe.try_add(HIGH) == NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION
    with pytest.raises(ProbeError) as caught:
        probe.add(HIGH)
    assert caught.value.status == NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION
    assert probe.unregister_cookie(0xDEAD).status == NTSTATUS.INVALID_PARAMETER


def test_a_full_ring_makes_the_trace_useless(registry: Registry) -> None:
    with reference.boot("10.0.26100") as small, Probe.install(small, ring_slots=16) as probe:
        assert probe.info.ring_slots == 16
        probe.add_monitor()
        with Registry(small) as there:
            with there.program() as p:
                key = p.create_key(p.test_root / "app")
                for _ in range(20):
                    p.query_key(key)
            with pytest.raises(TraceIncompleteError, match="dropped"):
                _ = probe.trace
            probe.reset()
            assert probe.trace == []


def test_a_driver_that_is_none_is_refused() -> None:
    with reference.boot("10.0.26100") as guest, pytest.raises(DriverRefusedError):
        Probe.install(guest, image=b"MZ is not enough")


def test_closing_leaves_nothing(guest: Guest) -> None:
    with reference.boot("10.0.26100") as guest:
        with Probe.install(guest) as probe:
            probe.add_monitor()
        with Probe.install(guest) as probe:
            assert probe.statistics.filters == 0


@pytest.mark.parametrize(
    ("version", "arch"),
    [("5.1", "x86"), ("5.2", "x64"), ("6.0", "x86"), ("6.1", "x64"), ("10.0.10240", "x86")],
)
def test_other_windows(version: str, arch: str) -> None:
    with (
        reference.boot(version, arch=arch) as guest,
        Probe.install(guest) as probe,
        Registry(guest) as registry,
    ):
        monitor = probe.add_monitor()
        with registry.program() as p:
            key = p.create_key(p.test_root / "app", expect=0)
            write = p.set_value(key, "v", 7, expect=0)
            read = p.query_value(key, "v", expect=0)
        assert read.dword == 7
        (pre, *posts) = probe.trace.of(write).seen_by(monitor)
        assert pre["DataSize"] == 4
        assert pre.name == "v"
        assert [event.notify_class for event in posts] == ([] if version == "5.1" else [Post.SetValueKey])
        assert probe.info.pointer_size == guest.info.arch.pointer_size


def test_code_is_never_flushed_below_a_running_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call further out would come back to code that was overwritten: the process dies, now and then."""
    with reference.boot("6.3") as guest, Registry(guest) as registry:
        with registry.program() as p:
            p.create_key(p.test_root / "app")
        cpu = guest.machine.cpu
        depths: list[int] = []
        flush = type(cpu.engine).flush_code
        monkeypatch.setattr(
            type(cpu.engine), "flush_code", lambda self: (depths.append(len(cpu.levels)), flush(self))
        )
        with Probe.install(guest) as probe:
            probe.stack(2)
            assert probe.kernel_call.set_value(registry.test_root / "app", "v", b"x").status == 0

    assert depths
    assert max(depths) <= 1
