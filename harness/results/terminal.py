"""The matrix for a terminal (rich): a row per target, a column per behaviour, or per topic if too many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.results.matrix import NO_BEHAVIOUR, Cell, Matrix, column_of, kind_note
from harness.results.model import RunResult
from harness.results.outcome import Outcome
from harness.results.words import one_line

__all__ = ["STYLES", "print_matrix", "render_matrix"]

STYLES: Final[dict[Outcome, str]] = {
    Outcome.PASS: "green",
    Outcome.FAIL: "bold red",
    Outcome.CRASH: "bold white on red",
    Outcome.HANG: "bold white on red",
    Outcome.INFRA: "bold magenta",
    Outcome.KNOWN: "yellow",
    Outcome.SKIP: "dim",
}
#: Failures listed below the matrix; the HTML page has all of them.
_SHOWN_FAILURES: Final = 20
#: Columns in which any table has the room it wants.
_UNLIMITED: Final = 10_000


def render_matrix(matrix: Matrix, *, width: int) -> RenderableType:
    """The matrix, its legend, what the guests are, the first failures. `width` is the terminal's columns."""
    if not matrix.results:
        return Text("no test ran on a target")
    name_width = max((len(one_line(target.name)) for target in matrix.targets), default=0)
    room = width - name_width - 4
    if len(matrix.behaviours) * 4 <= room:
        table = _table(matrix, [(_heading(b), b) for b in matrix.behaviours], matrix.cell, _mark)
    else:
        topics = [(one_line(topic), topic) for topic in matrix.topics]
        table = _table(matrix, topics, matrix.topic_cell, _count)
        # Without a height a dumb terminal has 80 columns, whatever is said.
        console = Console(width=_UNLIMITED, height=1)
        if Measurement.get(console, console.options, table).maximum > width:
            table = _table(matrix, topics, matrix.topic_cell, _brief)
    legend = Text("  ").join(
        Text(f"{outcome.mark} {outcome} {count}", STYLES[outcome])
        for outcome, count in sorted(matrix.counts.items(), key=lambda item: item[0].gravity)
    )
    parts: list[RenderableType] = [table, legend] if matrix.targets else [legend]
    parts += [Text(kind_note(kind), "italic") for kind in matrix.kinds]
    failures = matrix.failures
    parts += [
        Text.assemble(
            (f"{r.outcome} ", STYLES[r.outcome]),
            f"{one_line(r.test)}{_where(r)} ",
            (one_line(r.message), "dim"),
        )
        for r in failures[:_SHOWN_FAILURES]
    ]
    if len(failures) > _SHOWN_FAILURES:
        parts.append(Text(f"... and {len(failures) - _SHOWN_FAILURES} more; the HTML page has them all"))
    return Group(*parts)


def _where(result: RunResult) -> str:
    """The column of the failure; nothing for a test that uses no guest."""
    return f" [{one_line(column_of(result.target, result.build))}]" if result.target else ""


def _heading(behaviour: str) -> str:
    if behaviour == NO_BEHAVIOUR:
        return "other"
    return "\n".join(map(one_line, behaviour.split("-")[1:]))


def _mark(cell: Cell) -> Text:
    outcome = cell.outcome
    return Text("") if outcome is None else Text(outcome.mark, STYLES[outcome])


def _count(cell: Cell) -> Text:
    outcome = cell.outcome
    if outcome is None or outcome is Outcome.SKIP:
        return _mark(cell)
    return Text(f"{cell.passed}/{cell.ran}", STYLES[outcome])


def _brief(cell: Cell) -> Text:
    """As `_count`, in half the room: how many passed where all did, else how many did not."""
    outcome = cell.outcome
    if outcome is None or not (missing := cell.ran - cell.passed):
        return Text(str(cell.ran), STYLES[Outcome.PASS]) if cell.ran else _mark(cell)
    return Text(f"{missing}{outcome.mark}", STYLES[outcome])


def _table(
    matrix: Matrix,
    columns: list[tuple[str, str]],
    cell: Callable[[str, str], Cell],
    show: Callable[[Cell], Text],
) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("target", no_wrap=True)
    for heading, _ in columns:
        table.add_column(Text(heading), justify="center", no_wrap=True)
    for target in matrix.targets:
        table.add_row(Text(one_line(target.name)), *(show(cell(key, target.name)) for _, key in columns))
    return table


def print_matrix(matrix: Matrix, console: Console) -> None:
    """Lines of a file or a log are not wrapped: no part of a text stands at the beginning of one."""
    console.print(render_matrix(matrix, width=console.width), soft_wrap=not console.is_terminal)
