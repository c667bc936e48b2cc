"""Failures as people read them: one a test, whatever the number of targets it failed on."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.probe.comparison import Comparison
from harness.report.links import inside
from harness.results.matrix import Matrix, column_of, is_real
from harness.results.model import RunResult
from harness.results.outcome import Outcome

__all__ = ["Failure", "Variant", "cut", "failures_of", "place_of", "read_comparison"]

#: Characters of a failure's text that a page shows, from its beginning and from its end.
_HEAD: Final = 6_000
_TAIL: Final = 6_000
#: Numbers and names that differ between two runs of the same thing: addresses, ids of test keys, digests.
_VARIES: Final = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]*\d[0-9a-fA-F]*(?:-[0-9a-fA-F]+)*\b")
_MAX_COMPARISON: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Variant:
    """The same failure of a test on one or several targets; texts are those of the first."""

    results: tuple[RunResult, ...]
    comparison: Comparison | None

    @property
    def first(self) -> RunResult:
        return self.results[0]


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed with one outcome. `anchor` is its name on a page."""

    anchor: str
    test: str
    outcome: Outcome
    variants: tuple[Variant, ...]
    #: Whether no guest that it happened on was Windows: models and stand-ins alone.
    unreal: bool = False

    @property
    def results(self) -> tuple[RunResult, ...]:
        return tuple(result for variant in self.variants for result in variant.results)

    @property
    def behaviours(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for result in self.results for name in result.behaviours))

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(column_of(result.target, result.build) for result in self.results)

    @property
    def message(self) -> str:
        return self.variants[0].first.message


def failures_of(matrix: Matrix, folder: Path) -> tuple[Failure, ...]:
    """The failures of a run, the gravest first; `folder` holds the comparisons of their events."""
    order = {column.name: at for at, column in enumerate(matrix.targets)}
    kinds = {column.name: column.kind for column in matrix.targets}
    by_test: defaultdict[tuple[Outcome, str], list[RunResult]] = defaultdict(list)
    for result in matrix.failures:
        by_test[result.outcome, result.test].append(result)
    return tuple(
        Failure(
            f"f{number}",
            test,
            outcome,
            _variants(sorted(found, key=lambda r: order.get(column_of(r.target, r.build), -1)), folder),
            all(_is_unreal(kinds.get(column_of(r.target, r.build), "")) for r in found),
        )
        for number, ((outcome, test), found) in enumerate(by_test.items(), 1)
    )


def _is_unreal(kind: str) -> bool:
    """Whether this is known to be no Windows."""
    return bool(kind) and not is_real(kind)


def _variants(results: Iterable[RunResult], folder: Path) -> tuple[Variant, ...]:
    """Those whose message and events differ in more than numbers are told apart."""
    found: dict[tuple[object, ...], list[RunResult]] = {}
    comparisons: dict[tuple[object, ...], Comparison | None] = {}
    for result in results:
        comparison = read_comparison(folder, result)
        lines = () if comparison is None else comparison.lines
        key = (
            _VARIES.sub("#", result.message),
            *((line.verdict, line.expected, line.seen) for line in lines),
        )
        found.setdefault(key, []).append(result)
        comparisons.setdefault(key, comparison)
    return tuple(Variant(tuple(same), comparisons[key]) for key, same in found.items())


def read_comparison(folder: Path, result: RunResult) -> Comparison | None:
    """The expected and the seen events of a failure; None where there are none, or not any more."""
    if not inside(result.comparison):
        return None
    try:
        with (folder / result.comparison).open(encoding="utf-8") as file:
            return Comparison.from_text(file.read(_MAX_COMPARISON))
    except (OSError, ValueError, UsageError):
        return None


def cut(text: str) -> str:
    """`text`, without its middle where it is very long: beginning and end say most."""
    left_out = len(text) - _HEAD - _TAIL
    if left_out <= 0:
        return text
    return f"{text[:_HEAD]}\n\n... {left_out} characters, see rows.jsonl ...\n\n{text[-_TAIL:]}"


def place_of(result: RunResult) -> tuple[str, int]:
    """File and line where a test failed, by pytest's text; line 0 where it doesn't say.

    Of the places in the test's own file the last one: those before are what called it.
    """
    file = result.test.partition("::")[0]
    name = file.rpartition("/")[2]
    lines = re.findall(rf"^(?:.*/)?{re.escape(name)}:(\d{{1,7}}): ", result.detail, re.MULTILINE)
    return file, int(lines[-1]) if lines else 0
