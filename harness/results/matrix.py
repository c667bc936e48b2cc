"""The matrix behaviour × target: what every report is made of. Pure; reads rows, writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from harness.guest.base import GuestKind
from harness.results.model import Attestation, RunResult
from harness.results.outcome import Outcome, worst

__all__ = [
    "NO_BEHAVIOUR",
    "Cell",
    "Matrix",
    "TargetColumn",
    "column_of",
    "is_real",
    "kind_note",
    "last_attempts",
    "machine_facts",
    "topic_of",
]

#: The row of tests that name no behaviour.
NO_BEHAVIOUR = "(other)"

_KIND_NOTES = {
    GuestKind.REFERENCE: "reference guest: the compiled driver, emulated over a MODEL of the configuration "
    "manager; not Windows, and no proof of what Windows does",
    GuestKind.STAND_IN: "stand-in: Debian with Wine; not Windows, and it has no registry callbacks",
    GuestKind.WINDOWS: "Windows",
    GuestKind.REACTOS: "ReactOS: a free system compatible with NT 5.2; not Windows",
}


def kind_note(kind: str) -> str:
    """What a report says of a kind of guest; an unknown kind is said to be one."""
    try:
        return _KIND_NOTES[GuestKind(kind)]
    except ValueError:
        return f"unknown kind of guest: {kind}"


def is_real(kind: str) -> bool:
    """Whether this kind of guest is Windows itself, no model of it and nothing that stands in for it."""
    return kind == GuestKind.WINDOWS


def machine_facts(seen: Attestation) -> tuple[tuple[str, str], ...]:
    """What a machine attested, as names and texts; nothing for guests that are no machines."""
    facts = (
        # Wine says it is Windows; who reads it must not.
        ("product" if is_real(seen.kind) else "calls itself", seen.product),
        ("build", seen.build if seen.channel else ""),
        ("secure boot", _switch(seen.secure_boot)),
        ("HVCI", _switch(seen.hvci)),
        ("verifier flags", "" if seen.verifier_flags is None else f"{seen.verifier_flags:#x}"),
        ("verified drivers", ", ".join(seen.verifier_drivers)),
        ("clock skew", "" if seen.clock_skew is None else f"{seen.clock_skew:+.3f} s"),
        ("template", seen.template[:16]),
        ("channel", seen.channel),
        ("accelerator", seen.accelerator),
        ("crash drill", _DRILLED[seen.drilled]),
    )
    return tuple((name, value) for name, value in facts if value)


_DRILLED: Final = {None: "", True: "passed", False: "none: a crash may go unnoticed"}


def _switch(value: bool | None) -> str:
    return "" if value is None else "on" if value else "off"


def topic_of(behaviour: str) -> str:
    """``LAY`` of ``B-LAY-03``."""
    parts = behaviour.split("-")
    return parts[1] if len(parts) == 3 else behaviour


def column_of(target: str, build: str) -> str:
    """What the column of a target is called; each build of the user's driver has a column of its own."""
    return " + ".join(filter(None, (target, build)))


def last_attempts(results: Iterable[RunResult]) -> tuple[RunResult, ...]:
    """Of every test on a target with a build the last attempt, of equal ones the later row."""
    latest: dict[tuple[str, str, str], RunResult] = {}
    for result in results:
        key = result.test, result.target, result.build
        before = latest.get(key)
        if before is None or result.attempt >= before.attempt:
            latest[key] = result
    return tuple(latest.values())


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """One target of the run, with one build. Where no test got as far as a guest, `version` and `arch` are
    empty, and so is the `kind` of a machine.
    """

    name: str
    kind: str
    version: str
    arch: str
    target: str = ""
    build: str = ""

    @classmethod
    def of(cls, result: RunResult) -> Self:
        """The column of a result, by what the guest attested where it got that far."""
        seen, name = result.attestation, column_of(result.target, result.build)
        # A model's name says what it is, also where nothing got as far as booting it.
        named = GuestKind.REFERENCE if result.target.startswith(f"{GuestKind.REFERENCE}:") else ""
        kind, version, arch = (named, "", "") if seen is None else (seen.kind, seen.version, seen.arch)
        return cls(name, kind, version, arch, result.target, result.build)


@dataclass(frozen=True, slots=True)
class Cell:
    """All tests of one behaviour (or topic) on one target."""

    results: tuple[RunResult, ...]

    @property
    def outcome(self) -> Outcome | None:
        """The worst of its results; None where there are none."""
        return worst(result.outcome for result in self.results)

    @property
    def passed(self) -> int:
        """How many passed."""
        return sum(result.outcome is Outcome.PASS for result in self.results)

    @property
    def ran(self) -> int:
        """How many were not skipped."""
        return sum(result.outcome is not Outcome.SKIP for result in self.results)

    @property
    def recorded(self) -> bool:
        """Whether a test wrote down what it saw instead of asserting it."""
        return any(result.recorded for result in self.results)


class Matrix:
    """Rows grouped by behaviour and target; of a test that was tried again the last attempt counts."""

    def __init__(self, results: Iterable[RunResult]) -> None:
        self.results = last_attempts(results)
        targets: dict[str, TargetColumn] = {}
        cells: defaultdict[tuple[str, str], list[RunResult]] = defaultdict(list)
        for result in self.results:
            if not result.target:
                continue  # a test that uses no guest belongs to no column
            column = column_of(result.target, result.build)
            if column not in targets or not targets[column].version:
                targets[column] = TargetColumn.of(result)
            for behaviour in result.behaviours or (NO_BEHAVIOUR,):
                cells[behaviour, column].append(result)
        self.targets = tuple(sorted(targets.values(), key=_target_order))
        self.behaviours = tuple(sorted({behaviour for behaviour, _ in cells}, key=_behaviour_order))
        self._of_topics: defaultdict[str, list[str]] = defaultdict(list)
        for behaviour in self.behaviours:
            self._of_topics[topic_of(behaviour)].append(behaviour)
        self._cells: Mapping[tuple[str, str], Cell] = {
            place: Cell(tuple(found)) for place, found in cells.items()
        }

    def cell(self, behaviour: str, target: str) -> Cell:
        """The tests of a behaviour on a target; without results where there are none."""
        return self._cells.get((behaviour, target), Cell(()))

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics of the behaviours, in their order."""
        return tuple(self._of_topics)

    def topic_cell(self, topic: str, target: str) -> Cell:
        """Every test of a topic on a target, each once."""
        found = {
            result.test: result
            for behaviour in self._of_topics.get(topic, ())
            for result in self.cell(behaviour, target).results
        }
        return Cell(tuple(found.values()))

    @property
    def counts(self) -> Counter[Outcome]:
        """How many results there are of each outcome."""
        return Counter(result.outcome for result in self.results)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of guest that the run had, in the order of the targets."""
        return tuple(dict.fromkeys(target.kind for target in self.targets if target.kind))

    @property
    def failures(self) -> tuple[RunResult, ...]:
        """What went wrong, the gravest first."""
        return tuple(sorted((r for r in self.results if r.outcome.is_bad), key=lambda r: r.outcome.gravity))


def _target_order(target: TargetColumn) -> tuple[str, str, tuple[int, ...], str]:
    numbers = tuple(int(part) for part in target.version.split(".") if part.isdigit())
    return target.kind, target.arch, numbers, target.name


def _behaviour_order(behaviour: str) -> tuple[bool, str]:
    return behaviour == NO_BEHAVIOUR, behaviour
