"""What a performance showed, operation by operation, in a form that two guests can be compared by."""

from __future__ import annotations

from typing import Final

from harness.errors import HarnessError
from harness.registry.status import status_name
from harness.repro.evaluate import shown
from harness.repro.replay import Replay
from harness.workload.opcodes import Opcode

__all__ = ["observe"]

#: Operations whose output is the same for the same registry; that of others holds times and handles.
_SAME_OUTPUT: Final = frozenset({Opcode.QUERY_VALUE, Opcode.ENUMERATE_VALUE, Opcode.QUERY_MULTIPLE})


def observe(replay: Replay) -> dict[str, str]:
    """``"status 9 3"``: the status of operation 3 of call 9; ``"output ..."``, and ``"events 9 3 7"`` of the
    filter of call 7."""
    found: dict[str, str] = {}
    for (call, operation), step in replay.steps.items():
        place = f"{call} {operation}"
        found[f"status {place}"] = status_name(step.status)
        if step.operation.opcode in _SAME_OUTPUT:
            found[f"output {place}"] = step.data.hex()
        if replay.probe is None:
            continue
        for filter_call, added in replay.filters.items():
            try:
                seen = replay.probe.trace.of(step).seen_by(added)
            except HarnessError:
                continue
            found[f"events {place} {filter_call}"] = shown(seen)
    return found
