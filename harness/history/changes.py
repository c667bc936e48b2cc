"""What differs between two runs, or between two targets of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, select

from harness.errors import UsageError
from harness.history import schema
from harness.history.model import Change, Difference
from harness.history.queries import behaviours_of, run_names, which
from harness.results.matrix import column_of
from harness.results.outcome import Outcome

__all__ = ["difference_of_runs", "difference_of_targets"]


class _Side(NamedTuple):
    test: str
    target: str
    build: str
    outcome: Outcome
    behaviours_id: int
    message: str


def difference_of_runs(connection: Connection, before: Row[Any], after: Row[Any]) -> Difference:
    """Every test whose last attempt differs, by test, target and build."""
    sides = [
        {(side.test, side.target, side.build): side for side in _sides(connection, run.id)}
        for run in (before, after)
    ]
    return _difference(connection, before.name, after.name, *sides)


def difference_of_targets(connection: Connection, run: Row[Any], before: str, after: str) -> Difference:
    """Every test whose last attempt differs between two targets of a run, by test and build.

    A target with a build of a driver, named as in the matrix, is compared by test only.
    """
    found = _sides(connection, run.id)
    sides = [
        {(side.test, "", side.build): side for side in found if side.target == name}
        or {(side.test, "", ""): side for side in found if column_of(side.target, side.build) == name}
        for name in (before, after)
    ]
    for name, side in zip((before, after), sides, strict=True):
        if not side:
            there = sorted({column_of(each.target, each.build) for each in found if each.target})
            raise UsageError(
                f"{name!r} is no run of the history, and no target of run {run.name}; as a run: "
                f"{which(name, run_names(connection), 'runs')} As a target: {which(name, there, 'targets')}"
            )
    return _difference(connection, before, after, *sides)


def _sides(connection: Connection, run_id: int) -> list[_Side]:
    results, tests, targets = schema.results, schema.tests, schema.targets
    query = (
        select(
            tests.c.name,
            targets.c.name,
            results.c.build,
            results.c.outcome,
            results.c.behaviours_id,
            results.c.message,
        )
        .join_from(results, tests, results.c.test_id == tests.c.id)
        .join(targets, results.c.target_id == targets.c.id)
        .where(results.c.run_id == run_id, results.c.latest)
    )
    return [
        _Side(test, target, build, Outcome(outcome), behaviours, message)
        for test, target, build, outcome, behaviours, message in connection.execute(query)
    ]


def _difference(
    connection: Connection,
    before: str,
    after: str,
    old: Mapping[tuple[str, str, str], _Side],
    new: Mapping[tuple[str, str, str], _Side],
) -> Difference:
    behaviours = behaviours_of(connection)
    changes: list[Change] = []
    same = 0
    for key in old.keys() | new.keys():
        was, now = old.get(key), new.get(key)
        if was is not None and now is not None and was.outcome is now.outcome:
            same += 1
            continue
        # Of equals the newer one.
        worse = min((side for side in (now, was) if side is not None), key=lambda side: side.outcome.gravity)
        test, target, build = key
        changes.append(
            Change(
                test=test,
                target=target,
                build=build,
                behaviours=behaviours.get((now or worse).behaviours_id, ()),
                before=None if was is None else was.outcome,
                after=None if now is None else now.outcome,
                message=worse.message,
            )
        )
    return Difference(before, after, tuple(sorted(changes, key=_order)), same)


def _order(change: Change) -> tuple[int, str, str, str]:
    """What got worse first, what got better next."""
    return (0 if change.worse else 1 if change.better else 2), change.test, change.target, change.build
