"""Looking back over fifty nights of twenty thousand rows each: how fast they go in and what questions cost.

python benchmarks/history.py [RUNS]        50 by default
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import event

from harness.history import History, open_history
from harness.results.folder import RunWriter
from harness.results.model import Attestation, RunResult
from harness.results.outcome import Outcome

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.measure import Measure, show

TESTS, TARGETS = 800, 25
ROWS = TESTS * TARGETS
BEHAVIOURS = 240


def write_run(results: Path, night: int, chance: random.Random) -> Path:
    """A run of every test on every target: a few fail, a tenth is skipped."""
    folder = results / f"202601{night // 24 + 1:02}-{night % 24:02}0000-000000-1"
    weights = {Outcome.PASS: 88, Outcome.SKIP: 10, Outcome.FAIL: 1, Outcome.KNOWN: 1}
    outcomes = chance.choices(list(weights), list(weights.values()), k=ROWS)
    with RunWriter(folder) as writer:
        for number, outcome in enumerate(outcomes):
            test, target = divmod(number, TARGETS)
            name = f"reference:10.0.{target}"
            writer.add(
                RunResult(
                    f"suites/topic_{test // 20}/test_it.py::test_{test}",
                    name,
                    outcome,
                    tuple(f"B-LAY-{(test * 3 + n) % BEHAVIOURS}" for n in range(1 + test % 3)),
                    duration=chance.lognormvariate(-4, 1),
                    message="assert 1 == 2" if outcome is Outcome.FAIL else "",
                    attestation=Attestation(
                        name, "reference", f"10.0.{target}", "x64", filters=(f"380010.7301#{test % 40}",)
                    ),
                )
            )
        writer.finish(0)
    return folder


class Nights:
    """A history that fills, and what it costs."""

    def __init__(self, results: Path, history: History, runs: int) -> None:
        self.results, self.history, self.runs = results, history, runs
        #: The folder of the last night, and CPU seconds of an ingest.
        self.last = results
        self.ingest_seconds = 0.0

    def fill(self) -> Iterator[Measure]:
        """Take in every night as it comes."""
        statements, seconds = 0, 0.0

        def count(*_: object) -> None:
            nonlocal statements
            statements += 1

        event.listen(self.history._database.engine, "before_cursor_execute", count)
        for night in range(self.runs):
            self.last = write_run(self.results, night, random.Random(night))
            start = time.process_time()
            self.history.ingest(self.last)
            seconds += time.process_time() - start
        self.ingest_seconds = seconds / self.runs
        size = sum(file.stat().st_size for file in self.results.glob("history.sqlite*"))
        yield Measure("rows taken into the history", ROWS / self.ingest_seconds, "/s", 5_000)
        yield Measure(f"statements for {ROWS:,} rows", statements / self.runs, "", 100, rising=False)
        yield Measure("bytes of a row in the history", size / self.runs / ROWS, "", 500, rising=False)

    def ask(self) -> Iterator[Measure]:
        """Questions, in times of the ingest of one night."""
        newest, before = (summary.name for summary in self.history.runs(limit=2))
        cells = cpu_seconds(lambda: self.history.cell_history(runs=self.runs))
        yield Measure(f"cells of {self.runs} × {ROWS:,} rows", cells, "s")
        for what, seconds, target in (
            ("the same, in ingests of a night", cells, 2),
            ("the newest run again, in ingests", cpu_seconds(lambda: self.history.ingest(self.last)), 0.05),
            (
                "difference of two runs, in ingests",
                cpu_seconds(lambda: self.history.difference(before, newest)),
                0.5,
            ),
            ("durations by ten runs, in ingests", cpu_seconds(self.history.durations), 2),
        ):
            yield Measure(what, seconds / self.ingest_seconds, "", target, rising=False)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of the fastest of three."""

    def once() -> float:
        start = time.process_time()
        work()
        return time.process_time() - start

    return min(once() for _ in range(3))


def main(runs: int) -> None:
    with tempfile.TemporaryDirectory(prefix="harness-bench-") as place:
        results = Path(place)
        with open_history(results / "history.sqlite") as history:
            nights = Nights(results, history, runs)
            show([nights.fill, nights.ask])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50)
