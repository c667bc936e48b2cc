"""A pytest plugin that counts what was collected, by test file and target.

`harness.matrix.plan.collect` loads it into a pytest of its own and reads what it writes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from harness.plugin.options import SETTINGS
from harness.plugin.selection import exclusion, limitation, name_without_target, target_of

__all__ = ["OPTION"]

OPTION: Final = "--collected-file"
_LEFT_OUT: Final = "not for this target"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, metavar="FILE", help="where the counts of what was collected are written")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write a list of rows: ``file``, ``target`` ("" for tests without a guest), ``tests`` that will run,
    ``driver``: how many of them need a driver of the user's, ``skipped``: counts by reason.
    """
    tests: defaultdict[str, defaultdict[str, dict[str, pytest.Item]]] = defaultdict(lambda: defaultdict(dict))
    for item in session.items:
        target = target_of(item)
        file = item.nodeid.partition("::")[0]
        tests[file][name_without_target(item)]["" if target is None else target.name] = item
    names = ["", *(target.name for target in session.config.stash[SETTINGS].targets)]
    rows = [row for file, items in tests.items() for name in names if (row := _row(file, name, items))]
    Path(session.config.getoption(OPTION)).write_text(json.dumps(rows), encoding="utf-8")


def _row(file: str, target: str, tests: Mapping[str, Mapping[str, pytest.Item]]) -> dict[str, Any] | None:
    """What the tests of one file come to on one target; None where there are none for it."""
    run = driver = 0
    skipped: defaultdict[str, int] = defaultdict(int)
    for items in tests.values():
        if ("" in items) is not (target == ""):
            continue
        item = items.get(target)
        if reason := _LEFT_OUT if item is None else _skipped(item):
            skipped[reason] += 1
        elif item is not None:
            run += 1
            driver += "own_driver" in getattr(item, "fixturenames", ())
    if not run and not skipped:
        return None
    return {"file": file, "target": target, "tests": run, "driver": driver, "skipped": skipped}


def _skipped(item: pytest.Item) -> str:
    """Why the test will be skipped, as far as that can be told before; else empty."""
    for marker in item.iter_markers("skip"):
        return str(marker.kwargs.get("reason") or (marker.args or ("marked to be skipped",))[0])
    target = target_of(item)
    return "" if target is None else exclusion(item, target) or limitation(item, target)
