"""`harness matrix`: plans of many jobs, run and looked at. Each command has a module of its own."""

from __future__ import annotations

import typer

from harness.cli import matrix_history, matrix_plan, matrix_run, matrix_show

__all__ = ["app"]

app = typer.Typer(
    help="Plans: many targets, builds and suites in one run.", no_args_is_help=True, rich_markup_mode=None
)
app.command("plan")(matrix_plan.plan)
app.command("run")(matrix_run.run)
app.command("show")(matrix_show.show)
app.command("diff")(matrix_show.diff)
app.command("runs")(matrix_history.runs)
app.command("ingest")(matrix_history.ingest)
app.command("prune")(matrix_history.prune)
app.command("verify")(matrix_history.verify)


@app.callback()
def group() -> None:
    """Plans: many targets, builds and suites in one run."""
