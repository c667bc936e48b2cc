"""How commands print: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.results.words import printable

__all__ = ["AsJson", "print_json", "print_table", "short_path"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def short_path(path: Path) -> str:
    """`path` as one would type it: relative to the working directory where that is shorter."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))


def print_table(
    columns: Sequence[str], rows: Iterable[Mapping[str, object]], *, styles: Mapping[str, str] | None = None
) -> None:
    """One line a row. `styles` gives a rich style for the cells that hold exactly that text."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        cells = [printable(str(row[column])) for column in columns]
        table.add_row(*(Text(cell, (styles or {}).get(cell, "")) for cell in cells))
    Console().print(table)
