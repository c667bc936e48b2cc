"""A run's folder to a page: what the commands and the end of a run call."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import HarnessError
from harness.report.links import link_prefix
from harness.report.page import Source, render_page
from harness.report.past import past_of
from harness.results.folder import RunReader
from harness.results.notes import THINNED_FILE, read_findings, read_thinned

if TYPE_CHECKING:
    from harness.history import History

__all__ = ["PAGE", "render_report", "rewrite_thinned", "write_report"]

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
            past=past_of(history, reader.info),
            findings=read_findings(run_folder),
            thinned=read_thinned(run_folder),
        )
    )


def write_report(run_folder: Path, output: Path | None = None, *, history: History | None = None) -> Path:
    """Write the page to `output` (default: report.html in the run's folder); it is whole or not there."""
    path = output or run_folder / PAGE
    part = path.with_name(f"{path.name}.part")
    part.write_text(render_report(run_folder, history=history, output=path), encoding="utf-8")
    part.replace(path)
    return path


def rewrite_thinned(history: History) -> int:
    """Make the pages anew that link to evidence which retention has removed since; how many there were.

    Raises `UsageError` for a folder that is no run's any more; the others are done before.
    """
    count = 0
    trouble: HarnessError | None = None
    for folder in history.thinned():
        try:
            if (folder / PAGE).stat().st_mtime_ns > (folder / THINNED_FILE).stat().st_mtime_ns:
                continue
            write_report(folder, history=history)
        except OSError:  # no page, no folder any more, or somebody else's
            continue
        except HarnessError as error:
            trouble = error
        else:
            count += 1
    if trouble is not None:
        raise trouble
    return count
