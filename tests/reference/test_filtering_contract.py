"""The callback contract alone: callbacks are Python functions, no guest is involved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reference.filtering.contract import (
    CallbackRaisedError,
    ContextHolder,
    FilterStack,
    Registration,
)
from harness.registry.status import NTSTATUS
from harness.registry.version import VISTA_SP2, WIN7, WIN11_24H2, WS03, XP, WindowsVersion

SUCCESS = NTSTATUS.SUCCESS
BYPASS = NTSTATUS.CALLBACK_BYPASS
DENIED = NTSTATUS.ACCESS_DENIED
THREAD = 77


@dataclass
class Call:
    """What a callback sees and may change in one notification."""

    name: str
    phase: str
    operation: str
    status: int = 0
    return_status: int = 0
    call_context: int = 0
    object_context: int = 0


class Key:
    def __init__(self) -> None:
        self.contexts: dict[Registration, int] | None = None


class DeadlockError(Exception):
    pass


class StoppedError(Exception):
    pass


Callback = Callable[[Call], int]


@dataclass
class System:
    """A filter stack whose callbacks are Python functions, named by the test."""

    version: WindowsVersion = WIN11_24H2
    seen: list[tuple[str, str, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stack = FilterStack(self.version, self)
        self._callbacks: list[tuple[str, Callback]] = []

    # StackHooks
    def deliver_cleanup(self, registration: Registration, holder: ContextHolder, object_context: int) -> None:
        self.call(registration, Call("", "cleanup", "cleanup", object_context=object_context))

    def unhandled_exception(self, registration: Registration, error: CallbackRaisedError) -> NoReturn:
        raise StoppedError from error

    def wait_until_idle(self, registration: Registration) -> None:
        raise DeadlockError

    # tests
    def add(self, name: str, altitude: str | None, callback: Callback | None = None) -> Registration:
        self._callbacks.append((name, callback or (lambda call: SUCCESS)))
        result = self.stack.register(altitude, len(self._callbacks) - 1, 0, "driver")
        assert result.status == SUCCESS, hex(result.status)
        assert result.registration is not None
        return result.registration

    def call(self, registration: Registration, call: Call) -> int:
        call.name, callback = self._callbacks[registration.routine]
        value = call.object_context if call.phase == "cleanup" else call.status
        self.seen.append((call.name, call.phase, call.operation, value))
        return callback(call)

    def run(
        self,
        operation: str = "set",
        *,
        status: int = 0,
        key: Key | None = None,
        thread: int = THREAD,
        observe_only: bool = False,
        perform: Callable[[], None] = lambda: None,
    ) -> int:
        notice = PyNotice(self, operation, key, observe_only)
        passage = self.stack.begin(thread, notice)
        if passage.proceeds:
            perform()
            self.seen.append(("", "performed", operation, status))
        else:
            status = passage.status
        return self.stack.finish(passage, status)

    def sees(self, name: str) -> list[str]:
        return [phase for who, phase, _, _ in self.seen if who == name]

    def order(self, phase: str) -> list[str]:
        return [who for who, what, _, _ in self.seen if what == phase]

    @property
    def performed(self) -> bool:
        return any(phase == "performed" for _, phase, _, _ in self.seen)


class PyNotice:
    def __init__(self, system: System, operation: str, key: Key | None, observe_only: bool) -> None:
        self.holder: ContextHolder | None = key
        self.observe_only = observe_only
        self._system = system
        self._operation = operation
        self._pre = self._post = Call("", "", "")

    def open_pre(self) -> None:
        pass

    def deliver_pre(self, registration: Registration, object_context: int) -> int:
        self._pre = Call("", "pre", self._operation, object_context=object_context)
        return self._system.call(registration, self._pre)

    def call_context(self) -> int:
        return self._pre.call_context

    def open_post(self, status: int, *, settled_by_callback: bool) -> ContextHolder | None:
        self._status = status
        return self.holder

    def deliver_post(self, registration: Registration, call_context: int, object_context: int) -> int:
        self._post = Call(
            "", "post", self._operation, self._status, self._status, call_context, object_context
        )
        return self._system.call(registration, self._post)

    def return_status(self) -> int:
        return self._post.return_status

    def put_status(self, status: int) -> None:
        self._status = status


def answer(*, pre: int = SUCCESS, post: int = SUCCESS, return_status: int | None = None) -> Callback:
    def callback(call: Call) -> int:
        if call.phase == "pre":
            return pre
        if call.phase == "post" and return_status is not None:
            call.return_status = return_status
        return post

    return callback


def test_pre_goes_down_and_post_comes_up() -> None:
    system = System()
    system.add("middle", "380010")
    system.add("low", "99999")
    system.add("high", "380010.5")
    assert system.run() == SUCCESS
    assert system.order("pre") == ["high", "middle", "low"]  # B-LAY-01, B-REG-07, B-REG-08
    assert system.order("post") == ["low", "middle", "high"]  # B-LAY-02, the model's choice


@pytest.mark.parametrize("status", [DENIED, 0xC0DE0001, NTSTATUS.BUFFER_OVERFLOW])
def test_a_failure_in_the_middle_is_seen_above_and_hidden_below(status: int) -> None:
    system = System()
    system.add("high", "3")
    system.add("middle", "2", answer(pre=status))
    system.add("low", "1")
    assert system.run() == status  # B-NOT-05, B-NOT-06
    assert not system.performed
    assert (system.sees("high"), system.sees("middle"), system.sees("low")) == (["pre", "post"], ["pre"], [])
    assert ("high", "post", "set", status) in system.seen  # B-LAY-07


@pytest.mark.parametrize("status", [NTSTATUS.OBJECT_NAME_EXISTS, NTSTATUS.PENDING])
def test_informational_success_is_success(status: int) -> None:
    system = System()
    system.add("high", "2", answer(pre=status))
    system.add("low", "1")
    assert system.run() == SUCCESS  # B-NOT-04
    assert system.performed
    assert system.sees("low") == ["pre", "post"]


def test_bypass_skips_the_operation_and_succeeds() -> None:
    system = System()
    system.add("high", "3")
    system.add("middle", "2", answer(pre=BYPASS))
    system.add("low", "1")
    assert system.run() == SUCCESS  # B-NOT-09
    assert not system.performed
    assert system.sees("middle") == ["pre"]  # B-NOT-10
    assert system.sees("low") == []
    assert ("high", "post", "set", SUCCESS) in system.seen


def test_bypass_is_a_plain_failure_before_vista() -> None:
    system = System(WS03)
    system.add("first", None, answer(pre=BYPASS))
    assert system.run() == BYPASS  # B-NOT-11


def test_an_override_reaches_the_caller_and_later_posts() -> None:
    system = System()
    system.add("high", "2")
    system.add("low", "1", answer(post=BYPASS, return_status=DENIED))
    assert system.run() == DENIED  # B-NOT-20
    assert ("low", "post", "set", SUCCESS) in system.seen
    assert ("high", "post", "set", DENIED) in system.seen  # B-NOT-21


@pytest.mark.parametrize("post", [SUCCESS, DENIED, NTSTATUS.OBJECT_NAME_EXISTS])
def test_return_status_counts_only_with_bypass(post: int) -> None:
    system = System()
    system.add("only", "1", answer(post=post, return_status=DENIED))
    assert system.run() == SUCCESS  # B-NOT-22, B-NOT-24


@pytest.mark.parametrize(
    ("version", "block", "expected"),
    [
        (WIN7, DENIED, SUCCESS),
        (WIN11_24H2, BYPASS, 0xC0DE0002),
        (VISTA_SP2, DENIED, DENIED),
        (VISTA_SP2, BYPASS, SUCCESS),
    ],
)
def test_overriding_what_a_lower_callback_settled(version: WindowsVersion, block: int, expected: int) -> None:
    system = System(version)
    override = SUCCESS if block == DENIED else 0xC0DE0002
    system.add("high", "2", answer(post=BYPASS, return_status=override))
    system.add("low", "1", answer(pre=block))
    assert system.run() == expected  # B-LAY-09


def test_vista_overrides_what_the_operation_itself_answered() -> None:
    system = System(VISTA_SP2)
    system.add("only", "1", answer(post=BYPASS, return_status=DENIED))
    assert system.run() == DENIED


def test_calls_from_a_callback_are_shown_strictly_below() -> None:
    system = System()

    def reenter(call: Call) -> int:
        for _ in range(2):
            system.run("inner")
        return SUCCESS

    system.add("high", "3")
    system.add("middle", "2", reenter)
    system.add("low", "1")
    system.run("outer")
    assert system.sees("high") == system.sees("middle") == ["pre", "post"]  # B-LAY-11
    assert system.sees("low").count("pre") == system.sees("low").count("post") == 5  # B-LAY-12


def test_the_lowest_callback_sees_nothing_of_its_own_calls() -> None:
    system = System()
    system.add("only", "1", lambda call: system.run("inner"))
    system.run("outer")
    assert system.sees("only") == ["pre", "post"]  # B-LAY-14


def test_another_thread_starts_at_the_top() -> None:
    system = System()
    once = iter([True])

    def delegate(call: Call) -> int:
        if next(once, False):
            system.run("inner", thread=THREAD + 1)
        return SUCCESS

    system.add("high", "2")
    system.add("low", "1", delegate)
    system.run("outer")
    assert system.sees("high").count("pre") == 2  # B-LAY-13


def test_before_vista_nothing_hides_a_callback_from_itself() -> None:
    system = System(WS03)
    once = iter([True])
    system.add("only", None, lambda call: system.run("inner") if next(once, False) else SUCCESS)
    system.run("outer")
    assert system.sees("only") == ["pre", "pre", "post", "post"]  # B-LAY-15


def test_before_vista_the_order_is_that_of_registration_and_a_block_ends_it() -> None:
    system = System(WS03)
    system.add("first", None)
    system.add("second", None, answer(pre=DENIED))
    system.add("third", None)
    assert system.run() == DENIED
    assert system.seen == [("first", "pre", "set", 0), ("second", "pre", "set", 0)]


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


def test_a_close_can_only_be_watched() -> None:
    system = System()
    system.add("high", "2", answer(pre=DENIED))
    system.add("low", "1", answer(pre=BYPASS))
    assert system.run("close", observe_only=True) == SUCCESS  # B-NOT-36
    assert system.performed
    assert system.order("post") == ["low", "high"]


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


def raising(call: Call) -> int:
    raise CallbackRaisedError(0xC0000005, 0x1000, 0x2000)


@pytest.mark.parametrize("version", [VISTA_SP2])
def test_vista_swallows_an_exception_and_goes_on(version: WindowsVersion) -> None:
    system = System(version)
    system.add("high", "2", raising)
    system.add("low", "1")
    assert system.run(status=NTSTATUS.OBJECT_NAME_NOT_FOUND) == NTSTATUS.OBJECT_NAME_NOT_FOUND  # B-NOT-40
    assert system.sees("low") == ["pre", "post"]


@pytest.mark.parametrize("version", [XP, WS03, WIN7, WIN11_24H2])
def test_elsewhere_an_exception_stops_the_machine(version: WindowsVersion) -> None:
    system = System(version)
    system.add("only", "1" if version.has_layering else None, raising)
    with pytest.raises(StoppedError):
        system.run()  # B-NOT-39


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


DECISIONS = {"pass": SUCCESS, "inform": NTSTATUS.OBJECT_NAME_EXISTS, "block": DENIED, "bypass": BYPASS}


@given(st.lists(st.sampled_from(sorted(DECISIONS)), min_size=1, max_size=6), st.booleans())
def test_whoever_got_a_pre_and_let_it_pass_gets_exactly_one_post(decisions: list[str], fails: bool) -> None:
    """B-LAY-03..06 over random stacks."""
    system = System()
    for level, decision in enumerate(decisions):
        system.add(f"{level}", str(1000 - level), answer(pre=DECISIONS[decision]))
    natural = NTSTATUS.OBJECT_NAME_NOT_FOUND if fails else SUCCESS
    status = system.run(status=natural)
    stop = next((n for n, d in enumerate(decisions) if d in ("block", "bypass")), None)
    expected = natural if stop is None else (DENIED if decisions[stop] == "block" else SUCCESS)
    assert status == expected
    for level in range(len(decisions)):
        if stop is None or level < stop:
            assert system.sees(f"{level}") == ["pre", "post"]
        else:
            assert system.sees(f"{level}") == (["pre"] if level == stop else [])
