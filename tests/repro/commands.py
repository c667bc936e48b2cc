"""The command, run as people run it, and the bundles of a run."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.driver import find_project_root

__all__ = ["ROOT", "Done", "bundle_of", "harness"]

ROOT = find_project_root()


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def harness(*arguments: str | Path, cwd: Path = ROOT, path: Path | None = None) -> Done:
    """One command from a checkout's root; `path` is put before Python's own."""
    program = "from harness.cli import main; main()"
    # What this pytest set for its tests is not meant for the one that the command starts.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join(str(each) for each in (path, ROOT) if each is not None)
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def bundle_of(results: Path, test: str) -> Path:
    """The only bundle of a test in the runs of a folder."""
    (found,) = results.glob(f"*/bundles/{test}*.zip")
    return found
