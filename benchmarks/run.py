"""`make bench`: how fast the reference guest, the suites and the demo are, as one table with the targets.

Figures count CPU time, and so are for one core; the demo and "every core" go by the clock.

python benchmarks/run.py [--quick]        --quick leaves out the demo
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import reference
from harness.probe import Probe
from harness.pytest_command import pytest_command
from harness.workload import Registry

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.measure import Measure, show

ROOT = Path(__file__).resolve().parents[1]
#: Operations of one measured program; each passes every filter twice.
OPERATIONS = 200
FILTERS = 4


def cpu_seconds(work: Callable[[], object], *, times: int = 5) -> float:
    """CPU time of the fastest of several runs: what one core does, whoever else uses the machine."""

    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return min(once() for _ in range(times))


def queries(registry: Registry, count: int) -> None:
    """A program of `count` queries of a missing value."""
    with registry.program() as p:
        key = p.create_key(p.test_root / "bench")
        for _ in range(count):
            p.query_value(key, "missing")


@contextmanager
def filtered(*, silent: bool) -> Iterator[tuple[reference.ReferenceGuest, Probe, Registry]]:
    """A guest with FILTERS filters that let everything pass, and record it unless they are silent."""
    with reference.boot("10.0.26100") as guest, Probe.install(guest) as probe, Registry(guest) as registry:
        for position in range(FILTERS):
            probe.add(f"3800{10 + position}.7301", silent=silent)
        queries(registry, 10)
        yield guest, probe, registry


def callbacks_a_second(*, silent: bool) -> float:
    """Notifications delivered, through a whole program and, when they are recorded, back to the host."""
    with filtered(silent=silent) as (_, probe, registry):

        def work() -> None:
            queries(registry, OPERATIONS)
            probe.drain()

        return OPERATIONS * FILTERS * 2 / cpu_seconds(work)


def instructions_a_notification(*, silent: bool) -> float:
    """Guest instructions of one notification that passes one filter."""
    with filtered(silent=silent) as (guest, _, registry):
        counted = [0]

        def count(_address: int) -> None:
            counted[0] += 1

        engine = guest.machine.cpu.engine
        engine.on_code(0, guest.machine.memory.map.address_mask, count)
        guest.machine.cpu.flush_code()
        queries(registry, 1)
        one = counted[0]
        queries(registry, 1 + OPERATIONS)
        return (counted[0] - 2 * one) / (OPERATIONS * FILTERS * 2)


def boot_milliseconds() -> float:
    """Boot, load the probe, close."""

    def work() -> None:
        with reference.boot("10.0.26100") as guest, Probe.install(guest):
            pass

    work()
    return 1000 * cpu_seconds(work)


def suite_tests(*options: str) -> tuple[float, float, float]:
    """Run the conformance suites: tests that ran, CPU seconds, seconds by the clock; all with the start.

    As in every run but the first, compiled test modules are there: one collection makes them.
    """
    command = [*pytest_command(), "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "suites"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    collect = [*command, "--collect-only"]
    subprocess.run(collect, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, check=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as results:
        command += [*options, "--results", results]
        subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, check=True)
        (rows,) = Path(results).glob("*/rows.jsonl")
        ran = sum(json.loads(line)["outcome"] != "SKIP" for line in rows.read_text().splitlines())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return ran, cpu, time.perf_counter() - start


def suite_tests_of_a_process() -> float:
    """Tests a CPU second: one process, one target."""
    ran, cpu, _clock = suite_tests()
    return ran / cpu


def suite_tests_of_the_machine() -> float:
    """Tests a second by the clock: a process on every core, enough targets to keep them busy."""
    targets = [f"--target=reference:{name}" for name in ("10.0.26100", "10.0.19045-x86", "6.3", "6.1")]
    ran, _cpu, clock = suite_tests("-n", str(os.cpu_count() or 1), "--dist", "worksteal", *targets)
    return ran / clock


def demo_seconds(*, cold: bool) -> float:
    """`harness demo` by the clock; cold: no driver built yet."""
    if cold:
        shutil.rmtree(ROOT / "build", ignore_errors=True)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "harness", "demo"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    steps: list[Callable[[], Measure]] = [
        lambda: Measure("callbacks of a pass-through filter", callbacks_a_second(silent=True), "/s", 15_000),
        lambda: Measure("callbacks, recorded and brought back", callbacks_a_second(silent=False), "/s"),
        lambda: Measure(
            "instructions a pass-through notification", instructions_a_notification(silent=True), ""
        ),
        lambda: Measure(
            "instructions a recorded notification", instructions_a_notification(silent=False), ""
        ),
        lambda: Measure("boot with the probe", boot_milliseconds(), "ms"),
        lambda: Measure("suite tests, one process", suite_tests_of_a_process(), "/s"),
        lambda: Measure("suite tests, every core", suite_tests_of_the_machine(), "/s", 100),
    ]
    if "--quick" not in sys.argv[1:]:
        steps += [
            lambda: Measure("demo, drivers not built yet", demo_seconds(cold=True), "s"),
            lambda: Measure("demo, nothing changed", demo_seconds(cold=False), "s", 15, rising=False),
        ]
    show(steps)


if __name__ == "__main__":
    main()
