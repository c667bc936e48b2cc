"""The callback contract: who is called in which order, and what the answers make of a status."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from filtering_stack import (
    BYPASS,
    DENIED,
    SUCCESS,
    THREAD,
    Call,
    CallbackRaisedError,
    StoppedError,
    System,
    answer,
)

from harness.registry.status import NTSTATUS
from harness.registry.version import VISTA_SP2, WIN7, WIN11_24H2, WS03, XP, WindowsVersion


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


def test_a_close_can_only_be_watched() -> None:
    system = System()
    system.add("high", "2", answer(pre=DENIED))
    system.add("low", "1", answer(pre=BYPASS))
    assert system.run("close", observe_only=True) == SUCCESS  # B-NOT-36
    assert system.performed
    assert system.order("post") == ["low", "high"]


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
