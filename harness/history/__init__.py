"""Results over time: a database of runs, rows and evidence, and what is asked of it."""

from harness.history.history import History, open_history
from harness.history.model import (
    CellHistory,
    Change,
    Difference,
    Evidence,
    EvidenceState,
    Ingested,
    RunSummary,
)
from harness.history.retention import Pruned, Retention

__all__ = [
    "CellHistory",
    "Change",
    "Difference",
    "Evidence",
    "EvidenceState",
    "History",
    "Ingested",
    "Pruned",
    "Retention",
    "RunSummary",
    "open_history",
]
