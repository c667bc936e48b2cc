"""What the options of the plugin (`harness.plugin.commandline`) amount to for a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.between import parse_parameters
from harness.errors import UsageError
from harness.guest.base import DriverParameters
from harness.guests import GuestSettings
from harness.plugin.commandline import EvidencePolicy, Isolation
from harness.results.model import MAX_NAME, clip
from harness.targets import DEFAULT_TARGET, Target, resolve_targets

__all__ = ["SETTINGS", "EvidencePolicy", "Isolation", "Settings", "settings_of"]


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
