"""The rows of a run as compact JSON inside the page; what its scripts look up when something is opened.

Columns instead of records, numbers instead of repeated texts: some 15 bytes a row. assets/data.js reads it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from harness.report.marks import CODES
from harness.report.past import Past
from harness.results.matrix import Matrix, column_of
from harness.results.model import RunResult

__all__ = ["page_data", "script_json"]

#: Characters kept of the message of a row; the whole text is with the failure.
_MAX_MESSAGE: Final = 300


def page_data(
    matrix: Matrix, past: Past, courses: Sequence[str], anchors: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """`anchors`: (test, column) -> where the page tells of that failure.

    Rows are sorted by test, then by target; `rows.count` says how many there are of each test. A text's
    number is its place in `texts`; 0 is the empty text.
    """
    texts: dict[str, int] = {"": 0}
    sets: dict[tuple[str, ...], int] = {}
    places = {column.name: at for at, column in enumerate(matrix.targets)}
    by_test: defaultdict[str, list[RunResult]] = defaultdict(list)
    for result in matrix.results:
        if result.target:
            by_test[result.test].append(result)
    tests = sorted(by_test)
    rows: list[tuple[int, RunResult]] = []
    for test in tests:
        found = ((places[column_of(r.target, r.build)], r) for r in by_test[test])
        rows += sorted(found, key=lambda row: row[0])
    return {
        "targets": [
            {"name": column.name, "kind": column.kind, "target": column.target, "build": column.build}
            for column in matrix.targets
        ],
        "tests": tests,
        "sets": [sets.setdefault(by_test[test][0].behaviours, len(sets)) for test in tests],
        "behaviours": [list(names) for names in sets],
        "rows": {
            "count": [len(by_test[test]) for test in tests],
            "target": [at for at, _ in rows],
            "outcome": "".join(CODES[result.outcome] for _, result in rows),
            "ms": [round(result.duration * 1000) for _, result in rows],
            "text": [texts.setdefault(_line(result), len(texts)) for _, result in rows],
            "anchor": _sparse((anchors.get((r.test, column_of(r.target, r.build)), "") for _, r in rows)),
            "attempt": _sparse(result.attempt if result.attempt > 1 else 0 for _, result in rows),
        },
        "texts": list(texts),
        "runs": [[run.name, run.started] for run in past.runs],
        "courses": list(courses),
    }


def script_json(value: Any) -> str:
    """JSON for a script element: no text in it can end the element or begin a comment."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _line(result: RunResult) -> str:
    return result.message if len(result.message) <= _MAX_MESSAGE else f"{result.message[:_MAX_MESSAGE]} ..."


def _sparse(values: Iterable[object]) -> dict[int, object]:
    return {at: value for at, value in enumerate(values) if value}
