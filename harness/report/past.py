"""What a report says of earlier runs, as far as there is a history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from harness.report.marks import MAX_MARKS
from harness.results.matrix import Matrix, TargetColumn, column_of
from harness.results.model import RunInfo
from harness.results.outcome import Outcome

if TYPE_CHECKING:
    from harness.history import CellHistory, History

__all__ = ["ChangedGroup", "ChangedTest", "Past", "past_of"]

#: Runs asked for; those after the report's own are of no interest and fall out.
_ASKED: Final = 40


class ChangedTest(Protocol):
    """A test whose outcome differs from the one of the run before. None: it didn't run on that side."""

    @property
    def test(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def build(self) -> str: ...
    @property
    def behaviours(self) -> tuple[str, ...]: ...
    @property
    def before(self) -> Outcome | None: ...
    @property
    def after(self) -> Outcome | None: ...
    @property
    def message(self) -> str: ...
    @property
    def worse(self) -> bool: ...
    @property
    def better(self) -> bool: ...


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
    """Earlier runs, the oldest first, and what each cell (behaviour, target) was in them.

    `before` is the run that `changes` compares with; empty where there is none.
    """

    runs: tuple[RunInfo, ...] = ()
    cells: Mapping[tuple[str, str], Sequence[Outcome | None]] = field(default_factory=dict)
    before: str = ""
    changes: tuple[ChangedTest, ...] = ()

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
        """A cell's outcomes over time, this run's last. The history tells targets apart, not builds."""
        earlier = self.cells.get((behaviour, column.target), ())
        return [*earlier, now]

    def changed_cells(self, matrix: Matrix) -> dict[tuple[str, str], bool]:
        """(behaviour, column) of every cell that changed; True: a failure came up there."""
        found: dict[tuple[str, str], bool] = {}
        known = {column.name for column in matrix.targets}
        for change in self.changes:
            column = column_of(change.target, change.build)
            if column not in known or not (change.worse or change.better):
                continue
            for behaviour in change.behaviours:
                found[behaviour, column] = found.get((behaviour, column), False) or change.worse
        return found


def _grouped(changes: Iterable[ChangedTest]) -> tuple[ChangedGroup, ...]:
    found: dict[tuple[str, Outcome | None, Outcome | None], list[ChangedTest]] = {}
    for change in changes:
        found.setdefault((change.test, change.before, change.after), []).append(change)
    return tuple(
        ChangedGroup(test, before, after, tuple(column_of(c.target, c.build) for c in same), same[0].message)
        for (test, before, after), same in found.items()
    )


def past_of(history: History | None, run: RunInfo, plan: str = "") -> Past:
    """The runs before `run` of the same plan; without a plan, those of the same arguments."""
    if history is None:
        return Past()
    earlier = history.cell_history(runs=_ASKED, plan=plan)
    places = [
        at
        for at, each in enumerate(earlier.runs)
        if each.name != run.name and each.started <= run.started and (plan or each.arguments == run.arguments)
    ][1 - MAX_MARKS :]
    return _with_changes(history, run, earlier, places)


def _with_changes(history: History, run: RunInfo, earlier: CellHistory, places: list[int]) -> Past:
    before = history.previous(run.name) if any(each.name == run.name for each in history.runs()) else None
    difference = None if before is None else history.difference(before.name, run.name)
    return Past(
        runs=tuple(earlier.runs[at] for at in places),
        cells={
            (behaviour, target): [outcomes[at] for at in places]
            for (behaviour, target), outcomes in earlier.cells.items()
        },
        before="" if before is None else before.name,
        changes=() if difference is None else difference.changes,
    )
