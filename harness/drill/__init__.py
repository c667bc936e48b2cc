"""Crash drills: guests are brought down on purpose, to see that it is noticed, attributed and evidenced.

A run that reports no crash is worth something only where a crash would have been reported.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from harness.drill.model import DrillReport, DrillResult, Fault, Verdict

if TYPE_CHECKING:
    from harness.drill.admission import (
        Admission,
        admission_of,
        admission_of_recipe,
        admission_of_target,
        is_admitted,
    )
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

#: The command names faults in its help, which must not wait for machines to be imported.
_LATER: Final = {
    "Admission": "admission",
    "admission_of": "admission",
    "admission_of_recipe": "admission",
    "admission_of_target": "admission",
    "is_admitted": "admission",
    "DrillRecord": "records",
    "DrillStore": "records",
    "run_drills": "run",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"harness.drill.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
