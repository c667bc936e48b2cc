"""Deliberately wrong callback contracts, and the conformance tests that must notice each of them.

A mutant replaces methods of `FilterStack` (the callback contract of the reference guest) while suite tests
run. `caught_by` are node ids below suites/ that have to fail, `spared` ones that have to pass as before: a
mutant that breaks everything would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from harness.reference.filtering.contract import Fate, FilterStack, Passage
from harness.reference.filtering.engine import FilterEngine
from harness.reference.filtering.notice import Notice
from harness.reference.filtering.registration import Registration
from harness.registry.altitude import Altitude
from harness.registry.version import WindowsVersion

__all__ = ["MUTANTS", "Mutant"]

Patch = pytest.MonkeyPatch
_BYPASS = 0xC0000503


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    apply: Callable[[Patch], None]
    caught_by: tuple[str, ...]
    spared: tuple[str, ...] = ("notifications/test_post.py::test_post_runs_before_the_caller_goes_on",)

    def __str__(self) -> str:
        return self.name


def _wrap(patch: Patch, name: str, around: Callable[..., Any]) -> None:
    """Replace a method of the stack by `around(original, stack, ...)`."""
    original = getattr(FilterStack, name)

    def method(self: FilterStack, *args: Any, **options: Any) -> Any:
        return around(original, self, *args, **options)

    patch.setattr(FilterStack, name, method)


def reversed_altitudes(patch: Patch) -> None:
    def arrange(original: Any, stack: FilterStack, registrations: tuple[Registration, ...]) -> None:
        original(stack, registrations)
        stack.ordered = tuple(reversed(stack.ordered))
        for index, registration in enumerate(stack.ordered):
            registration.below = stack.ordered[index + 1 :]

    _wrap(patch, "_arrange", arrange)


def altitudes_as_text(patch: Patch) -> None:
    """Longer fractions lose their meaning: only the integer part counts."""
    patch.setattr(Altitude, "key", property(lambda self: (0, self.text.partition(".")[0], "")))


def post_for_the_blocker(patch: Patch) -> None:
    """Whoever blocked gets a post as well."""

    def begin(original: Any, stack: FilterStack, thread: Hashable, notice: Notice) -> Passage:
        passage: Passage = original(stack, thread, notice)
        if not passage.proceeds:
            watchers = stack.watchers(thread)
            passage.entered.append((watchers[len(passage.entered)], 0))
        return passage

    _wrap(patch, "begin", begin)


def no_post_above_a_block(patch: Patch) -> None:
    def begin(original: Any, stack: FilterStack, thread: Hashable, notice: Notice) -> Passage:
        passage: Passage = original(stack, thread, notice)
        if not passage.proceeds:
            passage.entered.clear()
        return passage

    _wrap(patch, "begin", begin)


def blocked_is_performed(patch: Patch) -> None:
    """The caller gets the blocking status, but the operation happens all the same."""
    patch.setattr(Passage, "proceeds", property(lambda self: True))

    def finish(original: Any, stack: FilterStack, passage: Passage, status: int) -> int:
        decided = passage.fate is not Fate.PROCEED
        return int(original(stack, passage, passage.status if decided else status))

    _wrap(patch, "finish", finish)


def bypass_is_a_failure(patch: Patch) -> None:
    """STATUS_CALLBACK_BYPASS reaches the caller."""

    def begin(original: Any, stack: FilterStack, thread: Hashable, notice: Notice) -> Passage:
        passage: Passage = original(stack, thread, notice)
        if passage.bypassed:
            passage.status = _BYPASS
        return passage

    _wrap(patch, "begin", begin)


def overrides_do_not_count(patch: Patch) -> None:
    def finish(original: Any, stack: FilterStack, passage: Passage, status: int) -> int:
        original(stack, passage, status)
        return status

    _wrap(patch, "finish", finish)


def call_contexts_are_mixed_up(patch: Patch) -> None:
    def finish(original: Any, stack: FilterStack, passage: Passage, status: int) -> int:
        filters = [registration for registration, _ in passage.entered]
        contexts = [context for _, context in passage.entered]
        passage.entered[:] = zip(filters, contexts[1:] + contexts[:1], strict=True)
        return int(original(stack, passage, status))

    _wrap(patch, "finish", finish)


def call_contexts_are_lost(patch: Patch) -> None:
    def finish(original: Any, stack: FilterStack, passage: Passage, status: int) -> int:
        passage.entered[:] = [(registration, 0) for registration, _ in passage.entered]
        return int(original(stack, passage, status))

    _wrap(patch, "finish", finish)


def object_contexts_are_shared(patch: Patch) -> None:
    """What one filter binds, every filter is shown."""

    def bind(original: Any, stack: FilterStack, registration: Registration, holder: Any, value: int) -> int:
        for other in stack.ordered:
            if other is not registration:
                original(stack, other, holder, value)
        return int(original(stack, registration, holder, value))

    _wrap(patch, "bind", bind)


def no_old_context(patch: Patch) -> None:
    def bind(original: Any, stack: FilterStack, *args: Any) -> int:
        original(stack, *args)
        return 0

    _wrap(patch, "bind", bind)


def no_cleanup_at_close(patch: Patch) -> None:
    def release(original: Any, stack: FilterStack, thread: Hashable, holder: Any) -> None:
        if holder.contexts:
            for registration in holder.contexts:
                registration.holders.pop(holder, None)
            holder.contexts.clear()

    _wrap(patch, "release", release)


def no_cleanup_at_unregistration(patch: Patch) -> None:
    def unregister(original: Any, stack: FilterStack, thread: Hashable, cookie: int) -> int:
        registration = stack.find(cookie)
        if registration is not None:
            for holder in registration.holders:
                if holder.contexts:
                    holder.contexts.pop(registration, None)
            registration.holders.clear()
        return int(original(stack, thread, cookie))

    _wrap(patch, "unregister", unregister)


def calls_start_at_the_top(patch: Patch) -> None:
    """A callback's own registry calls are shown to everybody above it, but not to itself."""

    def watchers(original: Any, stack: FilterStack, thread: Hashable) -> tuple[Registration, ...]:
        inside = stack._inside.get(thread)
        if inside is None:
            return stack.ordered
        return tuple(each for each in stack.ordered if each is not inside and not each.callers)

    _wrap(patch, "watchers", watchers)


def collisions_go_unnoticed(patch: Patch) -> None:
    def register(original: Any, stack: FilterStack, altitude: str | None, *rest: Any) -> Any:
        taken = {str(each.altitude) for each in stack.ordered}
        return original(stack, f"{altitude}0000001" if altitude in taken else altitude, *rest)

    _wrap(patch, "register", register)


def any_cookie_will_do(patch: Patch) -> None:
    def unregister(original: Any, stack: FilterStack, thread: Hashable, cookie: int) -> int:
        original(stack, thread, cookie)
        return 0

    _wrap(patch, "unregister", unregister)


def success_in_every_post(patch: Patch) -> None:
    def finish(original: Any, stack: FilterStack, passage: Passage, status: int) -> int:
        answered = int(original(stack, passage, 0))
        return answered or status

    _wrap(patch, "finish", finish)


def contexts_of_the_last_operation(patch: Patch) -> None:
    """A call context is kept for the callback, not for its operation: right while there is one at a time."""
    last: dict[Registration, int] = {}

    def begin(original: Any, stack: FilterStack, *rest: Any) -> Passage:
        passage: Passage = original(stack, *rest)
        last.update(passage.entered)
        return passage

    class OfTheLast(list[tuple[Registration, int]]):
        def __reversed__(self) -> Iterator[tuple[Registration, int]]:
            for each, _ in super().__reversed__():
                yield each, last[each]

    def finish(original: Any, stack: FilterStack, passage: Passage, status: int) -> int:
        passage.entered = OfTheLast(passage.entered)
        return int(original(stack, passage, status))

    _wrap(patch, "begin", begin)
    _wrap(patch, "finish", finish)


def posts_go_to_whoever_is_there(patch: Patch) -> None:
    def finish(original: Any, stack: FilterStack, passage: Passage, status: int) -> int:
        known = dict(passage.entered)
        if known:
            passage.entered = [(each, known.get(each, 0)) for each in stack.ordered]
        return int(original(stack, passage, status))

    _wrap(patch, "finish", finish)


def unregistering_does_not_wait(patch: Patch) -> None:
    patch.setattr(FilterEngine, "wait_until_idle", lambda self, registration: None)


def input_is_not_captured(patch: Patch) -> None:
    patch.setattr(WindowsVersion, "captures_input", property(lambda self: False))


def old_callback_version(patch: Patch) -> None:
    patch.setattr(WindowsVersion, "callback_version", property(lambda self: (1, 0)))


_ORDER = "layering/test_order.py::"
_CLEANUP = "contexts/test_cleanup.py::"

MUTANTS = (
    Mutant(
        "altitude order reversed",
        reversed_altitudes,
        (f"{_ORDER}test_pre_notifications_go_down_the_stack[set-value]",),
    ),
    Mutant(
        "fractions of altitudes ignored",
        altitudes_as_text,
        (
            "registration/test_register.py::test_a_higher_number_is_higher_in_the_stack"
            "[(0, 1, 2)-380000.75/380000.5/380000.25]",
        ),
        ("notifications/test_post.py::test_post_runs_before_the_caller_goes_on",),
    ),
    Mutant(
        "post delivered to whoever blocked",
        post_for_the_blocker,
        (
            f"{_ORDER}test_a_block_in_the_middle_is_seen_above_and_hidden_below[set-value]",
            f"{_ORDER}test_whoever_lets_the_pre_pass_gets_the_post[1]",
            "notifications/test_block.py::test_a_blocked_operation_fails_with_that_status_and_has_no_effect[set-value]",
        ),
    ),
    Mutant(
        "no post above a block",
        no_post_above_a_block,
        (f"{_ORDER}test_a_block_in_the_middle_is_seen_above_and_hidden_below[set-value]",),
    ),
    Mutant(
        "a blocked operation is performed",
        blocked_is_performed,
        (
            "notifications/test_block.py::test_a_blocked_operation_fails_with_that_status_and_has_no_effect[set-value]",
        ),
    ),
    Mutant(
        "a bypass is a failure",
        bypass_is_a_failure,
        ("notifications/test_bypass.py::test_a_bypassed_operation_is_skipped_and_succeeds[set-value]",),
    ),
    Mutant(
        "overrides do not count",
        overrides_do_not_count,
        (
            "notifications/test_post.py::test_success_to_failure[set-value]",
            "notifications/test_post.py::test_failure_to_success",
        ),
    ),
    Mutant(
        "call contexts mixed up",
        call_contexts_are_mixed_up,
        ("layering/test_isolation.py::test_call_contexts_of_three_filters_do_not_mix[set-value]",),
    ),
    Mutant(
        "call contexts lost",
        call_contexts_are_lost,
        ("contexts/test_call_context.py::test_what_pre_stores_arrives_in_post[set-value]",),
    ),
    Mutant(
        "object contexts shared by all filters",
        object_contexts_are_shared,
        ("layering/test_isolation.py::test_an_object_context_is_invisible_to_the_others",),
    ),
    Mutant(
        "old context not returned",
        no_old_context,
        ("contexts/test_object_context.py::test_the_old_value_comes_back_when_it_is_replaced",),
    ),
    Mutant(
        "cleanup omitted at the last close",
        no_cleanup_at_close,
        (f"{_CLEANUP}test_it_comes_between_pre_and_post_of_the_last_close",),
    ),
    Mutant(
        "cleanup omitted at unregistration",
        no_cleanup_at_unregistration,
        (f"{_CLEANUP}test_unregistering_gives_every_context_back_before_it_returns[7]",),
    ),
    Mutant(
        "own calls start at the top",
        calls_start_at_the_top,
        ("layering/test_reentrancy.py::test_a_call_is_shown_strictly_below_its_caller[bottom-pre]",),
    ),
    Mutant(
        "altitude collisions go unnoticed",
        collisions_go_unnoticed,
        ("registration/test_register.py::test_an_altitude_in_use_is_refused",),
    ),
    Mutant(
        "any cookie unregisters",
        any_cookie_will_do,
        ("registration/test_unregister.py::test_an_unknown_cookie_is_an_invalid_parameter[0x0]",),
    ),
    Mutant(
        "every post says success",
        success_in_every_post,
        ("notifications/test_delivery.py::test_post_comes_for_failures_too",),
    ),
    Mutant(
        "input not captured",
        input_is_not_captured,
        (
            "capture/test_capture.py::test_input_is_captured_in_system_memory[set-value]",
            "capture/test_capture.py::test_a_requester_that_changes_its_data_meanwhile_changes_nothing",
        ),
    ),
    Mutant(
        "call contexts of the last operation",
        contexts_of_the_last_operation,
        ("contexts/test_call_context.py::test_operations_at_one_time_keep_their_contexts_apart[post]",),
        ("contexts/test_call_context.py::test_operations_on_one_key_keep_their_contexts_apart",),
    ),
    Mutant(
        "posts go to whoever is there",
        posts_go_to_whoever_is_there,
        (
            "layering/test_while_running.py::"
            "test_a_filter_registered_meanwhile_sees_no_post_without_its_pre[below]",
        ),
    ),
    Mutant(
        "unregistering does not wait",
        unregistering_does_not_wait,
        ("registration/test_unregister.py::test_unregistering_waits_for_a_running_callback[pre]",),
    ),
    Mutant(
        "callback version 1.0 for ever",
        old_callback_version,
        ("information/test_object_id.py::test_the_callback_version",),
    ),
)
