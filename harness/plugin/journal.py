"""The journal: what a pytest process is about to do and has done, line by line, for whoever started it.

``--journal N`` names a file descriptor that was inherited, the writing end of a pipe. Every line is a JSON
object with a `kind` of `harness.plugin.journal.Entry`. Rows say what finished; the journal says what was
running when a process died, and what it had not begun.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

import pytest

from harness.plugin.recording import ROW_ATTRIBUTE
from harness.plugin.selection import row_key
from harness.results.model import MAX_NAME, clip

__all__ = ["MAX_LINE", "Entry", "Journal", "Kind"]

#: Longest line, in bytes. A test's name is somebody's parameter, so it is bounded.
MAX_LINE = 64 * 1024
_MAX_TEST = 4096
_MAX_WHY = 8192


class Kind(StrEnum):
    PLANNED = "planned"  # collected, and not left out: will be begun
    BROKEN = "broken"  # could not be collected; `why` says more
    READY = "ready"  # everything that will run has been planned
    BEGUN = "begun"
    OVER = "over"  # its row, if it makes one, is written


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `outcome` is that of the row of a test that is over, empty where a test makes none."""

    kind: Kind
    test: str = ""
    target: str = ""
    outcome: str = ""
    why: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Test and target, as rows have them."""
        return self.test, self.target

    def to_line(self) -> bytes:
        return json.dumps({**asdict(self), "kind": self.kind.value}).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """Raises `ValueError` for what isn't a line of a journal."""
        content = json.loads(line)
        if not isinstance(content, dict):
            raise ValueError("not a line of a journal")
        texts = {name: str(content.get(name, "")) for name in ("test", "target", "outcome", "why")}
        return cls(Kind(str(content.get("kind"))), **texts)


class Journal:
    """Writes the journal; a plugin of pytest, registered when ``--journal`` is given."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # What the tests start has no business with it, and would keep the pipe open.
        os.set_inheritable(descriptor, False)

    def _write(self, entry: Entry) -> None:
        try:
            os.write(self._descriptor, entry.to_line())
        except BrokenPipeError:
            pytest.exit("whoever started this run is gone", returncode=int(pytest.ExitCode.INTERRUPTED))

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            why = clip(report.longreprtext, _MAX_WHY)
            self._write(Entry(Kind.BROKEN, clip(report.nodeid, _MAX_TEST), why=why))

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            self._write(_entry(Kind.PLANNED, item))
        self._write(Entry(Kind.READY))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._write(_entry(Kind.BEGUN, item))
        item.stash[_OUTCOME] = ""
        result = yield
        self._write(_entry(Kind.OVER, item, item.stash[_OUTCOME]))
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # around what makes the row
    def pytest_runtest_makereport(
        self, item: pytest.Item
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        row = getattr(report, ROW_ATTRIBUTE, None)
        if row is not None:
            item.stash[_OUTCOME] = row["outcome"]
            item.stash[_WHY] = row["message"]
        return report


_OUTCOME = pytest.StashKey[str]()
_WHY = pytest.StashKey[str]()


def _entry(kind: Kind, item: pytest.Item, outcome: str = "") -> Entry:
    test, target = row_key(item)
    why = item.stash.get(_WHY, "") if outcome else ""
    return Entry(kind, clip(test, _MAX_TEST), clip(target, MAX_NAME), outcome, clip(why, 1024))
