"""What to type to see a failure again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from harness.errors import UsageError
from harness.report.links import inside
from harness.results.folder import RunReader
from harness.results.model import RunInfo, RunResult

__all__ = ["commands"]

#: Options of a run that its tests depend on; the others say where to run and what to write.
_KEPT: Final = ("--driver", "--driver-parameter", "--isolation", "--recipes", "--channel")
_USUAL: Final = "--isolation=module"
_LARGEST_PLAN: Final = 256 << 20


def commands(result: RunResult, run: RunInfo, folder: Path, *, bundle: bool = True) -> tuple[str, ...]:
    """Command lines for a POSIX shell: the test by itself, then its bundle unless that is gone.

    Names of files are as seen from the working directory, where the page is made.
    """
    test, bracket, parameters = result.test.partition("[")
    if bracket:  # rows leave out the target, which pytest has in front of the test's own parameters
        parameters = f"{result.target}-{parameters}" if result.target else parameters
    file, colons, name = test.partition("::")
    test = f"{_from_here(file, folder)}{colons}{name}"
    found = ["harness", "run", test + bracket + parameters, *(("-t", result.target) if result.target else ())]
    lines = [shlex.join([*found, *_options(_arguments(result, run, folder))])]
    if bundle and inside(result.bundle):
        file = shlex.quote(str(folder / result.bundle))
        lines += [f"harness repro {file}", f"harness shrink {file}"]
    return tuple(lines)


def _from_here(file: str, folder: Path) -> str:
    """A test file by a name that leads to it from here; a plan's are relative to the plan's root."""
    root = _plan_root(folder)
    if root is None or root == Path.cwd() or not (root / file).exists():
        return file
    path = root / file
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@lru_cache(maxsize=16)
def _plan_root(folder: Path) -> Path | None:
    """The root of the plan that a run is of; None for any other run."""
    try:
        with (folder / "plan.json").open("rb") as file:
            return Path(json.loads(file.read(_LARGEST_PLAN))["plan"]["root"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _arguments(result: RunResult, run: RunInfo, folder: Path) -> tuple[str, ...]:
    """What pytest was started with: in a matrix run that is the job's, whose folder holds the row's files."""
    for name in (result.bundle, result.comparison, *result.evidence):
        parts = PurePosixPath(name).parts
        if inside(name) and len(parts) > 2 and parts[0] == "jobs":
            return _job_arguments(folder / "jobs" / parts[1]) or run.arguments
    return run.arguments


@lru_cache(maxsize=256)
def _job_arguments(folder: Path) -> tuple[str, ...]:
    try:
        return RunReader(folder).info.arguments
    except UsageError:
        return ()


def _options(arguments: Iterable[str]) -> Iterator[str]:
    """Those of `_KEPT` with their values, written either way."""
    value_follows = False
    for argument in arguments:
        if value_follows or (argument.split("=", 1)[0] in _KEPT and argument != _USUAL):
            yield argument
        value_follows = argument in _KEPT
