"""What a plan's suites hold for each of its targets: pytest collects them, runs nothing and boots nothing."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.matrix.plan.collecting import OPTION
from harness.pytest_command import pytest_command
from harness.strict import ConfigError, read_table

__all__ = ["Collected", "collect"]

#: Seconds; tens of thousands of tests take a few.
_PATIENCE: Final = 600
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Collected:
    """The tests of one file on one target: how many run, how many of these need a driver of the user's, and
    how many are skipped, by reason.

    `file` is relative to the root; `target` is empty for tests without a guest.
    """

    file: str
    target: str
    tests: int
    driver: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)


def collect(
    root: Path, suites: Sequence[Path], targets: Iterable[str], recipes: Iterable[Path] = ()
) -> tuple[Collected, ...]:
    """Every test file of `suites` on each of `targets`, in pytest's order.

    Raises `ConfigError` with pytest's own words where a file can't be collected, `InfrastructureError` where
    pytest doesn't come to an end.
    """
    command = [*pytest_command(), "--collect-only", "-qq", "-p", "no:cacheprovider", "-p", _PLUGIN]
    command.append("--listed-before")  # of native suites: whoever runs them asks a guest
    command += [f"--rootdir={root}", *(f"--target={name}" for name in targets)]
    command += [f"--recipes={folder}" for folder in recipes]
    with tempfile.TemporaryFile() as written:  # without a name, so that nothing is left of it after a kill
        try:
            done = subprocess.run(
                [*command, f"{OPTION}=/dev/fd/{written.fileno()}", *map(str, suites)],
                cwd=root,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(written.fileno(),),
                timeout=_PATIENCE,
                env={**os.environ, "PYTEST_ADDOPTS": ""},
            )
        except subprocess.TimeoutExpired as error:
            said = (
                f"pytest did not collect {', '.join(map(str, suites))} within {_PATIENCE} s; run it by itself"
            )
            raise InfrastructureError(said) from error
        written.seek(0)
        found = written.read()
    if done.returncode or not found:
        raise ConfigError(_refusal(done.stdout.decode("utf-8", "replace"), suites))
    return tuple(read_table(Collected, row, root) for row in json.loads(found))


_PLUGIN: Final = "harness.matrix.plan.collecting"


def _refusal(output: str, suites: Sequence[Path]) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    shown = "\n  ".join(lines[-_SHOWN:]) or "pytest said nothing"
    return f"{', '.join(map(str, suites))}: can't be collected; mend what pytest says:\n  {shown}"
