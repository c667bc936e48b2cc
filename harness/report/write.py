"""A run's folder to a page: what the commands and the end of a run call."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ToolMissingError
from harness.report.links import link_prefix
from harness.report.page import Source, render_page
from harness.report.past import past_of
from harness.results.folder import RunReader

if TYPE_CHECKING:
    from harness.history import History

__all__ = ["PAGE", "history_beside", "render_report", "write_report"]

#: Name of the page in a run's folder.
PAGE = "report.html"


def render_report(run_folder: Path, *, history: History | None = None, output: Path | None = None) -> str:
    """The page of a run, finished or not; its links to evidence are relative to `output`.

    With a history that holds the run it shows earlier runs and what changed since the last one. Raises
    `UsageError` for a folder that isn't a run.
    """
    reader = RunReader(run_folder)
    return render_page(
        Source(
            run=reader.info,
            results=tuple(reader),
            folder=run_folder,
            prefix=link_prefix(run_folder, output or run_folder / PAGE),
            past=past_of(history, reader.info, _plan(run_folder)),
        )
    )


def write_report(run_folder: Path, output: Path | None = None, *, history: History | None = None) -> Path:
    """Write the page to `output` (default: report.html in the run's folder); it is whole or not there."""
    path = output or run_folder / PAGE
    part = path.with_name(f"{path.name}.part")
    part.write_text(render_report(run_folder, history=history, output=path), encoding="utf-8")
    part.replace(path)
    return path


@contextlib.contextmanager
def history_beside(results: Path, where: str | None = None) -> Iterator[History | None]:
    """The history `where` (a file or an URL); without it the one in `results`, None where there is none.

    Raises `ToolMissingError` when the one asked for can't be read for want of the extra `history`.
    """
    file = results / "history.sqlite"
    if where is None and not file.is_file():
        yield None
        return
    try:
        from harness.history import open_history
    except ImportError as error:
        if where is None:
            yield None
            return
        raise ToolMissingError(
            f"a history needs packages that are not here ({error}); pip install 'regfilter-harness[history]'"
        ) from error
    with open_history(where or file) as history:
        yield history


def _plan(run_folder: Path) -> str:
    """The name of the plan a run belongs to; empty for a run without one."""
    try:
        return str(json.loads((run_folder / "plan.json").read_text(encoding="utf-8"))["plan"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
