"""`harness target`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.output import AsJson, print_json, print_table

app = typer.Typer(help="The guests that tests can run on.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """The guests that tests can run on."""


@app.command("list")
def list_targets(
    recipes: Annotated[
        list[Path] | None,
        typer.Option("--recipes", help="A further folder of recipes; repeatable.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List every target of this machine.

    Example: harness target list --recipes ~/machines --json
    """
    from harness.results.matrix import kind_note
    from harness.targets import known_targets

    rows = [
        {
            "target": target.name,
            "kind": target.kind.value,
            "version": target.version.triple,
            "arch": target.arch.value,
        }
        for target in known_targets(recipes or ())
    ]
    if as_json:
        print_json(rows)
        return
    print_table(("target", "kind", "version", "arch"), rows)
    for kind in dict.fromkeys(row["kind"] for row in rows):
        typer.echo(kind_note(kind))
