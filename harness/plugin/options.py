"""Command-line options and markers of the plugin, and what they amount to for a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from harness.between import parse_parameters
from harness.errors import UsageError
from harness.guest.base import DriverParameters
from harness.guests import GuestSettings
from harness.results.model import MAX_NAME, clip
from harness.targets import DEFAULT_TARGET, Target, resolve_targets

__all__ = ["SETTINGS", "EvidencePolicy", "Isolation", "Settings", "add_options", "settings_of"]


class Isolation(StrEnum):
    """How long a guest lives. After a crash or any failure the next test gets a fresh one in every case.

    A fresh guest of a machine is the next clone of its template.
    """

    SESSION = "session"  # one guest a target
    MODULE = "module"  # a fresh guest for every test file; the probe is reset between tests
    TEST = "test"  # a fresh guest for every test


class EvidencePolicy(StrEnum):
    """When screen, logs and memory of a machine are kept. Traces of failures always are."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"  # after each test, which costs it its guest


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
    guests: GuestSettings = field(default_factory=GuestSettings)
    evidence: EvidencePolicy = EvidencePolicy.ON_FAILURE
    #: A machine with at most so much memory is dumped when it crashed or hangs; 0: none.
    dump_mib: int = 2048
    #: What rows call the build of the user's driver; empty without a name.
    build: str = ""
    arguments: tuple[str, ...] = field(default=())


SETTINGS = pytest.StashKey[Settings]()

_MARKERS = (
    'behaviour(id, ...): the statements of the catalogue that the test proves, e.g. behaviour("B-LAY-03")',
    'requires(capability, ...): skip on guests without these capabilities, e.g. requires("app-hives")',
    'versions(since=..., until=...): only on these Windows versions, both included: versions(since="6.0")',
    'arch(name, ...): only on these architectures, e.g. arch("x64")',
    "own_guest: a guest of its own, whatever the isolation is",
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
        "--recipes",
        action="append",
        default=[],
        metavar="DIR",
        help="a further folder of recipes for targets vm:NAME; repeatable, HARNESS_RECIPES adds more",
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
        "--build", metavar="NAME", default="", help="what the rows call this build of your driver"
    )
    group.addoption(
        "--isolation",
        choices=[mode.value for mode in Isolation],
        default=Isolation.MODULE.value,
        help="a fresh guest for every session, module (default) or test",
    )
    group.addoption(
        "--channel",
        choices=["serial", "ssh", "winrm"],
        default="",
        help="how machines are talked to; default: what their recipe names first",
    )
    group.addoption(
        "--clones",
        type=int,
        default=1,
        metavar="N",
        help="clones of each machine that wait, so that a fresh one is there at once; default 1",
    )
    group.addoption(
        "--evidence",
        choices=[policy.value for policy in EvidencePolicy],
        default=EvidencePolicy.ON_FAILURE.value,
        help="keep a machine's screen, logs and memory: never, on-failure (default) or always",
    )
    group.addoption(
        "--memory-dump",
        type=int,
        default=2048,
        metavar="MIB",
        help="dump a machine's memory when it crashes or hangs, if it has at most so much; default 2048",
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
    recipes = [Path(folder) for folder in config.getoption("--recipes")]
    try:
        targets = resolve_targets(config.getoption("--target") or [DEFAULT_TARGET], recipes)
    except UsageError as error:
        raise pytest.UsageError(f"--target: {error}") from None
    clones, dump = config.getoption("--clones"), config.getoption("--memory-dump")
    if clones < 1:
        raise pytest.UsageError(f"--clones: {clones} clones are none to take; give 1 or more")
    if dump < 0:
        raise pytest.UsageError(f"--memory-dump: {dump} MiB; give 0 for no dumps")
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
        guests=GuestSettings(
            clones=clones,
            channel=config.getoption("--channel"),
            verified=() if path is None else (f"{path.stem}.sys",),
        ),
        evidence=EvidencePolicy(config.getoption("--evidence")),
        dump_mib=dump,
        build=clip(config.getoption("--build"), MAX_NAME),
        arguments=tuple(map(str, config.invocation_params.args)),
    )
