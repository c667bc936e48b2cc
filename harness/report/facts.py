"""What else a page tells of a run: the guests, what was recorded, known issues, attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from harness.results.matrix import Matrix, TargetColumn, column_of, is_real, machine_facts
from harness.results.model import RunResult
from harness.results.outcome import Outcome

__all__ = [
    "Guest",
    "KnownIssue",
    "Observation",
    "guests_of",
    "known_issues_of",
    "observations_of",
    "superseded",
]


@dataclass(frozen=True, slots=True)
class Guest:
    """What one column was. `drivers` are pairs of service and SHA-256."""

    column: TargetColumn
    real: bool
    test_signing: str
    facts: tuple[tuple[str, str], ...]
    drivers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """What was recorded, not judged, under one name: the values seen and where."""

    behaviours: tuple[str, ...]
    test: str
    name: str
    values: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class KnownIssue:
    """Failures that a known issue explains. `link` may be any text."""

    link: str
    results: tuple[RunResult, ...]


def guests_of(matrix: Matrix) -> tuple[Guest, ...]:
    """One a column: what its guest was and which driver images were loaded there."""
    found: dict[str, Guest] = {}
    drivers: defaultdict[str, dict[tuple[str, str], None]] = defaultdict(dict)
    columns = {(column.target, column.build): column for column in matrix.targets}
    for result in matrix.results:
        seen, column = result.attestation, columns.get((result.target, result.build))
        if seen is None or column is None:
            continue
        drivers[column.name].update(dict.fromkeys(seen.drivers.items()))
        signing = "not known" if seen.test_signing is None else "on" if seen.test_signing else "off"
        found.setdefault(column.name, Guest(column, is_real(seen.kind), signing, machine_facts(seen), ()))
    return tuple(
        Guest(guest.column, guest.real, guest.test_signing, guest.facts, tuple(drivers[name]))
        for column in matrix.targets
        if (guest := found.get(name := column.name)) is not None
    )


def observations_of(matrix: Matrix) -> tuple[Observation, ...]:
    """What tests recorded, the same value once for all targets that gave it."""
    found: defaultdict[tuple[str, str], defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    behaviours: dict[str, tuple[str, ...]] = {}
    for result in matrix.results:
        behaviours.setdefault(result.test, result.behaviours)
        for name, value in result.recorded.items():
            found[result.test, name][value].append(column_of(result.target, result.build))
    return tuple(
        Observation(
            behaviours[test], test, name, tuple((value, tuple(seen)) for value, seen in values.items())
        )
        for (test, name), values in sorted(found.items(), key=lambda item: (behaviours[item[0][0]], item[0]))
    )


def known_issues_of(matrix: Matrix) -> tuple[KnownIssue, ...]:
    found: defaultdict[str, list[RunResult]] = defaultdict(list)
    for result in matrix.results:
        if result.outcome is Outcome.KNOWN:
            found[result.known].append(result)
    return tuple(KnownIssue(link, tuple(results)) for link, results in sorted(found.items()))


def superseded(results: Iterable[RunResult], matrix: Matrix) -> tuple[RunResult, ...]:
    """Attempts that a later one replaced."""
    last = {(r.test, r.target, r.build): r.attempt for r in matrix.results}
    return tuple(r for r in results if r.attempt < last[r.test, r.target, r.build])
