"""Filters, rules, kernel calls and collection, over a device in memory."""

from __future__ import annotations

import pytest

from harness.errors import (
    AbiMismatchError,
    InfrastructureError,
    TraceIncompleteError,
    UnsupportedError,
    UsageError,
)
from harness.probe import (
    HIGH,
    LOW,
    MIDDLE,
    Action,
    Base,
    Filter,
    InnerCall,
    Probe,
    ProbeError,
    Subject,
    abi,
    altitudes,
)
from harness.probe.enums import ActionFlag, CallFlag, CrashWay, FilterFlag, Match, Routine
from harness.registry.altitude import Altitude
from harness.registry.notify import NotifyClass, Operation, Post, Pre
from harness.registry.status import NTSTATUS
from harness.registry.version import XP
from harness.workload import Registry
from tests.probe.fake_device import FakeDevice
from tests.workload.fake_runner import FakeRunner


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


@pytest.fixture
def probe(device: FakeDevice) -> Probe:
    return Probe(device)


@pytest.fixture
def monitor(probe: Probe) -> Filter:
    return probe.add(MIDDLE)


# -- the link ------------------------------------------------------------------------------------------------


def test_info_is_read_once(probe: Probe, device: FakeDevice) -> None:
    assert probe.info.version == device.version
    assert probe.info.callback_version == (1, 1)
    assert probe.info.has_register_callback_ex
    assert probe.info.routines == Routine.REGISTER_CALLBACK | Routine.REGISTER_CALLBACK_EX
    assert probe.info.pointer_mask == 0xFFFF_FFFF_FFFF_FFFF


def test_another_abi_is_refused_with_both_versions(device: FakeDevice) -> None:
    device.abi_version = 0x00020003
    with pytest.raises(AbiMismatchError, match=r"the probe speaks ABI 2\.3, this harness 1\.2"):
        Probe(device)


def test_a_mismatch_that_appears_later_is_named_too(probe: Probe, device: FakeDevice) -> None:
    device.abi_version = 0x00090000
    with pytest.raises(AbiMismatchError, match=r"ABI 9\.0"):
        probe.add(HIGH)


# -- filters -------------------------------------------------------------------------------------------------


def test_a_stack_of_filters(probe: Probe, device: FakeDevice) -> None:
    high, middle, low = probe.stack(HIGH, MIDDLE, LOW)
    assert [each.altitude for each in probe.filters] == [HIGH, MIDDLE, LOW]
    assert len({high.cookie, middle.cookie, low.cookie}) == 3
    sent = device.sent("ADD_FILTER")
    assert [s["altitude"][: s["altitude_length"]].decode("utf-16-le") for s in sent] == [HIGH, MIDDLE, LOW]
    assert repr(high) == f"<filter {HIGH}>"


def test_a_kernel_without_callbacks_is_a_skip_and_has_its_status(probe: Probe, device: FakeDevice) -> None:
    device.has_callbacks = False
    with pytest.raises(UnsupportedError, match="no registry callbacks"):
        probe.add(HIGH)
    assert probe.try_add(HIGH) == NTSTATUS.NOT_IMPLEMENTED


def test_test_altitudes_are_fractions_from_high_to_low(probe: Probe) -> None:
    many = altitudes(32)
    assert len(probe.stack(32)) == 32
    assert [Altitude(text) for text in many] == sorted((Altitude(text) for text in many), reverse=True)
    assert all("." in text and 360000 < float(text) < 390000 for text in many)
    with pytest.raises(UsageError, match="at most"):
        altitudes(1000)


def test_a_collision_has_its_status(probe: Probe) -> None:
    probe.add(HIGH)
    with pytest.raises(ProbeError, match="ALTITUDE_COLLISION") as caught:
        probe.add(HIGH)
    assert caught.value.status == NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION
    assert probe.try_add(HIGH) == NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION
    assert probe.try_add(LOW) == NTSTATUS.SUCCESS
    assert [each.altitude for each in probe.filters] == [HIGH, LOW]


def test_flags_of_a_filter(probe: Probe, device: FakeDevice) -> None:
    probe.add(HIGH, context=5, silent=True, names=False, raw=False, at_apc_level=True)
    (sent,) = device.sent("ADD_FILTER")
    assert sent["context"] == 5
    assert FilterFlag(sent["flags"]) == (
        FilterFlag.SILENT | FilterFlag.NO_NAMES | FilterFlag.NO_RAW | FilterFlag.AT_APC_LEVEL
    )


def test_before_vista_filters_are_legacy(device: FakeDevice) -> None:
    device.version, device.routines = XP, int(Routine.REGISTER_CALLBACK)
    probe = Probe(device)
    one = probe.add_monitor()
    two = probe.add("380000")
    assert one.legacy
    assert two.legacy
    assert two.altitude == "380000", "kept as a label"
    assert all(
        s["flags"] == FilterFlag.LEGACY and not s["altitude_length"] for s in device.sent("ADD_FILTER")
    )


def test_a_filter_needs_an_altitude_or_legacy(probe: Probe) -> None:
    with pytest.raises(UsageError, match="needs an altitude"):
        probe.add()
    assert probe.add(legacy=True).altitude is None


def test_monitors_take_free_altitudes(probe: Probe) -> None:
    assert len({probe.add_monitor().altitude for _ in range(4)}) == 4


def test_removal(probe: Probe, monitor: Filter) -> None:
    assert monitor.remove().cleanups == 3
    assert probe.filters == []
    with pytest.raises(UsageError, match="removed before"):
        monitor.remove()
    with pytest.raises(UsageError, match="no more rules"):
        monitor.on(Pre.SetValueKey)
    assert probe.unregister_cookie(0xBAD).status == NTSTATUS.INVALID_PARAMETER
    with probe.add(HIGH) as inside:
        assert inside in probe.filters
    assert probe.filters == []


def test_reset_forgets_everything(probe: Probe, device: FakeDevice, monitor: Filter) -> None:
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1
    probe.reset()
    assert monitor.removed
    assert probe.filters == []
    assert probe.trace == []
    assert probe.statistics.recorded == 0


# -- rules ---------------------------------------------------------------------------------------------------


def test_conditions_become_fields(device: FakeDevice, monitor: Filter) -> None:
    monitor.on(
        Pre.SetValueKey,
        Pre.DeleteValueKey,
        under=r"\REGISTRY\MACHINE\X",
        value="secret",
        process=40,
        thread=44,
        previous_mode=1,
        nth=2,
        count=3,
    ).block()
    (sent,) = device.sent("SET_RULE")
    assert sent["filter_id"] == monitor.id
    assert sent["classes"] == 1 << Pre.SetValueKey | 1 << Pre.DeleteValueKey
    assert Match(sent["match"]) == (
        Match.KEY_PREFIX | Match.VALUE_NAME | Match.PROCESS | Match.THREAD | Match.PREVIOUS_MODE
    )
    assert (sent["process_id"], sent["thread_id"], sent["previous_mode"]) == (40, 44, 1)
    assert (sent["nth_first"], sent["nth_count"]) == (2, 3)
    assert sent["key"][: sent["key_length"]].decode("utf-16-le") == r"\REGISTRY\MACHINE\X"
    assert sent["value_name"][: sent["value_name_length"]].decode("utf-16-le") == "secret"
    assert (sent["action"], sent["status"] & 0xFFFFFFFF) == (Action.RETURN, NTSTATUS.ACCESS_DENIED)


def test_operations_and_high_classes(device: FakeDevice, monitor: Filter) -> None:
    monitor.on(Operation.SET_VALUE_KEY, NotifyClass.POST_SAVE_MERGED_KEY).pass_()
    monitor.on(Post.SetValueKey, key=r"\REGISTRY\X", status=NTSTATUS.ACCESS_DENIED).override(0)
    first, second = device.sent("SET_RULE")
    assert first["classes"] == 1 << 1 | 1 << 16 | 1 << 50
    assert (second["match"], second["match_status"] & 0xFFFFFFFF) == (
        Match.KEY_EXACT | Match.STATUS,
        NTSTATUS.ACCESS_DENIED,
    )


def test_actions_chain_in_order_until_one_decides(device: FakeDevice, monitor: Filter) -> None:
    rule = monitor.on(Pre.SetValueKey).set_call_context(1).fetch_name(ex=True, bad_flags=True).block()
    assert [sent["action"] for sent in device.sent("SET_RULE")] == [
        Action.SET_CALL_CONTEXT,
        Action.FETCH_NAME,
        Action.RETURN,
    ]
    assert ActionFlag(device.sent("SET_RULE")[1]["action_flags"]) == ActionFlag.USE_EX | ActionFlag.BAD_FLAGS
    assert [each.id for each in rule.rules] == [1, 2, 3]
    with pytest.raises(UsageError, match="return ends the chain; delay would never run"):
        rule.delay(1)


def test_rules_are_removed_one_by_one_or_all(device: FakeDevice, monitor: Filter) -> None:
    with monitor.on(Pre.SetValueKey).set_call_context(1).block() as rule:
        assert len(rule.rules) == 2
    assert [(s["filter_id"], s["rule_id"]) for s in device.sent("CLEAR_RULES")] == [(1, 1), (1, 2)]
    monitor.clear()
    assert device.sent("CLEAR_RULES")[-1]["rule_id"] == 0
    kept = monitor.on(Pre.SetValueKey).block()
    monitor.remove()
    before = len(device.requests)
    kept.remove()
    assert len(device.requests) == before, "the filter took its rules with it"


def test_every_action_reaches_the_driver(device: FakeDevice, monitor: Filter) -> None:
    pre, post, query = (Pre.SetValueKey,), (Post.SetValueKey,), (Pre.QueryValueKey,)
    key = r"\REGISTRY\MACHINE\Y"
    made = [
        (monitor.on(*pre).pass_(), Action.PASS),
        (monitor.on(*post).return_(0xC0DE0001), Action.RETURN),
        (monitor.on(*pre).succeed(0x103), Action.RETURN),
        (monitor.on(*pre).bypass(), Action.BYPASS),
        (monitor.on(Pre.OpenKeyEx).bypass_with_key(key, access=None, create=True), Action.BYPASS_KEY),
        (monitor.on(*query).bypass_output(b"out"), Action.BYPASS_OUTPUT),
        (monitor.on(*pre).redirect("other"), Action.REDIRECT),
        (monitor.on(*post).override(0), Action.OVERRIDE),
        (monitor.on(Post.OpenKeyEx).override_with_key("sub", base=Base.SUBJECT), Action.OVERRIDE_KEY),
        (monitor.on(*post).write_return_status(5), Action.WRITE_RETURN_STATUS),
        (monitor.on(Post.QueryValueKey).edit_output(b"x", 4, result_length=9), Action.EDIT_OUTPUT),
        (monitor.on(*pre).set_call_context(1), Action.SET_CALL_CONTEXT),
        (monitor.on(*post).set_object_context(2, subject=Subject.OBJECT), Action.SET_OBJECT_CONTEXT),
        (monitor.on(*pre, value="a").call(InnerCall.SET_VALUE, key, value="b", data=b"1"), Action.CALL),
        (monitor.on(*pre).fetch_name(no_id=True), Action.FETCH_NAME),
        (monitor.on(*pre).fetch_transaction(bad_object=True), Action.FETCH_TRANSACTION),
        (monitor.on(*pre).raise_(), Action.RAISE),
        (monitor.on(*pre).delay(3), Action.DELAY),
        (monitor.on(*pre).stand(monitor.probe.gate(2), milliseconds=5), Action.STAND),
        (monitor.on(*pre).open_object(), Action.OPEN_OBJECT),
        (monitor.on(*post).undo(), Action.UNDO),
        (monitor.on(*pre).edit_input(name="n", access=1, data=b"d"), Action.EDIT_INPUT),
    ]
    sent = device.sent("SET_RULE")
    assert [s["action"] for s in sent] == [action for _, action in made]
    assert {action for _, action in made} == set(Action)
    by_action = {Action(s["action"]): s for s in sent}
    key_rule = by_action[Action.BYPASS_KEY]
    assert ActionFlag(key_rule["action_flags"]) == ActionFlag.CREATE | ActionFlag.NO_GRANTED_ACCESS
    call = by_action[Action.CALL]
    assert call["value_name"][: call["value_name_length"]] == b"a\0"
    assert call["call_value_name"][: call["call_value_name_length"]] == b"b\0"
    edit = by_action[Action.EDIT_OUTPUT]
    assert (edit["offset"], edit["value"], edit["data"][:1]) == (4, 9, b"x")
    assert all(repr(rule).endswith(f": {action.name.lower()}>") for rule, action in made)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f.on(), "needs a notify class"),
        (lambda f: f.on(1), "no notify class"),
        (lambda f: f.on(Pre.SetValueKey, key="relative"), "no absolute path"),
        (lambda f: f.on(Pre.SetValueKey, key="\\a", under="\\b"), "one key condition"),
        (lambda f: f.on(Pre.SetValueKey, under=5), "takes a path or a step"),
        (lambda f: f.on(Pre.SetValueKey, key="\\" + "x" * 600), "holds 512"),
        (lambda f: f.on(Pre.SetValueKey, nth=0), "counts from 1"),
        (lambda f: f.on(Pre.SetValueKey, status=0), "Status of a post"),
        (lambda f: f.on(Post.SetValueKey).block(), "block is for pre"),
        (lambda f: f.on(Pre.SetValueKey).override(0), "override is for post"),
        (lambda f: f.on(Pre.SetValueKey).block(0x103), "does not block"),
        (lambda f: f.on(Pre.SetValueKey).block(NTSTATUS.CALLBACK_BYPASS), r"is bypass\(\)"),
        (lambda f: f.on(Pre.SetValueKey).succeed(0xC0000001), "is no success"),
        (lambda f: f.on(Pre.KeyHandleClose).bypass(), "has no effect"),
        (lambda f: f.on(Pre.SetValueKey).bypass_output(b""), "for a pre query or enumeration, not for"),
        (lambda f: f.on(Pre.SetValueKey).bypass_with_key("\\a"), "for a pre create or open"),
        (lambda f: f.on(Post.OpenKeyEx).redirect("x"), "pre set or delete value"),
        (lambda f: f.on(Pre.QueryValueKey).bypass_output(bytes(600)), "a rule holds 512"),
        (lambda f: f.on(Pre.SetValueKey).edit_input(), "not empty"),
        (lambda f: f.on(Pre.SetValueKey).fetch_name(bad_flags=True), "needs ex=True"),
        (lambda f: f.on(Pre.SetValueKey).set_call_context(1 << 64), "has 64 bits"),
    ],
)
def test_what_can_not_be_is_said_before_it_is_sent(
    device: FakeDevice, monitor: Filter, make: object, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make(monitor)  # type: ignore[operator]
    assert device.sent("SET_RULE") == []


def test_anything_may_be_returned_where_a_close_is_announced(device: FakeDevice, monitor: Filter) -> None:
    monitor.on(Pre.KeyHandleClose).return_(NTSTATUS.CALLBACK_BYPASS)
    (sent,) = device.sent("SET_RULE")
    assert sent["status"] & 0xFFFFFFFF == NTSTATUS.CALLBACK_BYPASS


def test_a_rule_under_a_handle_is_set_by_the_program(device: FakeDevice, monitor: Filter) -> None:
    program = Registry(FakeRunner()).program()
    key = program.create_key(program.test_root / "app")
    rule = monitor.on(Pre.SetValueKey, under=key).block()
    removal = monitor.remove_in(program)
    assert device.sent("SET_RULE") == []
    request, remove = (step.operation for step in program.steps[1:])
    record = abi.record("REGPROBE_RULE")
    assert request.patches == ((record.offset("handle"), key.slot),)
    assert Match(record.unpack(request.data or b"")["match"]) == Match.KEY_HANDLE
    assert request.length == 8
    assert remove.code == abi.constant("IOCTL_REGPROBE_REMOVE_FILTER")
    with pytest.raises(UsageError, match="has not run"):
        _ = rule.rules[0].id
    with pytest.raises(UsageError, match="has not run"):
        _ = removal.cleanups
    assert monitor.removed


# -- kernel calls --------------------------------------------------------------------------------------------


def test_a_kernel_call_has_a_place_in_the_trace(probe: Probe, device: FakeDevice) -> None:
    device.kernel_reply = {
        "status": 0,
        "time_begin": 10,
        "time_end": 20,
        "thread_id": 99,
        "result_length": 3,
        "data": b"abcdef",
    }
    call = probe.kernel_call.set_value("\\x", "v", b"data", type=1, work_item=True, force_access_check=True)
    (sent,) = device.sent("KERNEL_CALL")
    assert (sent["call"], sent["value_type"], sent["data_length"]) == (InnerCall.SET_VALUE, 1, 4)
    assert CallFlag(sent["flags"]) == CallFlag.WORK_ITEM | CallFlag.FORCE_ACCESS_CHECK
    assert call.data == b"abc"
    assert call.succeeded
    device.notify(Pre.SetValueKey, time=15, thread=99)
    device.notify(Pre.SetValueKey, time=15, thread=44)
    assert len(probe.trace.of(call)) == 1
    assert len(probe.trace.between(call)) == 2
    device.kernel_reply["time_end"] = 9
    with pytest.raises(InfrastructureError, match="before its begin"):
        probe.kernel_call.open_key("\\x")
    with pytest.raises(UsageError, match="holds 512"):
        probe.kernel_call.set_value("\\x", "v", bytes(513))


@pytest.mark.parametrize("call", InnerCall)
def test_every_kernel_call_has_a_method(probe: Probe, device: FakeDevice, call: InnerCall) -> None:
    arguments = {InnerCall.SET_VALUE: ("v", b"x")}.get(
        call, ("v",) if call in (InnerCall.QUERY_VALUE, InnerCall.DELETE_VALUE) else ()
    )
    getattr(probe.kernel_call, call.name.lower())("\\x", *arguments)
    assert device.sent("KERNEL_CALL")[-1]["call"] == call


# -- collecting ----------------------------------------------------------------------------------------------


def test_events_come_in_several_drains(probe: Probe, device: FakeDevice) -> None:
    for number in range(500):
        device.notify(Pre.SetValueKey, time=number, name=f"value{number}")
    assert len(probe.trace) == 500
    assert sum(code == "DRAIN" for code, _ in device.requests) > 1
    device.notify(Post.SetValueKey, time=500)
    trace = probe.trace
    assert len(trace) == 501
    assert trace[499].name == "value499"
    assert trace[0].name == "value0", "offsets hold after the pieces are joined"
    device.notify(Post.SetValueKey, time=501)
    assert len(probe.drain()) == 1
    assert len(probe.trace) == 502


def test_drops_make_a_trace_useless(probe: Probe, device: FakeDevice) -> None:
    device.notify(Pre.SetValueKey)
    device.dropped = 7
    for look in (lambda: probe.trace, probe.check_complete):
        with pytest.raises(TraceIncompleteError, match=r"dropped 7 events.*4096 slots.*RingSlots"):
            look()
    probe.reset()
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1


def test_a_gap_makes_a_trace_useless(probe: Probe, device: FakeDevice) -> None:
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1
    device.sequence += 4
    device.notify(Pre.SetValueKey)
    with pytest.raises(TraceIncompleteError, match="4 sequence numbers are missing"):
        _ = probe.trace


def test_sequence_numbers_that_go_back_are_refused(probe: Probe, device: FakeDevice) -> None:
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1
    device.sequence = 0
    device.notify(Pre.SetValueKey)
    with pytest.raises(InfrastructureError, match="do not ascend"):
        _ = probe.trace


def test_a_running_callback_does_not_hold_up_the_drain(probe: Probe, device: FakeDevice) -> None:
    device.unready = True
    device.notify(Pre.SetValueKey)
    assert probe.trace == []
    device.unready = False
    assert len(probe.trace) == 1


def test_a_guest_that_did_nothing_is_not_asked_again(probe: Probe, device: FakeDevice) -> None:
    device.activity = 1
    device.notify(Pre.SetValueKey)
    assert len(probe.trace) == 1
    drains = len(device.sent("DRAIN"))
    assert len(probe.trace) == 1
    probe.check_complete()
    assert len(device.sent("DRAIN")) == drains
    device.notify(Post.SetValueKey)
    device.activity = 2
    assert len(probe.trace) == 2
    device.activity = None
    _ = probe.trace
    _ = probe.trace
    assert len(device.sent("DRAIN")) == drains + 3


# -- bringing the guest down ---------------------------------------------------------------------------------


def test_a_crash_carries_code_and_parameters(probe: Probe, device: FakeDevice) -> None:
    with pytest.raises(InfrastructureError, match="was to bugcheck, and its driver answered and goes on"):
        probe.crash(0xDEADDEAD, (1, 2, 3, (1 << 64) - 1))
    (sent,) = device.sent("CRASH")
    assert (sent["how"], sent["code"]) == (CrashWay.BUGCHECK, 0xDEADDEAD)
    parameters = [int.from_bytes(sent["parameters"][at : at + 8], "little") for at in range(0, 32, 8)]
    assert parameters == [1, 2, 3, (1 << 64) - 1]


def test_a_parameter_that_would_be_cut_is_refused(device: FakeDevice) -> None:
    device.pointer_size = 4
    with pytest.raises(UsageError, match=r"parameter 4, 0x100000000, needs more than 32 bits"):
        Probe(device).crash(0xE2, (1, 2, 3, 1 << 32))
    assert not device.sent("CRASH")
