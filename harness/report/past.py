"""What a report says of earlier runs, as far as there is a history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.history.model import Change
from harness.report.marks import MAX_MARKS
from harness.results.matrix import NO_BEHAVIOUR, Matrix, TargetColumn, column_of
from harness.results.model import RunInfo
from harness.results.outcome import Outcome

if TYPE_CHECKING:
    from harness.history import History

__all__ = ["ChangedGroup", "Past", "past_of"]


@dataclass(frozen=True, slots=True)
class ChangedGroup:
    """The same change of one test on one or several targets."""

    test: str
    before: Outcome | None
    after: Outcome | None
    columns: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True)
class Past:
    """Earlier runs, the oldest first, and what each cell (behaviour, column) was in them.

    `before` is the run that `changes` compares with; empty where there is none.
    """

    runs: tuple[RunInfo, ...] = ()
    cells: Mapping[tuple[str, str], Sequence[Outcome | None]] = field(default_factory=dict)
    before: str = ""
    changes: tuple[Change, ...] = ()

    @property
    def worse(self) -> tuple[ChangedGroup, ...]:
        return _grouped(change for change in self.changes if change.worse)

    @property
    def better(self) -> tuple[ChangedGroup, ...]:
        return _grouped(change for change in self.changes if change.better)

    @property
    def others(self) -> tuple[ChangedGroup, ...]:
        """New tests, tests that are gone, and what one may be glad of or not."""
        return _grouped(change for change in self.changes if not (change.worse or change.better))

    def course(self, behaviour: str, column: TargetColumn, now: Outcome | None) -> list[Outcome | None]:
        """A cell's outcomes over time, this run's last."""
        earlier = self.cells.get((behaviour, column.name), ())
        return [*earlier, now]

    def changed_cells(self, matrix: Matrix) -> dict[tuple[str, str], bool]:
        """(behaviour, column) of every cell that changed; True: a failure came up, False: all are gone."""
        found: dict[tuple[str, str], bool] = {}
        known = {column.name for column in matrix.targets}
        for change in self.changes:
            column = column_of(change.target, change.build)
            if column not in known or not (change.worse or change.better):
                continue
            for behaviour in change.behaviours or (NO_BEHAVIOUR,):
                outcome = matrix.cell(behaviour, column).outcome
                if change.worse or not (outcome is None or outcome.is_bad):
                    found[behaviour, column] = found.get((behaviour, column), False) or change.worse
        return found


def _grouped(changes: Iterable[Change]) -> tuple[ChangedGroup, ...]:
    found: dict[tuple[str, Outcome | None, Outcome | None], list[Change]] = {}
    for change in changes:
        found.setdefault((change.test, change.before, change.after), []).append(change)
    return tuple(
        ChangedGroup(test, before, after, tuple(column_of(c.target, c.build) for c in same), same[0].message)
        for (test, before, after), same in found.items()
    )


def past_of(history: History | None, run: RunInfo) -> Past:
    """The runs before `run` of the same plan; without a plan, those that were asked for the same.

    Nothing where there is no history, or none that holds the run.
    """
    if history is None:
        return Past()
    try:
        course = history.cell_history(runs=MAX_MARKS, until=run.name)
    except UsageError:  # it was never taken in
        return Past()
    earlier = course.runs[:-1]
    difference = history.difference(earlier[-1].name, run.name) if earlier else None
    return Past(
        runs=earlier,
        cells={cell: outcomes[:-1] for cell, outcomes in course.cells.items()},
        before="" if difference is None else difference.before,
        changes=() if difference is None else difference.changes,
    )
