"""Crash drills: guests are brought down on purpose, to see that it is noticed, attributed and evidenced.

A run that reports no crash is worth something only where a crash would have been reported.
"""

from harness.drill.admission import (
    Admission,
    admission_of,
    admission_of_recipe,
    admission_of_target,
    is_admitted,
)
from harness.drill.model import DrillReport, DrillResult, Fault, Verdict
from harness.drill.records import DrillRecord, DrillStore
from harness.drill.run import run_drills

__all__ = [
    "Admission",
    "DrillRecord",
    "DrillReport",
    "DrillResult",
    "DrillStore",
    "Fault",
    "Verdict",
    "admission_of",
    "admission_of_recipe",
    "admission_of_target",
    "is_admitted",
    "run_drills",
]
