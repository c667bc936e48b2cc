"""A scenario: what a failed test did, as actions that can be left out one by one and performed again.

Requests to the probe's device become what they mean: filters, rules, kernel calls. A filter is known by the
call that added it, not by the number it had in the driver then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.repro.bundle import CallRecord
from harness.repro.claim import Claim
from harness.repro.failure import Failure
from harness.workload.program import Operation

__all__ = [
    "Action",
    "AddFilter",
    "Element",
    "KernelCall",
    "Other",
    "ProbeChange",
    "RemoveFilter",
    "RunProgram",
    "Scenario",
    "SetRule",
    "Slotted",
    "Values",
]

#: Fields of a record of the probe's ABI.
Values = Mapping[str, "int | bytes"]

#: What can be left out: a call (-1), or one operation of the program of that call.
Element = tuple[int, int]


@dataclass(frozen=True, slots=True)
class AddFilter:
    """A registration; `values` are REGPROBE_ADD_FILTER's. `refused`: it failed when it was recorded."""

    call: int
    values: Values
    refused: bool = False

    @property
    def altitude(self) -> str:
        """The altitude, empty for a legacy filter."""
        raw = bytes(self.values["altitude"])[: int(self.values["altitude_length"])]
        return raw.decode("utf-16-le", "replace")


@dataclass(frozen=True, slots=True)
class RemoveFilter:
    """An unregistration, by the filter's call; `filter` -1: by cookie or number, as `values` say."""

    call: int
    filter: int
    values: Values


@dataclass(frozen=True, slots=True)
class SetRule:
    """A rule; `values` are REGPROBE_RULE's, `filter` the call that added the filter."""

    call: int
    filter: int
    values: Values


@dataclass(frozen=True, slots=True)
class KernelCall:
    """A registry call that the probe makes; `values` are REGPROBE_KERNEL_CALL's."""

    call: int
    values: Values


@dataclass(frozen=True, slots=True)
class ProbeChange:
    """Rules cleared (`code` IOCTL_REGPROBE_CLEAR_RULES) or everything reset; `filter` -1: of all."""

    call: int
    code: str
    filter: int = -1


@dataclass(frozen=True, slots=True)
class Slotted:
    """An operation with its index in the recorded program.

    `filter`: of an operation that sets a rule or removes a filter, the call that added it; -1: neither.
    """

    index: int
    operation: Operation
    filter: int = -1


@dataclass(frozen=True, slots=True)
class RunProgram:
    call: int
    operations: tuple[Slotted, ...]
    handle_count: int


@dataclass(frozen=True, slots=True)
class Other:
    """Any other call, as it was; `data` are its bytes, `parameters` those of a driver's service."""

    call: int
    record: CallRecord
    data: bytes = b""
    parameters: Mapping[str, Any] = field(default_factory=dict)


Action = AddFilter | RemoveFilter | SetRule | KernelCall | ProbeChange | RunProgram | Other


@dataclass(frozen=True, slots=True)
class Scenario:
    """Actions in order, what must come of them, and the test root they name."""

    actions: tuple[Action, ...]
    test_root: str
    failure: Failure
    claim: Claim | None = None
    #: The service of the driver under test; empty without one.
    own_service: str = ""

    def elements(self) -> Iterator[Element]:
        """Everything that can be left out, in order; a program stands for itself through its operations."""
        for action in self.actions:
            if isinstance(action, RunProgram):
                for each in action.operations:
                    yield action.call, each.index
            else:
                yield action.call, -1

    def only(self, kept: frozenset[Element]) -> Scenario:
        """The scenario with these elements alone; programs without operations go."""
        actions: list[Action] = []
        for action in self.actions:
            if isinstance(action, RunProgram):
                left = tuple(each for each in action.operations if (action.call, each.index) in kept)
                if left:
                    actions.append(replace(action, operations=left))
            elif (action.call, -1) in kept:
                actions.append(action)
        return replace(self, actions=tuple(actions))

    def without_driver(self, service: str) -> Scenario:
        """The same without one driver's service: what its requester would see if it were not there."""
        return replace(
            self,
            actions=tuple(
                action
                for action in self.actions
                if not (isinstance(action, Other) and action.record.service.lower() == service.lower())
            ),
        )

    @property
    def operations(self) -> int:
        """Operations of all programs."""
        return sum(len(action.operations) for action in self.actions if isinstance(action, RunProgram))

    def count(self, kind: type[Action]) -> int:
        """Actions of one kind."""
        return sum(isinstance(action, kind) for action in self.actions)

    def key(self) -> str:
        """The same text for the same content: what results are remembered by."""
        return repr(self.actions)
