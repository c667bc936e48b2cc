"""One Wine prefix a test session, and runners in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.driver import find_toolchain, runner_image
from harness.errors import ToolMissingError
from tests.runner.winehost import StandardRunner, Wine, wine_architectures, wine_is_missing


@pytest.fixture(scope="session", params=wine_architectures())
def runner_arch(request: pytest.FixtureRequest) -> str:
    """The runner's architecture, each that Wine can run."""
    return str(request.param)


@pytest.fixture(scope="session")
def runner_exe(tmp_path_factory: pytest.TempPathFactory, runner_arch: str) -> Path:
    """regrun.exe in a folder of the tests."""
    try:
        find_toolchain(runner_arch)
    except ToolMissingError as error:
        pytest.skip(str(error))
    exe = tmp_path_factory.mktemp("runner") / "regrun.exe"
    exe.write_bytes(runner_image(runner_arch))
    return exe


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wine]:
    """A prefix; its processes are gone afterwards."""
    if reason := wine_is_missing():
        pytest.skip(reason)
    with Wine(tmp_path_factory.mktemp("wine")) as prefix:
        yield prefix
    assert prefix.processes() == []


@pytest.fixture
def runner(wine: Wine, runner_exe: Path) -> Iterator[StandardRunner]:
    """A fresh runner on stdin and stdout."""
    with StandardRunner(wine, runner_exe) as running:
        yield running


@pytest.fixture(scope="module")
def long_runner(wine: Wine, runner_exe: Path) -> Iterator[StandardRunner]:
    """A runner for tests that leave it as it was."""
    with StandardRunner(wine, runner_exe) as running:
        yield running
