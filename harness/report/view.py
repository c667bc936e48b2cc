"""The matrix as a page shows it: topics, rows and cells, as plain values that a template writes down."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from harness.catalogue import Catalogue
from harness.errors import InfrastructureError
from harness.report.failures import Failure
from harness.report.marks import CODES, Marks
from harness.report.past import Past
from harness.results.matrix import NO_BEHAVIOUR, Cell, Matrix, topic_of

__all__ = ["CellView", "RowView", "Topic", "statements", "topics_of"]


@dataclass(frozen=True, slots=True)
class CellView:
    """`classes` are for style: the outcome's letter, the course of the last runs, what changed."""

    classes: str
    glyph: str
    anchor: str


@dataclass(frozen=True, slots=True)
class RowView:
    behaviour: str
    statement: str
    cells: tuple[CellView, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """A group of behaviours: a row that sums them up, and theirs."""

    code: str
    title: str
    cells: tuple[CellView, ...]
    rows: tuple[RowView, ...]
    #: Whether it is shown in full at once: something failed or changed in it.
    eventful: bool


def statements() -> dict[str, str]:
    """What each behaviour says."""
    try:
        return {behaviour.id: behaviour.statement for behaviour in Catalogue.load()}
    except InfrastructureError:
        return {}  # the page is still worth having; ids stand alone


def _titles() -> dict[str, str]:
    try:
        return {group.code: group.title for group in Catalogue.load().groups}
    except InfrastructureError:
        return {}


def topics_of(matrix: Matrix, past: Past, failures: tuple[Failure, ...], marks: Marks) -> tuple[Topic, ...]:
    """The matrix, by topics."""
    says, titles = statements(), _titles()
    changed = past.changed_cells(matrix)
    anchors = _anchors(failures)
    rows: defaultdict[str, list[str]] = defaultdict(list)
    for behaviour in matrix.behaviours:
        rows[topic_of(behaviour)].append(behaviour)
    return tuple(
        Topic(
            code=topic,
            title="Tests that name no behaviour" if topic == NO_BEHAVIOUR else titles.get(topic, ""),
            cells=tuple(_sum(matrix.topic_cell(topic, column.name)) for column in matrix.targets),
            rows=tuple(
                RowView(
                    behaviour,
                    says.get(behaviour, ""),
                    tuple(
                        _cell(
                            cell := matrix.cell(behaviour, column.name),
                            marks.name(past.course(behaviour, column, cell.outcome)),
                            changed.get((behaviour, column.name)),
                            anchors,
                        )
                        for column in matrix.targets
                    ),
                )
                for behaviour in behaviours
            ),
            eventful=any(
                (behaviour, column.name) in changed or _is_bad(matrix.cell(behaviour, column.name))
                for behaviour in behaviours
                for column in matrix.targets
            ),
        )
        for topic, behaviours in rows.items()
    )


def _is_bad(cell: Cell) -> bool:
    return cell.outcome is not None and cell.outcome.is_bad


def _anchors(failures: tuple[Failure, ...]) -> Mapping[tuple[str, str, str], str]:
    return {
        (result.test, result.target, result.build): failure.anchor
        for failure in failures
        for result in failure.results
    }


def _cell(
    cell: Cell, course: str, worse: bool | None, anchors: Mapping[tuple[str, str, str], str]
) -> CellView:
    if cell.outcome is None:
        return CellView(course, "", "")
    change = "" if worse is None else "worse" if worse else "better"
    recorded = "rec" if cell.recorded else ""
    first = min(cell.results, key=lambda result: result.outcome.gravity)
    return CellView(
        classes=" ".join(filter(None, (CODES[cell.outcome], course, change, recorded))),
        glyph=cell.outcome.mark,
        anchor=anchors.get((first.test, first.target, first.build), ""),
    )


def _sum(cell: Cell) -> CellView:
    if cell.outcome is None:
        return CellView("", "", "")
    bad = sum(result.outcome.is_bad for result in cell.results)
    return CellView(CODES[cell.outcome], str(bad) if bad else cell.outcome.mark, "")
