"""Failure rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.repro.verdict import Attempt, Rate, Verdict


@pytest.mark.parametrize(
    ("hits", "runs", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3: Wilson's score without correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_the_published_one(hits: int, runs: int, low: float, high: float) -> None:
    rate = Rate.of(hits, runs)
    assert (round(rate.low, 4), round(rate.high, 4)) == (low, high)


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_interval_holds_the_rate(hits: int, more: int) -> None:
    rate = Rate.of(hits, hits + more)
    assert 0 <= rate.low <= rate.high <= 1
    if hits + more:
        assert rate.low <= hits / (hits + more) <= rate.high


def test_infra_counts_for_neither() -> None:
    verdicts = [Verdict.REPRODUCED, Verdict.INFRA, Verdict.NOT_REPRODUCED, Verdict.SKIPPED, Verdict.DIFFERENT]
    rate = Rate.of_attempts(Attempt(verdict, "") for verdict in verdicts)
    assert (rate.hits, rate.runs) == (1, 3)
    assert str(rate).startswith("1 of 3 (33%; 95% confidence: ")
    assert str(Rate.of(0, 0)) == "no run said anything"
