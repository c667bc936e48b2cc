"""The suites can fail: against a wrong contract the right tests do, the others do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suites.inner import run_suites
from tests.suites.mutants import MUTANTS, Mutant


def test_the_tests_pass_against_the_right_contract(tmp_path: Path) -> None:
    """Otherwise a failure below would prove nothing."""
    every = sorted({test for mutant in MUTANTS for test in (*mutant.caught_by, *mutant.spared)})

    outcomes = run_suites(tuple(every), tmp_path)

    assert dict(outcomes.failed) == {}, "\n".join(outcomes.messages)
    assert sorted(outcomes.passed) == every


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_wrong_contract_is_noticed(mutant: Mutant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mutant.apply(monkeypatch)

    outcomes = run_suites((*mutant.caught_by, *mutant.spared), tmp_path)

    assert sorted(outcomes.failed) == sorted(mutant.caught_by)
    assert set(mutant.spared) <= set(outcomes.passed)
