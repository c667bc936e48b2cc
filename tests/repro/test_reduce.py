"""The search for the smallest part that still fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from harness.repro.reduce import first_success, reduce_elements


def keep_all(kept: Iterable[int]) -> frozenset[int]:
    return frozenset(kept)


def holds(needed: frozenset[int]) -> object:
    """A trial that fails where all of `needed` are there."""
    return lambda candidates: [needed <= candidate for candidate in candidates]


@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=6), st.integers(1, 5))
def test_exactly_what_is_needed_is_left_whatever_runs_at_a_time(
    count: int, needed: set[int], width: int
) -> None:
    wanted = frozenset(each for each in needed if each < count)
    found = reduce_elements(list(range(count)), keep_all, holds(wanted), width)  # type: ignore[arg-type]
    assert found == wanted


@given(st.lists(st.sets(st.integers(0, 15), min_size=1, max_size=4), min_size=1, max_size=5))
def test_the_answer_is_minimal_and_the_same_for_every_width(alternatives: list[set[int]]) -> None:
    """Failing for any of several reasons: one of them is left, always the same."""

    def trial(candidates: Sequence[frozenset[int]]) -> list[bool]:
        return [any(reason <= candidate for reason in alternatives) for candidate in candidates]

    found = {width: reduce_elements(list(range(16)), keep_all, trial, width) for width in (1, 2, 3, 16)}
    assert len(set(found.values())) == 1
    (left,) = set(found.values())
    assert trial([left]) == [True]
    assert not any(trial([left - {each} for each in left]))


def test_what_needs_a_thing_goes_with_it() -> None:
    needs = {1: {0}, 2: {1}, 4: {3}}
    tried: list[frozenset[int]] = []

    def closed(kept: Iterable[int]) -> frozenset[int]:
        left = set(kept)
        while lacking := {each for each in left if not needs.get(each, set()) <= left}:
            left -= lacking
        return frozenset(left)

    def trial(candidates: Sequence[frozenset[int]]) -> list[bool]:
        tried.extend(candidates)
        return [4 in candidate for candidate in candidates]

    assert reduce_elements(list(range(5)), closed, trial, 2) == {3, 4}
    assert all(closed(candidate) == candidate for candidate in tried)


def test_what_is_pinned_stays() -> None:
    assert reduce_elements([0, 1, 2], keep_all, lambda c: [True] * len(c), 2, frozenset({1})) == {1}


def test_the_first_success_in_order_counts_not_the_fastest() -> None:
    asked: list[list[int]] = []

    def trial(candidates: Sequence[int]) -> list[bool]:
        asked.append(list(candidates))
        return [candidate >= 3 for candidate in candidates]

    assert first_success(range(10), trial, 4) == 3
    assert asked == [[0, 1, 2, 3]]
    assert first_success(range(3), trial, 4) is None
