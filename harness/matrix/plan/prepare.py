"""From a plan's file to the jobs that would run: read, checked, collected, estimated. Nothing is started."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.image.recipe import load_recipe
from harness.machine.describe.spec import Hardware
from harness.matrix.plan.collect import Collected, collect
from harness.matrix.plan.estimate import Durations
from harness.matrix.plan.expand import Appetite, expand
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.machines import THIS_HOST, Machines
from harness.matrix.plan.plan import Plan
from harness.matrix.plan.planfile import draft_plan
from harness.strict import Mistakes
from harness.targets import parse_target

__all__ = ["Prepared", "machine_appetite", "prepare"]

#: QEMU itself beside the guest's memory, as `harness.machine.clones.admission` has it.
_OVERHEAD_MIB: Final = 96


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked plan, what its suites hold for its targets, and the jobs that this makes."""

    plan: Plan
    collected: tuple[Collected, ...]
    jobs: tuple[Job, ...]


def prepare(file: Path, durations: Durations | None = None, *, machines: Machines = THIS_HOST) -> Prepared:
    """The jobs of the plan in `file`. Takes seconds: pytest collects the suites.

    Raises `ConfigError` with everything that is wrong with the plan and with what it names, suites that
    can't be collected included.
    """
    mistakes = Mistakes()
    plan = draft_plan(file, mistakes, machines=machines)
    suites = dict.fromkeys([*plan.suites, *(suite for build in plan.builds for suite in build.suites)])
    collected: tuple[Collected, ...] = ()
    if plan.targets and suites and all(suite.is_relative_to(plan.root) for suite in suites):
        with mistakes.gathered(plan.file, "suites"):
            collected = collect(plan.root, tuple(suites), plan.targets, plan.recipes)
    mistakes.check()
    return Prepared(plan, collected, expand(plan, collected, durations, _appetites(plan)))


def machine_appetite(hardware: Hardware, clones: int) -> Appetite:
    """What a machine takes with `clones` that wait: all of its own memory, a part of theirs.

    Clones share their template's memory until they write; a quarter is what admission takes for the rest.
    """
    waiting = clones * (_OVERHEAD_MIB + hardware.memory_mib // 4)
    return Appetite(hardware.processors, _OVERHEAD_MIB + hardware.memory_mib + waiting)


def _appetites(plan: Plan) -> dict[str, Appetite]:
    targets: Iterable[str] = plan.targets
    found = [parse_target(name, plan.recipes) for name in targets]
    return {
        target.name: machine_appetite(load_recipe(target.recipe).hardware, plan.clones)
        for target in found
        if target.recipe is not None
    }
