"""A checkout for pytester whose targets boot the fake guest."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

import harness.guests
from harness.machine.keep.places import Places

_CONFTEST = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import fake_guest
import harness.guests
harness.guests.boot_reference = fake_guest.FakeGuest
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """pytester with the plugin and the fake guest."""
    # Undoes what the inner conftest does.
    monkeypatch.setattr(harness.guests, "boot_reference", harness.guests.boot_reference)
    pytester.makeconftest(_CONFTEST)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider --strict-markers\n")
    return pytester


@pytest.fixture
def run(suite: pytest.Pytester) -> Callable[..., pytest.RunResult]:
    """Run the plugin; in a process of its own where pytest-xdist takes part."""
    installed = any(point.value == "harness.plugin" for point in entry_points(group="pytest11"))
    # The inner runs forget their imports; hypothesis, unused there, would be imported anew by each of them.
    plugin = ("-p", "no:hypothesispytest", *(() if installed else ("-p", "harness.plugin")))

    def run(*arguments: str) -> pytest.RunResult:
        if "-n" in arguments:
            return suite.runpytest_subprocess(*plugin, *arguments)
        return suite.runpytest_inprocess(*plugin, *arguments)

    return run


@pytest.fixture
def machine_cache() -> Iterator[Path]:
    """A cache of the test's own for machines; their sockets need a short name."""
    folder = Path(tempfile.mkdtemp(prefix="rf-cache-", dir="/tmp"))
    yield folder
    memory = Places.beside(folder).memory  # the template is kept for the next run, here there is none
    for each in (folder, memory):
        if each is not None and each.exists():
            shutil.rmtree(each)


@pytest.fixture
def rows(pytester: pytest.Pytester) -> Callable[[], list[dict[str, Any]]]:
    """The rows of the only run there was."""

    def rows() -> list[dict[str, Any]]:
        (file,) = Path(pytester.path).glob("results/*/rows.jsonl")
        return [json.loads(line) for line in file.read_text().splitlines()]

    return rows
