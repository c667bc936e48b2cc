"""Which notify classes filters were told of, against those that a target's Windows is documented to deliver.

Facts are the rows of tests that passed: what a failed test saw proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from harness.errors import UsageError
from harness.guest.base import GuestKind
from harness.registry.notify import NotifyClass, Operation, delivered_by
from harness.registry.version import WindowsVersion
from harness.results.matrix import Matrix, TargetColumn, column_of
from harness.results.outcome import Outcome

__all__ = ["CallbackCoverage", "ClassSeen", "CoverageColumn", "CoverageRow", "callback_coverage"]


class ClassSeen(StrEnum):
    """What is known of one notify class on one target."""

    SEEN = "seen"
    MISSING = "missing"  # documented for this version, no passing test was told of it
    BEYOND = "beyond"  # seen, though not documented for this version
    ABSENT = "absent"  # not documented, not seen


@dataclass(frozen=True, slots=True)
class CoverageColumn:
    """One target: how many of the documented classes were seen."""

    target: TargetColumn
    seen: int
    documented: int


@dataclass(frozen=True, slots=True)
class CoverageRow:
    """One operation; for each column its pre and its post class. The context cleanup has one class only."""

    operation: str
    cells: tuple[tuple[ClassSeen, ...], ...]


@dataclass(frozen=True, slots=True)
class CallbackCoverage:
    """`recorded` is False where no row says what it was told of, as in runs of earlier versions."""

    columns: tuple[CoverageColumn, ...]
    rows: tuple[CoverageRow, ...]
    recorded: bool


def callback_coverage(matrix: Matrix) -> CallbackCoverage:
    """Operations × targets; without guests that have no registry callbacks at all."""
    told: dict[str, set[int]] = {column.name: set() for column in matrix.targets}
    for result in matrix.results:
        if result.target and result.outcome is Outcome.PASS:
            told[column_of(result.target, result.build)].update(result.callbacks)
    documented = {
        column: classes for column in matrix.targets if (classes := _documented(column)) is not None
    }
    columns = tuple(
        CoverageColumn(column, len(told[column.name] & classes), len(classes))
        for column, classes in documented.items()
    )
    rows = [
        CoverageRow(
            operation.value,
            tuple(
                tuple(_seen(number, told[column.name], classes) for number in _classes(operation))
                for column, classes in documented.items()
            ),
        )
        for operation in Operation
    ]
    rows += [
        CoverageRow(
            f"class {number}",
            tuple((_seen(number, told[column.name], classes),) for column, classes in documented.items()),
        )
        for number in sorted(set().union(*told.values()) - set(NotifyClass))
    ]
    shown = tuple(row for row in rows if {mark for cell in row.cells for mark in cell} != {ClassSeen.ABSENT})
    return CallbackCoverage(columns, shown, any(told.values()))


def _documented(column: TargetColumn) -> frozenset[int] | None:
    """The numbers of the classes a target's Windows delivers; None for guests without callbacks."""
    if column.kind in ("", GuestKind.STAND_IN):
        return None
    try:
        return frozenset(map(int, delivered_by(WindowsVersion.parse(column.version))))
    except (UsageError, ValueError):
        return None


def _classes(operation: Operation) -> tuple[int, ...]:
    if operation is Operation.CALLBACK_OBJECT_CONTEXT_CLEANUP:
        return (int(NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP),)
    return tuple(int(each) for each in (operation.pre, operation.post) if each is not None)


def _seen(number: int, told: set[int], documented: frozenset[int]) -> ClassSeen:
    if number in told:
        return ClassSeen.SEEN if number in documented else ClassSeen.BEYOND
    return ClassSeen.MISSING if number in documented else ClassSeen.ABSENT
