"""Going on with a run that has rows already: what finished isn't run again.

``--finished FILE`` names the rows of that run. Without ``--again`` every test that has a row is left out.
With it only those run whose last row is INFRA, each up to so many times after the first; FAIL is never
repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from harness.errors import UsageError
from harness.plugin.recording import ATTEMPT
from harness.plugin.selection import row_key
from harness.results.folder import read_rows
from harness.results.model import RunResult
from harness.results.outcome import Outcome

__all__ = ["Finished", "Standing", "standings"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How often a test was tried, and what came of the last time."""

    attempt: int
    outcome: Outcome

    def may_be_repeated(self, retries: int) -> bool:
        """Whether an INFRA test has one of `retries` repetitions left."""
        return self.outcome is Outcome.INFRA and self.attempt <= retries


def standings(rows: Iterable[RunResult]) -> dict[tuple[str, str], Standing]:
    """By test and target; a later row replaces an earlier one."""
    return {(row.test, row.target): Standing(row.attempt, row.outcome) for row in rows}


class Finished:
    """Leaves out tests by their rows; a plugin of pytest, registered when ``--finished`` is given."""

    def __init__(self, standing: dict[tuple[str, str], Standing], again: int = 0) -> None:
        self._standing = standing
        self._again = again

    @classmethod
    def of(cls, config: pytest.Config) -> Self | None:
        """What the options ask for; None without ``--finished``."""
        name, again = config.getoption("--finished"), config.getoption("--again")
        if again < 0 or (again and not name):
            raise pytest.UsageError("--again: needs --finished FILE and a number of 1 or more")
        if not name:
            return None
        try:
            return cls(standings(read_rows(Path(name))), again)
        except UsageError as error:
            raise pytest.UsageError(f"--finished: {error}") from None

    def _attempt(self, item: pytest.Item) -> int | None:
        """Which attempt at the test this would be; None where it is not to be run."""
        before = self._standing.get(row_key(item))
        if before is None:
            return None if self._again else 1
        return before.attempt + 1 if self._again and before.may_be_repeated(self._again) else None

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        kept, left_out = [], []
        for item in items:
            attempt = self._attempt(item)
            if attempt is None:
                left_out.append(item)
            else:
                item.stash[ATTEMPT] = attempt
                kept.append(item)
        if left_out:
            items[:] = kept
            config.hook.pytest_deselected(items=left_out)
