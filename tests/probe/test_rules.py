"""Rules as records: conditions, actions, what can not be; over a device in memory."""

from __future__ import annotations

import pytest

from harness.errors import (
    UsageError,
)
from harness.probe import (
    Action,
    Base,
    Filter,
    InnerCall,
    Subject,
    abi,
)
from harness.probe.enums import ActionFlag, Match
from harness.registry.notify import NotifyClass, Operation, Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from tests.probe.fake_device import FakeDevice
from tests.workload.fake_runner import FakeRunner


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
