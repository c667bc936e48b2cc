"""`harness results`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.history_options import HistoryOption
from harness.cli.output import AsJson

if TYPE_CHECKING:
    from harness.results.matrix import Matrix
    from harness.results.model import RunInfo

app = typer.Typer(help="Reports of a finished run.", no_args_is_help=True, rich_markup_mode=None)

Run = Annotated[
    str | None, typer.Argument(help="Name or folder of a run; default: the newest.", show_default=False)
]
Folder = Annotated[Path, typer.Option("--results", help="Folder that holds the runs.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write.", show_default=False)]


def _load(results: Path, run: str | None) -> tuple[Path, RunInfo, Matrix]:
    from harness.results.folder import RunReader, find_run
    from harness.results.matrix import Matrix

    reader = RunReader(find_run(results, run))
    return reader.folder, reader.info, Matrix(reader)


@app.command("html")
def html(
    run: Run = None,
    output: Output = None,
    results: Folder = Path("results"),
    history: HistoryOption = None,
) -> None:
    """Write one self-contained HTML page.

    It shows the matrix, changes, failures, callback coverage and attestations.

    Example: harness results html -o report.html
    """
    from harness.history import history_at
    from harness.report import write_report
    from harness.results.folder import find_run

    folder = find_run(results, run)
    with history_at(history, results, make=False) as found:
        if found is not None:
            found.ingest(folder)
        typer.echo(str(write_report(folder, output, history=found)))


@app.command("junit")
def junit(run: Run = None, output: Output = None, results: Folder = Path("results")) -> None:
    """Write JUnit XML.

    Behaviours, outcomes and driver digests are properties of its test cases.

    Example: harness results junit -o junit.xml
    """
    from harness.results.junit import render_junit

    folder, info, matrix = _load(results, run)
    path = output or folder / "junit.xml"
    path.write_text(render_junit(matrix, info), encoding="utf-8")
    typer.echo(str(path))


@app.command("show")
def show(run: Run = None, results: Folder = Path("results"), as_json: AsJson = False) -> None:
    """Print the matrix of a run, from its folder alone.

    `harness matrix show` also says what changed.

    Example: harness results show --json
    """
    from harness.cli.matrix_show import print_run

    folder, info, matrix = _load(results, run)
    print_run(matrix, info, as_json=as_json)
    if not as_json:
        typer.echo(str(folder))
