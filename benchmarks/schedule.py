"""How good the schedule of a nightly run is: thousands of jobs of recorded length against the lower bound.

`durations.csv` was recorded: one run of all suites on every version of the reference guest and the stand-in,
seconds by test file and target. The night here is made of it: each recipe of vm-images runs the files of the
nearest Windows version, slower by what the stand-in was slower, with and without axes, and a driver in many
builds. Nothing runs; the scheduler is the one that runs use.

python benchmarks/schedule.py
"""

from __future__ import annotations

import csv
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.measure import Measure, show
from harness.image.finding import find_recipes
from harness.machine.describe.axes import Axis, refusal, with_axes
from harness.matrix.plan.collect import Collected
from harness.matrix.plan.expand import Appetite, expand
from harness.matrix.plan.jobs import Job
from harness.matrix.plan.plan import Build, Exclusive, Plan
from harness.matrix.plan.prepare import machine_appetite
from harness.matrix.schedule.scheduler import Capacity, lower_bound
from harness.matrix.schedule.simulate import makespan, simulate
from harness.targets import VM, parse_target

RECORDED = Path(__file__).with_name("durations.csv")
#: Two sockets of a usual server; and with so little memory that this decides.
HOST = Capacity(cores=64, memory_mib=256 * 1024)
SMALL_HOST = Capacity(cores=64, memory_mib=64 * 1024)
BUILDS = 40
NIGHTS = 20


@cache
def recorded() -> dict[str, dict[str, tuple[int, float]]]:
    """Tests and seconds of each file, by target and file."""
    found: defaultdict[str, dict[str, tuple[int, float]]] = defaultdict(dict)
    with RECORDED.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            found[row["target"]][row["file"]] = (int(row["tests"]), float(row["seconds"]))
    return found


@cache
def slowdown() -> float:
    """How much longer a test takes on a machine than on the reference guest: median of the files on both."""
    machine = next(files for target, files in recorded().items() if target.startswith(VM))
    ratios = [
        (seconds / tests) / (files[file][1] / files[file][0])
        for file, (tests, seconds) in machine.items()
        for target, files in recorded().items()
        if file in files and not target.startswith(VM)
    ]
    return median(ratios)


@cache
def deviations() -> list[float]:
    """How far a recorded file is from its median over the targets: what a night is off what is expected."""
    by_file: defaultdict[str, list[float]] = defaultdict(list)
    for target, files in recorded().items():
        for file, (tests, seconds) in files.items():
            if not target.startswith(VM):
                by_file[file].append(seconds / tests)
    return [value / median(values) for values in by_file.values() for value in values if median(values)]


def night() -> tuple[Job, ...]:
    """The jobs: every reference version, every recipe with the axes it can have, a driver in many builds."""
    references = [name for name in recorded() if not name.startswith(VM)]
    files: dict[str, dict[str, tuple[int, float]]] = {name: recorded()[name] for name in references}
    machines: dict[str, Appetite] = {}
    versions = {name: parse_target(name).version for name in references}
    for recipe in find_recipes().values():
        nearest = max(
            (name for name in references if versions[name] <= recipe.version), key=versions.__getitem__
        )
        axes = [()] + [(axis,) for axis in Axis if not refusal(axis, recipe)]
        for on in axes:
            name = with_axes(VM + recipe.name, on)
            machines[name] = machine_appetite(recipe.hardware, clones=1)
            files[name] = {
                file: (tests, seconds * slowdown()) for file, (tests, seconds) in recorded()[nearest].items()
            }
    root = Path("/checkout")
    own = "suites/own-driver/test_own_driver.py"
    own_seconds = median(seconds for each in files.values() for _, seconds in each.values())
    plan = Plan(
        name="night",
        file=root / "night.toml",
        root=root,
        targets=tuple(files),
        suites=(root / "suites",),
        builds=tuple(
            Build(f"acme-{number}", root / "acme.sys", "0" * 64, tuple(files), (root / "suites/own-driver",))
            for number in range(BUILDS)
        ),
        grain_seconds=60,
        exclusive=(Exclusive("licence", ("vm:win11-25h2*",)),),
    )
    collected = [
        Collected(file, target, tests) for target, each in files.items() for file, (tests, _) in each.items()
    ]
    durations = {
        (file, target, ""): seconds for target, each in files.items() for file, (_, seconds) in each.items()
    }
    for target in files:
        collected.append(Collected(own, target, 10, driver=10))
        durations |= {(own, target, build.name): own_seconds for build in plan.builds}
    return expand(plan, collected, durations, machines)


def over_the_bound(jobs: Iterable[Job], host: Capacity, took: Mapping[str, float]) -> float:
    """Makespan over the lower bound of what the jobs took."""
    real = [replace(job, expected=took[job.id]) for job in jobs]
    return makespan(simulate(jobs, host, lambda job: took[job.id])) / lower_bound(real, host)


def measures() -> Iterable[Measure]:
    jobs = night()
    expected = {job.id: job.expected for job in jobs}
    dice = random.Random(1)
    nights = [{job.id: job.expected * dice.choice(deviations()) for job in jobs} for _ in range(NIGHTS)]
    start = time.process_time()
    spans = simulate(jobs, HOST)
    seconds = time.process_time() - start
    yield Measure("night: jobs", len(jobs), "")
    yield Measure("night: makespan by the plan", makespan(spans) / 60, "min")
    for what, host in (("cores decide", HOST), ("memory decides", SMALL_HOST)):
        as_planned = over_the_bound(jobs, host, expected)
        worst = max(over_the_bound(jobs, host, took) for took in nights)
        yield Measure(f"night: over the lower bound, {what}", as_planned, "x", 1.10, rising=False)
        yield Measure(f"night: the same, worst of {NIGHTS} that differ", worst, "x", 1.10, rising=False)
    yield Measure("night: deciding on all jobs", seconds, "s", 2, rising=False)


if __name__ == "__main__":
    show([measures])
