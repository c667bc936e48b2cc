"""Command-line options and markers of the plugin, and what they amount to for a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from harness.between import parse_parameters
from harness.errors import UsageError
from harness.guest.base import DriverParameters
from harness.targets import DEFAULT_TARGET, Target, resolve_targets

__all__ = ["SETTINGS", "Isolation", "Settings", "add_options", "settings_of"]


class Isolation(StrEnum):
    """How long a guest lives. After a crash or any failure the next test gets a fresh one in every case."""

    SESSION = "session"  # one guest a target
    MODULE = "module"  # a fresh guest for every test file; the probe is reset between tests
    TEST = "test"  # a fresh guest for every test


@dataclass(frozen=True, slots=True)
class Settings:
    targets: tuple[Target, ...]
    isolation: Isolation
    #: The user's own driver, read once; None without ``--driver``.
    driver: Path | None
    #: Values below the Parameters key of its service.
    driver_parameters: DriverParameters
    #: Where the run's rows and evidence go; shared with the workers of pytest-xdist.
    run_folder: Path
    arguments: tuple[str, ...] = field(default=())


SETTINGS = pytest.StashKey[Settings]()

_MARKERS = (
    'behaviour(id, ...): the statements of the catalogue that the test proves, e.g. behaviour("B-LAY-03")',
    'requires(capability, ...): skip on guests without these capabilities, e.g. requires("app-hives")',
    'versions(since=..., until=...): only on these Windows versions, both included: versions(since="6.0")',
    'arch(name, ...): only on these architectures, e.g. arch("x64")',
)


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("harness", "registry filter harness")
    group.addoption(
        "--target",
        action="append",
        default=[],
        metavar="NAME",
        help=f"run on this target; repeatable, patterns allowed ('reference:*'); default {DEFAULT_TARGET}",
    )
    group.addoption(
        "--driver",
        metavar="FILE.sys",
        help="your own driver, for tests with the own_driver fixture: loaded between two probe filters",
    )
    group.addoption(
        "--driver-parameter",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value of your driver's Parameters key, REG_DWORD when it is a number; repeatable",
    )
    group.addoption(
        "--isolation",
        choices=[mode.value for mode in Isolation],
        default=Isolation.MODULE.value,
        help="a fresh guest for every session, module (default) or test",
    )
    group.addoption(
        "--results",
        metavar="DIR",
        help="folder that holds the runs; default results/ below the root of the tests",
    )
    group.addoption(
        "--run-folder", metavar="DIR", help="folder of this very run, instead of a new one in --results"
    )


def register_markers(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


def settings_of(config: pytest.Config, run_folder: Path) -> Settings:
    """What the options ask for. Raises `pytest.UsageError` naming the option that is wrong."""
    try:
        targets = resolve_targets(config.getoption("--target") or [DEFAULT_TARGET])
    except UsageError as error:
        raise pytest.UsageError(f"--target: {error}") from None
    driver = config.getoption("--driver")
    path = None if driver is None else Path(driver)
    if path is not None and not path.is_file():
        raise pytest.UsageError(f"--driver: there is no file {path}")
    try:
        parameters = parse_parameters(config.getoption("--driver-parameter"))
    except UsageError as error:
        raise pytest.UsageError(f"--driver-parameter: {error}") from None
    return Settings(
        targets=targets,
        isolation=Isolation(config.getoption("--isolation")),
        driver=path,
        driver_parameters=parameters,
        run_folder=run_folder,
        arguments=tuple(map(str, config.invocation_params.args)),
    )
