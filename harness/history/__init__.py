"""Results over time: a database of runs, rows and evidence, and what is asked of it.

SQLAlchemy and alembic, the extra `history`, are imported with the first name that needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from harness.history.model import (
    CellHistory,
    Change,
    Difference,
    Evidence,
    EvidenceState,
    Ingested,
    Problem,
    Pruned,
    Retention,
    RunSummary,
    Verified,
    Wrong,
)
from harness.history.optional import history_at

if TYPE_CHECKING:
    from harness.history.history import History, open_history

__all__ = [
    "CellHistory",
    "Change",
    "Difference",
    "Evidence",
    "EvidenceState",
    "History",
    "Ingested",
    "Problem",
    "Pruned",
    "Retention",
    "RunSummary",
    "Verified",
    "Wrong",
    "history_at",
    "open_history",
]

_LATER: Final = ("History", "open_history")


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module("harness.history.history"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
