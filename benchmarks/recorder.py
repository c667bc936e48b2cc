"""What keeping a journal for bundles costs a suite: the same tests with and without it, turn by turn.

    python -m benchmarks.recorder [--rounds 5] [PATH ...]

Processor time is compared, not the clock's: other work on the host takes no part in it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile

import pytest

from harness import pytest_command as starting

_PLUGIN = "benchmarks.recorder"
_PATHS = ("suites/layering", "suites/notifications")


def pytest_configure(config: pytest.Config) -> None:
    """As a plugin: this run records nothing."""
    from harness.guest.base import Guest
    from harness.plugin import station
    from harness.repro.journal import Journal

    def unrecorded(guest: Guest) -> Guest:
        guest.journal = Journal()  # type: ignore[attr-defined]
        return guest

    station.RecordedGuest = unrecorded  # type: ignore[assignment, misc]


def seconds(paths: list[str], *more: str) -> float:
    """Processor time of one run of the tests."""
    with tempfile.TemporaryDirectory() as results:
        before = os.times()
        command = [
            *starting.pytest_command(),
            "-q",
            "-p",
            "no:cacheprovider",
            f"--results={results}",
            *more,
            *paths,
        ]
        subprocess.run(command, capture_output=True, check=True)
        after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("paths", nargs="*", default=list(_PATHS))
    given = parser.parse_args()
    seconds(given.paths)  # builds and fills the caches
    pairs = [(seconds(given.paths, "-p", _PLUGIN), seconds(given.paths)) for _ in range(given.rounds)]
    plain, recorded = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"without a journal {plain:.2f} s, with one {recorded:.2f} s: {recorded / plain - 1:+.1%}")


if __name__ == "__main__":
    main()
