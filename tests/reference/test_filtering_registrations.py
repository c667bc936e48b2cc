"""The callback contract: registrations and the contexts that belong to them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from filtering_stack import SUCCESS, THREAD, Call, Callback, DeadlockError, Key, System

from harness.registry.status import NTSTATUS


def test_call_context_belongs_to_callback_and_operation() -> None:
    system = System()
    found: list[tuple[str, int]] = []

    def remember(value: int) -> Callback:
        def callback(call: Call) -> int:
            if call.phase == "pre":
                assert call.call_context == 0
                call.call_context = value
            else:
                found.append((call.name, call.call_context))
            return SUCCESS

        return callback

    system.add("high", "2", remember(0x11))
    system.add("low", "1", remember(0x22))
    system.run()
    assert found == [("low", 0x22), ("high", 0x11)]  # B-CTX-01, B-LAY-17


def test_object_contexts_are_per_object_and_cookie() -> None:
    system = System()
    shown: list[tuple[str, str, int]] = []

    def show(call: Call) -> int:
        shown.append((call.name, call.phase, call.object_context))
        return SUCCESS

    high, low = system.add("high", "2", show), system.add("low", "1", show)
    key, other = Key(), Key()
    assert system.stack.bind(high, key, 5) == 0
    assert system.stack.bind(high, key, 6) == 5  # B-CTX-10
    system.run(key=key)
    system.run(key=other)
    assert shown[:4] == [("high", "pre", 6), ("low", "pre", 0), ("low", "post", 0), ("high", "post", 6)]
    assert all(value == 0 for _, _, value in shown[4:])  # B-CTX-03, B-CTX-04

    system.seen.clear()
    system.stack.release(THREAD, key)
    assert system.seen == [("high", "cleanup", "cleanup", 6)]  # B-CTX-12, B-CTX-15
    assert low.holders == high.holders == {}


def test_unregistering_cleans_up_once() -> None:
    system = System()
    only = system.add("only", "1")
    keys = [Key() for _ in range(3)]
    for number, key in enumerate(keys, 1):
        system.stack.bind(only, key, number)
    assert system.stack.unregister(THREAD, only.cookie) == SUCCESS
    assert [value for _, phase, _, value in system.seen if phase == "cleanup"] == [1, 2, 3]  # B-REG-25
    system.seen.clear()
    for key in keys:
        system.stack.release(THREAD, key)
    assert system.seen == []  # B-CTX-16
    assert system.stack.unregister(THREAD, only.cookie) == NTSTATUS.INVALID_PARAMETER  # B-REG-20


def test_binding_null_removes_the_binding() -> None:
    system = System()
    only = system.add("only", "1")
    key = Key()
    system.stack.bind(only, key, 9)
    assert system.stack.bind(only, key, 0) == 9
    system.stack.release(THREAD, key)
    assert system.seen == []


def test_altitudes_collide_by_value_until_given_back() -> None:
    system = System()
    first = system.add("first", "380010")
    for same in ("380010", "380010.0", "0380010"):
        result = system.stack.register(same, 0, 0, "other driver")
        assert result.status == NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION  # B-REG-04
        assert result.registration is None
    assert system.stack.unregister(THREAD, first.cookie) == SUCCESS
    system.add("again", "380010")  # B-REG-05


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "-5", " 5"])
def test_an_altitude_that_is_no_number_is_refused(text: str) -> None:
    system = System()
    assert system.stack.register(text, 0, 0, "driver").status == NTSTATUS.INVALID_PARAMETER
    assert system.stack.ordered == ()


def test_legacy_callbacks_coexist_near_the_top() -> None:
    system = System()
    system.add("ex", "380010")
    system.add("older", None)
    system.add("younger", None)
    system.run()
    assert system.order("pre") == ["older", "younger", "ex"]  # B-REG-29, B-REG-30


def test_cookies_are_distinct_and_not_reused() -> None:
    system = System()
    cookies = []
    for number in range(50):
        registration = system.add("x", str(number + 1))
        cookies.append(registration.cookie)
        system.stack.unregister(THREAD, registration.cookie)
    assert len(set(cookies)) == 50  # B-REG-13


def test_unregistering_from_inside_the_callback_never_ends() -> None:
    system = System()

    def suicide(call: Call) -> int:
        system.stack.unregister(THREAD, only.cookie)
        return SUCCESS

    only = system.add("only", "1", suicide)
    with pytest.raises(DeadlockError):
        system.run()  # B-REG-22


def test_one_callback_may_unregister_another_between_pre_and_post() -> None:
    system = System()
    high = system.add("high", "2")

    def remove(call: Call) -> int:
        if call.phase == "pre":
            assert system.stack.unregister(THREAD, high.cookie) == SUCCESS
        return SUCCESS

    system.add("low", "1", remove)
    system.run()
    assert system.sees("high") == ["pre"]  # B-LAY-21, B-REG-18
    assert system.sees("low") == ["pre", "post"]


def test_a_callback_registered_during_an_operation_sees_nothing_of_it() -> None:
    system = System()

    def register(call: Call) -> int:
        if call.phase == "pre" and call.operation == "outer":
            system.add("late", "1")
        return SUCCESS

    system.add("early", "2", register)
    system.run("outer")
    assert system.sees("late") == []  # B-LAY-20
    system.run("next")
    assert system.sees("late") == ["pre", "post"]


def test_a_driver_that_is_gone_leaves_no_callback() -> None:
    system = System()
    only = system.add("only", "1")
    key = Key()
    system.stack.bind(only, key, 4)
    assert system.stack.owned_by("driver") == [only]
    system.stack.abandon("driver")
    system.run(key=key)
    system.stack.release(THREAD, key)
    assert system.sees("only") == []
    assert system.stack.find(only.cookie) is None
