"""How commands print: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from harness.results.words import printable

__all__ = ["AsJson", "print_json", "print_table", "say", "short_path"]

#: Columns of up to so many characters are folded only where the others leave no room.
_SHORT: Final = 24
_ANY_WIDTH: Final = 100_000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def short_path(path: Path) -> str:
    """`path` as one would type it: relative to the working directory where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def say(text: str, *, err: bool = False) -> None:
    """Print a text that holds what a guest, a bundle or a test called something."""
    typer.echo(printable(text), err=err)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def print_table(
    columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, styles: Mapping[str, str] | None = None
) -> None:
    """One line a row; where a terminal is too narrow for that, the long columns fold.

    `styles` gives a rich style for the cells that hold exactly that text.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:  # programs read lines, and have no width
        console = Console(width=_ANY_WIDTH)
    lines = [[printable(str(row[column])) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
    short = [width <= _SHORT for width in widths]
    fit = sum(width + 2 for width in widths if width <= _SHORT) < console.width - _SHORT
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column, is_short in zip(columns, short, strict=True):
        table.add_column(column, overflow="fold", no_wrap=is_short and fit)
    for line in lines:
        table.add_row(*(Text(cell, (styles or {}).get(cell, "")) for cell in line))
    console.print(table)
