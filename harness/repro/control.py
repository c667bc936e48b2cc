"""What should have happened, where no assertion says so: the same steps where they are right.

The control is another target, or the same one without the driver under test. The first operation that
differs becomes the claim: its status, what it read, or the events a filter saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from harness.repro.claim import Binding, BindingKind, Claim
from harness.repro.scenario import Scenario

__all__ = ["claim_from"]

#: Statuses are looked at first: what else differs often follows from them.
_ASPECTS: Final = ("status", "output", "events")


def claim_from(scenario: Scenario, seen: Mapping[str, str], control: Mapping[str, str]) -> Claim | None:
    """The claim that the control holds and the failing run doesn't; None where nothing differs.

    `seen` and `control` are observations (`harness.repro.observe`) of both.
    """
    differing = [key for key in seen if key in control and seen[key] != control[key]]
    if not differing:
        return None
    key = min(differing, key=lambda each: (_place(each), _ASPECTS.index(each.split()[0])))
    return _claim(key, control[key])


def _place(key: str) -> tuple[int, int]:
    _, call, operation, *_ = key.split()
    return int(call), int(operation)


def _claim(key: str, expected: str) -> Claim:
    aspect, call, operation, *more = key.split()
    bindings = {"step": Binding(BindingKind.STEP, int(call), int(operation))}
    match aspect:
        case "status":
            return Claim(f"assert step.status_name == {expected!r}", bindings)
        case "output":
            return Claim(f"assert step.data.hex() == {expected!r}", bindings)
        case _:
            bindings["watcher"] = Binding(BindingKind.FILTER, int(more[0]))
            bindings["probe"] = Binding(BindingKind.FIXTURE, code="probe")
            source = f"assert shown(probe.trace.of(step).seen_by(watcher)) == {expected!r}"
            return Claim(source, bindings, ("from harness.repro.evaluate import shown",))
