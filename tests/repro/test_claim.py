"""From a failed assertion to a claim, and whose code a claim may be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import pytest

from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.repro.claim import Binding, BindingKind, Claim, NoClaimError, claim_of
from harness.repro.trust import foreign

LIMIT = 3


@dataclass
class Live:
    """Stands for a step: what a run made."""

    number: int
    status: int = 0

    def twice(self) -> int:
        return 2 * self.number


def locate(value: object) -> Binding | None:
    return Binding(BindingKind.STEP, 1, value.number) if isinstance(value, Live) else None


def failed(test: Callable[..., None], *arguments: Any) -> tuple[FrameType, int]:
    """The frame of `test` and the line at which it failed."""
    try:
        test(*arguments)
    except AssertionError:
        link = sys.exc_info()[2]
        while link is not None and link.tb_frame.f_code is not test.__code__:
            link = link.tb_next
        assert link is not None
        return link.tb_frame, link.tb_lineno
    raise AssertionError("it did not fail")


def claim(test: Callable[..., None], *arguments: Any) -> Claim:
    return claim_of(*failed(test, *arguments), locate)


def helper(step: Live) -> None:
    assert step.status == NTSTATUS.ACCESS_DENIED


def test_a_plain_assertion() -> None:
    def plain() -> None:
        write = Live(4)
        assert write.status == NTSTATUS.ACCESS_DENIED

    found = claim(plain)
    assert found.source == "assert write.status == NTSTATUS.ACCESS_DENIED"
    assert found.bindings == {"write": Binding(BindingKind.STEP, 1, 4)}
    assert found.imports == ("from harness.registry.status import NTSTATUS",)


def test_what_it_rests_on_is_followed_back_but_constants_are_not() -> None:
    def rests() -> None:
        write = Live(4)
        expected = [Pre.SetValueKey, Post.SetValueKey]
        seen = write.twice()
        half = seen // 2
        assert [half] == expected, "text"

    found = claim(rests)
    assert found.source.split("\n") == [
        "seen = write.twice()",
        "half = seen // 2",
        'assert [half] == expected, "text"',
    ]
    assert found.bindings["expected"].code == "[Pre.SetValueKey, Post.SetValueKey]"
    assert set(found.bindings) == {"write", "expected"}


def test_a_value_taken_from_the_run_is_never_a_constant() -> None:
    """A status copied into a variable must be read anew, or the claim would fail whatever happens."""

    def copied() -> None:
        write = Live(4)
        status = write.status
        assert status == NTSTATUS.ACCESS_DENIED

    assert claim(copied).source.startswith("status = write.status\n")


def test_loops_and_containers() -> None:
    def loop() -> None:
        steps = {"first": Live(1), "second": Live(2)}
        for name, step in steps.items():
            assert step.status, name

    found = claim(loop)
    assert found.source == "assert step.status, name"
    assert found.bindings["step"] == Binding(BindingKind.STEP, 1, 1)
    assert found.bindings["name"].code == '"first"'

    def listed() -> None:
        steps = [Live(1), Live(2)]
        assert [step.status for step in steps] == [1, 1]

    found = claim(listed)
    assert found.bindings["steps"].kind is BindingKind.LIST
    assert [item.operation for item in found.bindings["steps"].items] == [1, 2]

    def derived() -> None:
        write = Live(3)
        for number in range(write.twice()):
            event = object()
            assert (event, number) == write.status

    def copied() -> None:
        steps = [Live(1), Live(2)]
        statuses = [step.status for step in steps]
        for status in statuses:
            assert status == 1

    # A number that was taken from the run is none of the test's own.
    assert claim(copied).source.split("\n")[:2] == [
        "statuses = [step.status for step in steps]",
        "for status in statuses:",
    ]

    # What a loop makes can't be had alone: the whole loop is the claim.
    assert claim(derived).source.startswith("for number in range(write.twice()):")


def test_helpers_and_constants_of_the_test_file_are_imported() -> None:
    def calls() -> None:
        write = Live(4)
        helper(write)

    found = claim(calls)
    assert found.source == "helper(write)"
    assert found.imports == (f"from {__name__} import helper",)


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (lambda: helper_of_nothing(), "plain function"),
    ],
)
def test_what_is_no_function_is_refused(test: Callable[..., None], why: str) -> None:
    with pytest.raises(NoClaimError, match=why):
        claim(test)


def helper_of_nothing() -> None:
    raise AssertionError


def test_what_no_recording_can_give_is_refused_with_the_name() -> None:
    def strange(thing: object) -> None:
        write = Live(4)
        assert (write.status, thing) == 0

    with pytest.raises(NoClaimError, match="it needs thing, a object, which no recording can give"):
        claim(strange, object())


def test_an_assertion_about_nothing_that_ran_is_refused() -> None:
    def empty() -> None:
        number = 3
        assert number == LIMIT + 1

    with pytest.raises(NoClaimError, match="not about what the guest did"):
        claim(empty)


# -- trust ------------------------------------------------------------------------------------------------

FILE = """
from harness.registry.notify import Pre
from suites.support import helper as check
import os

def test_it(probe):
    seen = probe.trace
    assert seen == [Pre.SetValueKey]
    check(seen)
"""
HONEST = Claim(
    "seen = probe.trace\nassert seen == [Pre.SetValueKey]",
    {
        "probe": Binding(BindingKind.FIXTURE, code="probe"),
        "path": Binding(BindingKind.CODE, code='registry.test_root / "app"'),
        "set": Binding(BindingKind.CODE, code="frozenset({Pre.SetValueKey, -1})"),
    },
    ("from harness.registry.notify import Pre", "from suites.support import helper as check"),
)


def test_a_claim_of_the_file_is_trusted() -> None:
    assert foreign(HONEST, FILE) == ""


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"source": "os.system('true')\nassert seen == [Pre.SetValueKey]"}, "os.system('true')"),
        ({"source": "assert seen == [Pre.DeleteKey]"}, "assert seen == [Pre.DeleteKey]"),
        ({"source": "seen = ("}, "it can't be parsed"),
        ({"imports": ("from shutil import rmtree",)}, "from shutil import rmtree"),
        ({"imports": ("import subprocess as sp",)}, "import subprocess as sp"),
        ({"imports": ("import os; os.remove('x')",)}, "import os; os.remove('x')"),
        ({"imports": ("os.remove('x')",)}, "os.remove('x')"),
        (
            {"bindings": {"a": Binding(BindingKind.CODE, code="exec('x')")}},
            "exec('x')",
        ),
        ({"bindings": {"a": Binding(BindingKind.CODE, code="[x for x in ()]")}}, "[x for x in ()]"),
    ],
)
def test_anything_else_is_named(change: dict[str, Any], found: str) -> None:
    assert foreign(replace(HONEST, **change), FILE) == found
