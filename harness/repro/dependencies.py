"""What of a scenario can't be without what: handles, filters, services, and what the claim is about."""

from __future__ import annotations

from collections.abc import Iterable

from harness.repro.claim import BindingKind, Claim
from harness.repro.journal import CallKind
from harness.repro.scenario import (
    Action,
    AddFilter,
    Element,
    KernelCall,
    Other,
    ProbeChange,
    RemoveFilter,
    RunProgram,
    Scenario,
    SetRule,
    Slotted,
)

__all__ = ["Dependencies"]

_ON_SERVICE = frozenset({CallKind.START, CallKind.STOP, CallKind.REMOVE})


class Dependencies:
    """The graph of one scenario: `closed` leaves out what others need, `pinned` is never left out.

    What the claim is about is pinned, with `keep_filters` filters and rules too, and with `keep_driver` the
    installation and the start of the driver under test.
    """

    def __init__(self, scenario: Scenario, *, keep_filters: bool = False, keep_driver: bool = False) -> None:
        self._needs: dict[Element, set[Element]] = {element: set() for element in scenario.elements()}
        self._read(scenario)
        pinned = _claimed(scenario.claim) & self._needs.keys()
        if keep_filters:
            pinned |= {(each.call, -1) for each in scenario.actions if isinstance(each, AddFilter | SetRule)}
        if keep_driver:
            pinned |= {(each.call, -1) for each in scenario.actions if _loads(each, scenario.own_service)}
        self.pinned = self._with_needs(pinned)

    def _read(self, scenario: Scenario) -> None:
        installed: dict[str, Element] = {}
        probe: list[Element] = []
        for action in scenario.actions:
            match action:
                case RunProgram():
                    self._program(action, probe)
                case AddFilter() | KernelCall():
                    self._needs[action.call, -1].update(probe)
                case RemoveFilter() | SetRule() | ProbeChange():
                    self._needs[action.call, -1].update(probe)
                    self._add((action.call, -1), (action.filter, -1))
                case Other():
                    element = action.call, -1
                    service = action.record.service.lower()
                    if action.record.kind is CallKind.INSTALL:
                        installed[service] = element
                    elif action.record.kind in _ON_SERVICE and service in installed:
                        self._needs[element].add(installed[service])
                    if _is_probe(action):
                        probe.append(element)

    def _program(self, program: RunProgram, probe: Iterable[Element]) -> None:
        producers: dict[int, Element] = {}
        for each in program.operations:
            element = program.call, each.index
            if each.filter >= 0:
                self._needs[element].update(probe)
                self._add(element, (each.filter, -1))
            for slot in _reads(each):
                if slot in producers:
                    self._needs[element].add(producers[slot])
            if each.operation.out is not None:
                producers[each.operation.out] = element

    def _add(self, element: Element, needed: Element) -> None:
        if needed in self._needs:
            self._needs[element].add(needed)

    def _with_needs(self, elements: Iterable[Element]) -> frozenset[Element]:
        found: set[Element] = set()
        left = list(elements)
        while left:
            element = left.pop()
            if element not in found:
                found.add(element)
                left += self._needs.get(element, ())
        return frozenset(found)

    def closed(self, kept: Iterable[Element]) -> frozenset[Element]:
        """What of `kept` has everything it needs there too."""
        left = set(kept)
        while True:
            lacking = {element for element in left if not self._needs[element] <= left}
            if not lacking:
                return frozenset(left)
            left -= lacking


def _reads(each: Slotted) -> set[int]:
    operation = each.operation
    slots = list(operation.slots())
    if operation.out is not None:
        slots.remove(operation.out)
    return set(slots)


def _loads(action: Action, service: str) -> bool:
    return (
        isinstance(action, Other)
        and action.record.kind in (CallKind.INSTALL, CallKind.START)
        and action.record.service.lower() == service.lower()
    )


def _is_probe(action: Other) -> bool:
    from harness.probe import abi
    from harness.probe.client import SERVICE

    record = action.record
    if record.kind in (CallKind.INSTALL, CallKind.START):
        return record.service.lower() == SERVICE
    return record.kind is CallKind.OPEN and record.device.lower() == abi.DEVICE.lower()


def _claimed(claim: Claim | None) -> set[Element]:
    """The elements that a claim speaks of."""
    if claim is None:
        return set()
    found: set[Element] = {(each.call, each.operation) for each in claim.expectations}
    for leaf in claim.leaves():
        match leaf.kind:
            case BindingKind.STEP:
                found.add((leaf.call, leaf.operation))
            case BindingKind.FILTER | BindingKind.KERNEL_CALL:
                found.add((leaf.call, -1))
            case _:
                pass
    return found
