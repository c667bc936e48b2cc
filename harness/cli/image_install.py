"""`harness image build` for recipes that install from a medium: the dry run, and the install itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.cli.output import print_json, short_path

if TYPE_CHECKING:
    from harness.image.install.dryrun import DryRun
    from harness.image.install.ingredients import InstallRequest
    from harness.image.recipe import Recipe

__all__ = ["dry_run_command"]


def dry_run_command(
    recipe: Recipe, *, media: Path | None, out: Path | None, request: InstallRequest, as_json: bool
) -> None:
    """Write and validate everything an install would use; exit code 1 when something is wrong with it."""
    from harness.errors import UsageError
    from harness.image.install.dryrun import dry_run
    from harness.image.installspec import Install

    if not isinstance(recipe.source, Install):
        raise UsageError(
            f"{recipe.name} is not installed from a medium: there is nothing to try without doing it"
        )
    result = dry_run(
        recipe, recipe.source, out or Path(f"{recipe.name}-dry-run"), medium=media, request=request
    )
    if as_json:
        print_json(
            {
                "name": recipe.name,
                "ok": result.ok,
                "folder": str(result.folder),
                "files": list(result.files),
                "assumed": list(result.assumed),
                "checks": [{"what": check.what, "problems": list(check.problems)} for check in result.checks],
            }
        )
    else:
        _tell(result)
    if not result.ok:
        raise typer.Exit(1)


def _tell(result: DryRun) -> None:
    typer.echo(f"written to {short_path(result.folder)}: {', '.join(result.files)}")
    for check in result.checks:
        typer.echo(f"{'sound' if check.ok else 'WRONG'}  {check.what}")
        for problem in check.problems:
            typer.echo(f"       {problem}")
    for line in result.assumed:
        typer.echo(f"assumed: {line}")
