"""What the commands over the history share: their options, and opening it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import InfrastructureError, ToolMissingError, UsageError
from harness.results.words import one_line

if TYPE_CHECKING:
    from harness.history import History

__all__ = ["HistoryOption", "ResultsOption", "history_of", "history_or_none", "opened", "run_named"]

HistoryOption = Annotated[
    str | None,
    typer.Option(
        "--history",
        envvar="HARNESS_HISTORY",
        help="History, a file or URL; default: history.sqlite in --results.",
        show_default=False,
    ),
]
ResultsOption = Annotated[Path, typer.Option("--results", help="Folder that holds the runs.")]


@contextmanager
def opened(where: str | None, results: Path) -> Iterator[History]:
    """The history, made where there is none; a spinner turns as long as it is open.

    Raises `ToolMissingError` where its packages aren't installed.
    """
    from rich.console import Console

    from harness.history import history_at

    with history_at(where, results) as history:
        if history is None:
            raise ToolMissingError(
                "looking back needs the extra `history`: pip install 'regfilter-harness[history]'; "
                "`harness results show` prints a run without it"
            )
        with Console(stderr=True).status("working on the history"):
            yield history


@contextmanager
def history_or_none(where: str | None, results: Path) -> Iterator[History | None]:
    """The history; None, and a warning, where it can't be had now: that must not cost anybody a night.

    Raises `UsageError` for what is no place for one, `ToolMissingError` where its packages are missing.
    """
    from harness.history import history_at

    with ExitStack() as stack:
        try:
            history = stack.enter_context(history_at(where, results))
        except ToolMissingError:
            raise
        except InfrastructureError as error:
            said = f"going on without the history: {one_line(str(error), 1000)}"
            typer.echo(f"{said}; `harness matrix ingest` takes the run in later", err=True)
            history = None
        yield history


@contextmanager
def history_of(where: str | None, results: Path) -> Iterator[History]:
    """The same, with every run in `results` taken in. Raises `UsageError` where there is no such folder."""
    if where is None and not results.is_dir():
        raise UsageError(f"there is no folder {results}; runs leave it, and --results names another")
    with opened(where, results) as history:
        for each in history.ingest_all(results):
            if each.trouble:
                typer.echo(f"left out: {each.trouble}", err=True)
        yield history


def run_named(history: History, name: str) -> str:
    """The name of the run `name`, which may be its folder; one outside the folder of runs is taken in."""
    folder = Path(name)
    return history.ingest(folder).run if (folder / "run.json").is_file() else name
