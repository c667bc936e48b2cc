"""Results over time: a database of runs, rows and evidence, and what is asked of it."""

from harness.history.history import History, open_history
from harness.history.model import (
    CellHistory,
    Change,
    Difference,
    Ingested,
    RunSummary,
)

__all__ = [
    "CellHistory",
    "Change",
    "Difference",
    "History",
    "Ingested",
    "RunSummary",
    "open_history",
]
