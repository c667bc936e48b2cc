"""A figure, what it should reach, and the table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

__all__ = ["Measure", "show"]


@dataclass(frozen=True)
class Measure:
    what: str
    value: float
    unit: str
    #: What it should reach on two cores of this class; 0 where nothing is asked.
    target: float = 0.0
    #: Whether more is better.
    rising: bool = True

    @property
    def met(self) -> bool:
        return not self.target or (self.value >= self.target if self.rising else self.value <= self.target)


def show(steps: Iterable[Callable[[], Measure | Iterable[Measure]]]) -> None:
    """Take every measure, one after the other, and print them as one table."""
    console = Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("measure")
    for column in ("value", "target", ""):
        table.add_column(column, justify="right")
    with console.status("measuring"):
        for step in steps:
            found = step()
            for each in (found,) if isinstance(found, Measure) else found:
                table.add_row(each.what, f"{each.value:,.2f} {each.unit}", _target(each), _verdict(each))
    console.print(table)


def _target(measure: Measure) -> str:
    if not measure.target:
        return "-"
    return f"{'≥' if measure.rising else '≤'} {measure.target:,.6g} {measure.unit}"


def _verdict(measure: Measure) -> str:
    if not measure.target:
        return ""
    return "[green]met" if measure.met else "[red]missed"
