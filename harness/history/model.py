"""What the history answers with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.errors import UsageError
from harness.results.model import RunInfo
from harness.results.outcome import Outcome

__all__ = [
    "CellHistory",
    "Change",
    "Difference",
    "Evidence",
    "EvidenceState",
    "Ingested",
    "Problem",
    "Pruned",
    "Retention",
    "RunSummary",
    "Verified",
    "Wrong",
]


@dataclass(frozen=True, slots=True)
class Ingested:
    """What one `History.ingest` did: counts of rows and of evidence files.

    `changed` rows were there with another content, which a later row of the same run replaced. `missing`
    names evidence, relative to the run's folder, that a row speaks of and the folder doesn't hold.
    """

    run: str
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    evidence: int = 0
    missing: tuple[str, ...] = ()
    #: Why the folder couldn't be taken in, of several; a single one raises its error.
    trouble: str = ""


class EvidenceState(StrEnum):
    """What became of a file that a row names as its evidence."""

    KEPT = "kept"
    MISSING = "missing"  # it wasn't in the run's folder
    PRUNED = "pruned"  # retention removed it


@dataclass(frozen=True, slots=True)
class Evidence:
    """A file that belongs to a result: evidence, reproduction bundle or comparison.

    `name` is relative to the run's folder, `size` in bytes. `path` is where the content is, None where it
    isn't (on this host).
    """

    test: str
    target: str
    build: str
    attempt: int
    name: str
    state: EvidenceState
    digest: str
    size: int
    path: Path | None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run, and what came of it. `counts` are of the last attempts; `plan` is empty without one."""

    info: RunInfo
    plan: str
    targets: tuple[str, ...]
    counts: Mapping[Outcome, int]
    #: Where it was ingested from.
    folder: Path

    @property
    def name(self) -> str:
        return self.info.name


@dataclass(frozen=True, slots=True)
class Change:
    """A test whose outcome differs. None: it didn't run on that side.

    `target` is empty where two targets are compared, and `build` where two builds are.
    """

    test: str
    target: str
    build: str
    behaviours: tuple[str, ...]
    before: Outcome | None
    after: Outcome | None
    #: The failure's line, of the side that is worse.
    message: str = ""

    @property
    def worse(self) -> bool:
        """Whether a failure came up. A test that ran on one side only is worse where it fails."""
        was_bad = self.before is not None and self.before.is_bad
        return self.after is not None and self.after.is_bad and not was_bad

    @property
    def better(self) -> bool:
        was_bad = self.before is not None and self.before.is_bad
        return was_bad and self.after is not None and not self.after.is_bad


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs between two runs (or two targets of one run), named `before` and `after`."""

    before: str
    after: str
    changes: tuple[Change, ...]
    #: Tests with the same outcome on both sides.
    same: int

    @property
    def worse(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.worse)

    @property
    def better(self) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.better)


@dataclass(frozen=True, slots=True)
class CellHistory:
    """Behaviour × target over several runs, the oldest first; the worst outcome of a cell's last attempts.

    Cells are by behaviour and the name of a column, as `harness.results.matrix.column_of` makes it. A cell
    has one place for every run of `runs`, None where nothing of it ran.
    """

    runs: tuple[RunInfo, ...]
    cells: Mapping[tuple[str, str], tuple[Outcome | None, ...]]

    def of(self, behaviour: str, column: str) -> tuple[Outcome | None, ...]:
        return self.cells.get((behaviour, column), (None,) * len(self.runs))


@dataclass(frozen=True, slots=True)
class Retention:
    """How long evidence is kept, in days from the start of its run, and how much of it. 0: no limit.

    Over `max_bytes` the evidence of passes goes first, then that of failures, the oldest first.
    """

    passes_days: float = 30
    failures_days: float = 0
    max_bytes: int = 0

    def __post_init__(self) -> None:
        for name in ("passes_days", "failures_days", "max_bytes"):
            if not 0 <= getattr(self, name) < 1e15:
                raise UsageError(f"retention: {name} is {getattr(self, name)}; give 0 (no limit) or more")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention removed, or would: files of passes and of failures, and the bytes that this freed in the
    store. `unreferenced` files belonged to no row: what a killed ingest had left.
    """

    passes: int
    failures: int
    unreferenced: int
    bytes: int


class Wrong(StrEnum):
    """What can be wrong with content that rows refer to."""

    LOST = "lost"  # it is not in the store
    DAMAGED = "damaged"  # it is another one by now
    UNREADABLE = "unreadable"  # the disk or its permissions don't give it


@dataclass(frozen=True, slots=True)
class Problem:
    """Content by its SHA-256, and the files of runs that it was: pairs of run and name, a few of them."""

    wrong: Wrong
    digest: str
    path: Path
    uses: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What `History.verify` found: files that were read and their bytes, those that no row refers to."""

    files: int
    bytes: int
    unreferenced: int
    problems: tuple[Problem, ...]
