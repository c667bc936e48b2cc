"""Reading a plan from TOML. What is wrong with it is found before anything starts, and told all at once."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

import harness
from harness.channel.base import ChannelKind
from harness.image.finding import recipe_folders
from harness.image.recipe import load_recipe
from harness.matrix.plan.drivers import DriverTable, existing, read_builds
from harness.matrix.plan.machines import THIS_HOST, Machines
from harness.matrix.plan.plan import Build, Exclusive, LeftOut, Limits, NotBuilt, NotDrilled, Plan, Retention
from harness.plugin.options import EvidencePolicy, Isolation
from harness.results.known import load_known
from harness.strict import Mistakes, load_toml, read_table
from harness.targets import Target, resolve_targets

__all__ = ["PlanFile", "draft_plan", "read_plan"]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}", re.ASCII)
#: What pytest takes for the mark of a project's root (docs.pytest.org, "rootdir").
_ROOT_MARKS: Final = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
_OWN_SUITES: Final = Path(harness.__file__).resolve().parents[1] / "suites"
_FOR_DRIVERS: Final = "own-driver"


@dataclass(frozen=True, slots=True)
class PlanFile:
    """The keys of a plan."""

    targets: tuple[str, ...]
    name: str = ""
    exclude: tuple[str, ...] = ()
    suites: tuple[Path, ...] = ()
    root: Path | None = None
    recipes: tuple[Path, ...] = ()
    not_built: NotBuilt = NotBuilt.REFUSE
    not_drilled: NotDrilled = NotDrilled.REFUSE
    isolation: Isolation = Isolation.MODULE
    channel: ChannelKind | None = None
    clones: int = 1
    retries: int = 1
    evidence: EvidencePolicy = EvidencePolicy.ON_FAILURE
    memory_dump_mib: int = 2048
    bundle_machine: bool = False
    known_issues: Path | None = None
    grain_seconds: float = 120.0
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=Retention)
    driver: tuple[DriverTable, ...] = ()
    exclusive: tuple[Exclusive, ...] = ()


def read_plan(file: Path, *, machines: Machines = THIS_HOST) -> Plan:
    """The plan in `file`, with the `machines` there are. Raises `ConfigError` with all that is wrong."""
    mistakes = Mistakes()
    plan = draft_plan(file, mistakes, machines=machines)
    mistakes.check()
    return plan


def draft_plan(file: Path, mistakes: Mistakes, *, machines: Machines = THIS_HOST) -> Plan:
    """As `read_plan`, but what is wrong goes to `mistakes`, and the plan holds what is right of it.

    Raises `ConfigError` where the file can't be read at all or its keys are wrong.
    """
    file = file.absolute()
    read = read_table(PlanFile, load_toml(file), file)
    _check_numbers(read, file, mistakes)
    name = read.name or file.stem
    if not _NAME.fullmatch(name):
        mistakes.add(file, "name", f"{name!r} must be letters, digits, dots and dashes, at most 64")
    with mistakes.gathered(file, "recipes"):
        recipe_folders(read.recipes)
    found, left_out = _targets(read, file, mistakes, machines)
    has_own = _OWN_SUITES.is_dir()
    if not has_own:  # installed without its checkout
        _name_all_suites(read, file, mistakes)
    suites = existing(read.suites or (_OWN_SUITES,) * has_own, file, "suites", mistakes)
    usual = (_OWN_SUITES / _FOR_DRIVERS,) * has_own
    builds = read_builds(read.driver, found, usual, file, mistakes)
    every_suite = [*suites, *(suite for build in builds for suite in build.suites)]
    root = _root_of(every_suite, file) if read.root is None else Path(os.path.normpath(read.root))
    if not root.is_dir():
        mistakes.add(file, "root", f"there is no folder {root}")
    for suite in dict.fromkeys(every_suite):
        if not suite.is_relative_to(root):
            why = f"{suite} is not below {root}, which jobs run in; let root name a folder above all suites"
            mistakes.add(file, "root", why)
    if read.known_issues is not None:
        with mistakes.gathered(file, "known_issues"):
            load_known(read.known_issues)
    _check_exclusive(read.exclusive, found, builds, file, mistakes)
    return Plan(
        name=name,
        file=file,
        root=root,
        targets=tuple(target.name for target in found),
        suites=suites,
        builds=builds,
        isolation=read.isolation,
        channel=read.channel or "",
        clones=read.clones,
        retries=read.retries,
        evidence=read.evidence,
        memory_dump_mib=read.memory_dump_mib,
        bundle_machine=read.bundle_machine,
        known_issues=read.known_issues,
        recipes=read.recipes,
        not_drilled=read.not_drilled,
        grain_seconds=read.grain_seconds,
        limits=read.limits,
        retention=read.retention,
        exclusive=read.exclusive,
        left_out=left_out,
    )


# -- targets -----------------------------------------------------------------------------------------------


def _targets(
    read: PlanFile, file: Path, mistakes: Mistakes, machines: Machines
) -> tuple[tuple[Target, ...], tuple[LeftOut, ...]]:
    """The targets that run, and those that a pattern meant and that don't, with the reason."""
    found: dict[Target, str] = {}  # and the key that named it
    if not read.targets:
        mistakes.add(file, "targets", 'is empty; name one or more: "reference:*", "vm:stand-in"')
    for index, name in enumerate(read.targets):
        where = f"targets[{index}]"
        with mistakes.gathered(file, where):
            for target in resolve_targets([name], read.recipes):
                found.setdefault(target, where)
    left_out: dict[Target, str] = {}
    for index, pattern in enumerate(read.exclude):
        matching = [target for target in found if fnmatchcase(target.name, pattern)]
        left_out |= dict.fromkeys(matching, f"excluded by {pattern!r}")
        if found and not matching:
            mistakes.add(file, f"exclude[{index}]", f"{pattern!r} matches none of the targets; remove it")
    excluded = frozenset(left_out)
    if found and len(excluded) == len(found):
        mistakes.add(file, "exclude", "leaves no target; name fewer")
    for target, where in found.items():
        if target.recipe is None or target in left_out:
            continue
        recipe = load_recipe(target.recipe)
        if read.channel is not None and recipe.access(read.channel) is None:
            kinds = ", ".join(access.kind for access in recipe.channels)
            mistakes.add(file, "channel", f"{target} has no channel {read.channel}; its recipe names {kinds}")
        if why := machines.missing(recipe):
            if read.not_built is NotBuilt.LEAVE_OUT:
                left_out[target] = why
            else:
                mistakes.add(file, where, f'{target}: {why}, or set not_built = "leave-out"')
        elif read.not_drilled is not NotDrilled.RUN and (why := machines.flaw(target)):
            if read.not_drilled is NotDrilled.LEAVE_OUT:
                left_out[target] = f"a crash may go unnoticed: {why}"
            else:
                why = f'{target}: a crash may go unnoticed: {why}, or set not_drilled = "leave-out" or "run"'
                mistakes.add(file, where, why)
    if len(left_out) == len(found) > len(excluded):
        mistakes.add(file, "targets", "no image of them is built and drilled; make one so, or name others")
    running = tuple(target for target in found if target not in left_out)
    return running, tuple(LeftOut(target.name, why) for target, why in left_out.items())


# -- the rest ----------------------------------------------------------------------------------------------


def _root_of(suites: Sequence[Path], file: Path) -> Path:
    """The folder that pytest takes for the root of these suites."""
    if not suites:
        return file.parent
    common = Path(os.path.commonpath(suites))
    above = [common, *common.parents] if common.is_dir() else list(common.parents)
    marked = (folder for folder in above if any((folder / mark).is_file() for mark in _ROOT_MARKS))
    return next(marked, above[0])


def _name_all_suites(read: PlanFile, file: Path, mistakes: Mistakes) -> None:
    """There are no suites of the project that could be meant."""
    for where, named in (
        ("suites", read.suites),
        *((f"driver[{index}].suites", driver.suites) for index, driver in enumerate(read.driver)),
    ):
        if not named:
            mistakes.add(file, where, "is missing; the project's own suites are not here, so name test files")


def _check_numbers(read: PlanFile, file: Path, mistakes: Mistakes) -> None:
    limits, retention = read.limits, read.retention
    for key, value, least, most in (
        ("clones", read.clones, 1, 64),
        ("retries", read.retries, 0, 10),
        ("memory_dump_mib", read.memory_dump_mib, 0, 1 << 20),
        ("grain_seconds", read.grain_seconds, 5, 86400),
        ("limits.test_seconds", limits.test_seconds, 0, 1e7),
        ("limits.job_seconds", limits.job_seconds, 0, 1e7),
        ("limits.cores", limits.cores, 0, 1 << 16),
        ("limits.memory_mib", limits.memory_mib, 0, 1 << 30),
        ("limits.machines", limits.machines, 0, 1 << 16),
        ("retention.failures_days", retention.failures_days, 0, 36500),
        ("retention.passes_days", retention.passes_days, 0, 36500),
        ("retention.max_mib", retention.max_mib, 0, 1 << 30),
    ):
        if not least <= value <= most:  # also what is no number at all
            mistakes.add(file, key, f"must be from {least} to {most:g}, not {value}")


def _check_exclusive(
    exclusive: Sequence[Exclusive],
    targets: Sequence[Target],
    builds: Sequence[Build],
    file: Path,
    mistakes: Mistakes,
) -> None:
    """Names that are there once, and patterns that match something: a misspelt one would protect nothing."""
    names = [each.name for each in exclusive]
    kinds = (("targets", [target.name for target in targets]), ("builds", [build.name for build in builds]))
    for index, each in enumerate(exclusive):
        if not _NAME.fullmatch(each.name) or names.index(each.name) != index:
            why = f"{each.name!r} must be letters, digits, dots and dashes, and there only once"
            mistakes.add(file, f"exclusive[{index}].name", why)
        for key, known in kinds:
            for pattern in getattr(each, key):
                if known and not any(fnmatchcase(name, pattern) for name in known):
                    where = f"exclusive[{index}].{key}"
                    mistakes.add(file, where, f"{pattern!r} matches none of: {', '.join(known[:10])}")
