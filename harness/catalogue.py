"""The catalogue of documented behaviour: what the conformance suites prove, as data.

`suites/catalogue/behaviours.toml` holds one numbered statement per entry, each with its source and with what
a run may do about it (`Mode`). Tests name the statements they prove with ``@behaviour("B-LAY-03")``;
`coverage` reads those names from the suites without running them, and ``python -m harness.catalogue``
prints the table.
"""

from __future__ import annotations

import ast
import difflib
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

from harness.errors import InfrastructureError, UsageError

__all__ = ["Behaviour", "Catalogue", "Coverage", "Group", "Mode", "coverage", "render"]

_HERE: Final = Path(__file__).resolve().parent
#: A checkout has the file beside the suites; a wheel carries it inside the package.
_PLACES: Final = (_HERE.parent / "suites" / "catalogue" / "behaviours.toml", _HERE / "behaviours.toml")
_ID: Final = re.compile(r"B-([A-Z]{3})-\d{2}")


class Mode(StrEnum):
    """What a run does about a statement (the first one where its `mode` text names several)."""

    ASSERT = "assert"  # a difference fails the test
    RECORD_THEN_ASSERT = "record then assert"  # judged against the target's own recorded baseline
    RECORD = "record"  # measured and reported, never judged
    POLICY = "policy"  # a rule for the harness itself
    AVOID = "avoid"  # never provoked in normal runs
    NOISE = "noise"  # explains notifications that others cause
    OPTIONAL = "optional"  # needs something a guest rarely has
    NOT_APPLICABLE = "n/a"  # can't be observed by running


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One statement. Every field but `id` is text of the catalogue, worded as its header explains."""

    id: str
    statement: str
    source: str
    how: str
    versions: str
    confidence: str
    basis: str
    mode: str
    note: str = ""

    @property
    def group(self) -> str:
        """The code of its group: ``LAY`` of ``B-LAY-03``."""
        return self.id[2:5]

    @property
    def primary_mode(self) -> Mode:
        """What its tests do first. Raises `InfrastructureError` for a mode that is none."""
        for mode in Mode:  # "record then assert" stands before "record"
            if self.mode.startswith(mode.value):
                return mode
        raise InfrastructureError(f"{self.id}: unknown mode {self.mode!r} in the catalogue")

    @property
    def asserts(self) -> bool:
        """Whether a test may fail a run over this statement, or a part of it."""
        return "assert" in self.mode


@dataclass(frozen=True, slots=True)
class Group:
    """A group of statements, by the code in their ids."""

    code: str
    title: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All statements in the order of the file."""

    groups: tuple[Group, ...]
    behaviours: Mapping[str, Behaviour]

    @classmethod
    @lru_cache(maxsize=1)
    def load(cls) -> Self:
        """The project's catalogue, read once per process."""
        for place in _PLACES:
            if place.is_file():
                return cls.read(place)
        raise InfrastructureError(f"the catalogue is missing: neither {_PLACES[0]} nor {_PLACES[1]} exists")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a catalogue file. Raises `InfrastructureError` for one that breaks the format."""
        try:
            with path.open("rb") as file:
                raw = tomllib.load(file)
            groups = tuple(Group(**entry) for entry in raw["group"])
            behaviours: dict[str, Behaviour] = {}
            for entry in raw["behaviour"]:
                behaviour = Behaviour(**entry)
                if behaviour.id in behaviours or not _ID.fullmatch(behaviour.id):
                    raise InfrastructureError(f"{path}: id {behaviour.id!r} is malformed or there twice")
                behaviours[behaviour.id] = behaviour
        except (tomllib.TOMLDecodeError, TypeError, KeyError) as error:
            raise InfrastructureError(f"{path}: not a behaviour catalogue: {error}") from error
        return cls(groups, behaviours)

    def get(self, behaviour_id: str) -> Behaviour:
        """The statement of that id; `UsageError` naming the nearest ids when there is none."""
        try:
            return self.behaviours[behaviour_id]
        except KeyError:
            near = ", ".join(difflib.get_close_matches(behaviour_id, self.behaviours, n=3)) or "none"
            raise UsageError(f"no behaviour {behaviour_id!r} in the catalogue (nearest: {near})") from None

    def group(self, code: str) -> tuple[Behaviour, ...]:
        return tuple(b for b in self if b.group == code)

    def __contains__(self, behaviour_id: object) -> bool:
        return behaviour_id in self.behaviours

    def __iter__(self) -> Iterator[Behaviour]:
        return iter(self.behaviours.values())

    def __len__(self) -> int:
        return len(self.behaviours)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which tests name which statement. Test names read ``layering/test_order.py::test_x``, sorted."""

    catalogue: Catalogue
    tests: Mapping[str, tuple[str, ...]]

    @property
    def covered(self) -> tuple[Behaviour, ...]:
        return tuple(b for b in self.catalogue if b.id in self.tests)

    @property
    def missing(self) -> tuple[Behaviour, ...]:
        """Statements a test could fail a run over and that no test names yet."""
        return tuple(b for b in self.catalogue if b.asserts and b.id not in self.tests)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Ids that tests name and the catalogue lacks: always a mistake."""
        return tuple(sorted(i for i in self.tests if i not in self.catalogue))


def coverage(suites: Path) -> Coverage:
    """Read every ``behaviour("B-...")`` mark from the test files below `suites`, without importing them."""
    found: dict[str, list[str]] = {}
    for path in sorted(suites.rglob("test_*.py")):
        name = path.relative_to(suites).as_posix()
        for node in ast.parse(path.read_text(encoding="utf-8"), filename=str(path)).body:
            label = f"{name}::{node.name}" if isinstance(node, ast.FunctionDef | ast.ClassDef) else name
            for behaviour_id in _marks(node):
                tests = found.setdefault(behaviour_id, [])
                if label not in tests:
                    tests.append(label)
    return Coverage(Catalogue.load(), {k: tuple(v) for k, v in sorted(found.items())})


def _marks(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
            if name == "behaviour":
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value


def render(found: Coverage) -> str:
    """The coverage table as Markdown: counts by group, then every statement with the tests that name it."""
    lines = [
        "# What the suites cover",
        "",
        "Generated by `python -m harness.catalogue`; do not edit. A statement whose mode is `record` is",
        "measured, not judged; `policy` and `avoid` bind the harness itself.",
        "",
        "| group | title | statements | named by tests | may fail a run, not covered yet |",
        "| --- | --- | --- | --- | --- |",
    ]
    catalogue, covered, missing = found.catalogue, found.covered, found.missing
    for group in catalogue.groups:
        counts = [sum(b.group == group.code for b in some) for some in (catalogue, covered, missing)]
        lines.append(f"| {group.code} | {group.title} | {' | '.join(map(str, counts))} |")
    lines += [f"| all | | {len(catalogue)} | {len(covered)} | {len(missing)} |", ""]
    for group in catalogue.groups:
        lines += [f"## {group.title}", "", "| id | mode | tests |", "| --- | --- | --- |"]
        for behaviour in catalogue.group(group.code):
            tests = "<br>".join(f"`{test}`" for test in found.tests.get(behaviour.id, ()))
            lines.append(f"| {behaviour.id} | {behaviour.mode} | {tests or _absent(behaviour)} |")
        lines.append("")
    return "\n".join(lines)


def _absent(behaviour: Behaviour) -> str:
    return "**not covered yet**" if behaviour.asserts else "–"


if __name__ == "__main__":
    sys.stdout.write(render(coverage(Path(sys.argv[1] if len(sys.argv) > 1 else "suites"))))
