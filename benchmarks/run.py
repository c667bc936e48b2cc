"""`make bench`: how fast the reference guest, the suites and the demo are, as one table with the targets.

python benchmarks/run.py [--quick]        --quick leaves out the demo
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from harness import reference
from harness.driver import probe_image
from harness.probe import Probe
from harness.registry.notify import Pre
from harness.workload import Registry

ROOT = Path(__file__).resolve().parents[1]
#: Operations of one measured program; each passes every filter twice.
OPERATIONS = 200
FILTERS = 4


@dataclass(frozen=True)
class Measure:
    what: str
    value: float
    unit: str
    #: What it should reach on two cores of this class; 0 where nothing is asked.
    target: float = 0.0
    #: Whether more is better.
    rising: bool = True

    @property
    def met(self) -> bool:
        return not self.target or (self.value >= self.target if self.rising else self.value <= self.target)


def best_of(times: int, work: Callable[[], None]) -> float:
    """Seconds of the fastest of several runs: the others were disturbed."""
    return min(_timed(work) for _ in range(times))


def _timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def callbacks_a_second() -> float:
    """Notifications delivered to filters that record everything, through a whole program and back."""
    probe_image("x64")
    with reference.boot("10.0.26100") as guest, Probe.install(guest) as probe, Registry(guest) as registry:
        filters = probe.stack(FILTERS)
        seen = 0

        def work() -> None:
            nonlocal seen
            with registry.program() as p:
                key = p.create_key(p.test_root / "bench")
                for _ in range(OPERATIONS):
                    p.query_value(key, "missing")
            seen = len(probe.drain())

        work()
        seconds = best_of(5, work)
        assert len(filters) == FILTERS
        assert seen >= OPERATIONS * FILTERS * 2
        return seen / seconds


def silent_callbacks_a_second() -> float:
    """The same with filters that record nothing and block nothing: delivery alone."""
    with reference.boot("10.0.26100") as guest, Probe.install(guest) as probe, Registry(guest) as registry:
        for position in range(FILTERS):
            quiet = probe.add(f"3800{10 + position}.7301", silent=True)
            quiet.on(Pre.SetValueKey, value="never").block()

        def work() -> None:
            with registry.program() as p:
                key = p.create_key(p.test_root / "bench")
                for _ in range(OPERATIONS):
                    p.query_value(key, "missing")

        work()
        return OPERATIONS * FILTERS * 2 / best_of(5, work)


def boot_milliseconds() -> float:
    """Boot, load the probe, close."""

    def work() -> None:
        with reference.boot("10.0.26100") as guest, Probe.install(guest):
            pass

    work()
    return 1000 * best_of(5, work)


def suite_tests_a_second() -> float:
    """The conformance suites on one target in one process, collection left out."""
    command = [sys.executable, "-m", "harness", "run", "-q", "suites", "-p", "no:cacheprovider"]
    with tempfile.TemporaryDirectory() as results:
        done = subprocess.run(
            [*command, "--results", results], cwd=ROOT, capture_output=True, text=True, check=False
        )
        (rows,) = Path(results).glob("*/rows.jsonl")
        spent = [json.loads(line)["duration"] for line in rows.read_text().splitlines()]
    closing = done.stdout.strip().splitlines()[-1]
    took = re.search(r"in ([\d.]+)s", closing)
    assert took is not None, closing
    return len(spent) / float(took[1])


def demo_seconds(*, cold: bool) -> float:
    """`harness demo`; cold: nothing built and nothing compiled."""
    if cold:
        shutil.rmtree(ROOT / "build", ignore_errors=True)
    command = [sys.executable, "-m", "harness", "demo"]
    return _timed(lambda: _run(command))


def _run(command: list[str]) -> None:
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    console = Console()
    steps: list[Callable[[], Measure]] = [
        lambda: Measure(
            "callbacks through the reference guest, recorded", callbacks_a_second(), "/s", 15_000
        ),
        lambda: Measure("callbacks through the reference guest, silent", silent_callbacks_a_second(), "/s"),
        lambda: Measure("boot with the probe", boot_milliseconds(), "ms"),
        lambda: Measure("suite tests, one process", suite_tests_a_second(), "/s", 100),
    ]
    if "--quick" not in sys.argv[1:]:
        steps += [
            lambda: Measure("demo, drivers not built yet", demo_seconds(cold=True), "s"),
            lambda: Measure("demo, nothing changed", demo_seconds(cold=False), "s", 15, rising=False),
        ]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("measure")
    for column in ("value", "target", ""):
        table.add_column(column, justify="right")
    with console.status("measuring"):
        for step in steps:
            found = step()
            target = "-"
            if found.target:
                target = f"{'≥' if found.rising else '≤'} {found.target:,.0f} {found.unit}"
            verdict = "[green]met" if found.met else "[red]missed"
            table.add_row(
                found.what, f"{found.value:,.1f} {found.unit}", target, verdict if found.target else ""
            )
    console.print(table)


if __name__ == "__main__":
    main()
