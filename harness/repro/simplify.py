"""Making simpler what can't be left out: conditions of rules, options of operations, lengths of data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from harness.errors import HarnessError
from harness.probe.enums import Action as RuleAction
from harness.probe.enums import FilterFlag, Match
from harness.registry.notify import NotifyClass
from harness.registry.valuetypes import ValueType
from harness.repro.record_fields import number
from harness.repro.scenario import (
    Action,
    AddFilter,
    RunProgram,
    Scenario,
    SetRule,
    Slotted,
    Values,
)
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation

__all__ = ["simpler"]

#: Bytes of data that nobody wants shorter.
_SHORT: Final = 16
#: Fields of an operation that are left as they are: what it is about, and how much it may answer.
_KEPT: Final = frozenset(
    {
        *("opcode", "process", "thread", "out", "handle", "root", "predefined", "low_handle", "transaction"),
        *("event", "trust", "name", "access", "file", "old_file", "device", "code", "patches", "length"),
        *("data", "type", "value_name", "value_names", "info_class", "security_information", "new_name"),
        *("form", "index", "label"),
    }
)
#: Conditions that can go. One on the key stays: on Windows everybody else's registry passes the same filter.
_MATCH_FIELDS: Final = {
    Match.PROCESS: ("process_id",),
    Match.THREAD: ("thread_id",),
    Match.VALUE_NAME: ("value_name", "value_name_length"),
    Match.STATUS: ("match_status",),
    Match.PREVIOUS_MODE: ("previous_mode",),
}


def simpler(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios that are simpler in one thing each, the largest step first."""
    for position, action in enumerate(scenario.actions):
        for other in _simpler_action(action):
            actions = (*scenario.actions[:position], other, *scenario.actions[position + 1 :])
            yield replace(scenario, actions=actions)


def _simpler_action(action: Action) -> Iterator[Action]:
    match action:
        case RunProgram():
            for position, each in enumerate(action.operations):
                for operation in _simpler_operation(each.operation):
                    changed = Slotted(each.index, operation, each.filter)
                    before, after = action.operations[:position], action.operations[position + 1 :]
                    yield replace(action, operations=(*before, changed, *after))
        case SetRule():
            for values in _simpler_rule(action.values):
                yield replace(action, values=values)
        case AddFilter():
            flags = FilterFlag(number(action.values, "flags"))
            for flag in FilterFlag:
                if flag in flags and flag is not FilterFlag.LEGACY:
                    yield replace(action, values={**action.values, "flags": int(flags & ~flag)})
            if number(action.values, "context"):
                yield replace(action, values={**action.values, "context": 0})
        case _:
            return


def _simpler_operation(operation: Operation) -> Iterator[Operation]:
    given = operation.given()
    for name in given:
        if name not in _KEPT:
            yield from _with(operation, **{name: None})
    if operation.process or operation.thread:
        yield from _with(operation, process=None, thread=None)
    if operation.opcode in (Opcode.SET_VALUE, Opcode.WIN32_SET_VALUE):
        for data in _shorter(operation.type, operation.data or b""):
            yield from _with(operation, data=data)


def _shorter(kind: int, data: bytes) -> Iterator[bytes]:
    """Shorter data of the same kind; what is short already stays readable as it is."""
    if len(data) <= _SHORT:
        return
    end = b"\0\0" if kind in (ValueType.SZ, ValueType.EXPAND_SZ) else b""
    for size in (_SHORT - len(end), (len(data) // 2) & ~1):
        if size + len(end) < len(data):
            yield data[:size] + end


def _with(operation: Operation, **changes: Any) -> Iterator[Operation]:
    """The operation with these fields, None: without; nothing where that is no operation."""
    fields = {name: value for name, value in operation.__dict__.items() if name not in changes}
    fields |= {name: value for name, value in changes.items() if value is not None}
    try:
        yield Operation(**fields)
    except HarnessError:
        return


def _simpler_rule(values: Values) -> Iterator[dict[str, int | bytes]]:
    match = Match(number(values, "match"))
    for flag, fields in _MATCH_FIELDS.items():
        if flag in match:
            yield {**values, **_emptied(values, fields), "match": int(match & ~flag)}
    for fields in (("nth_first", "nth_count"), ("nth_first",), ("nth_count",)):
        if any(number(values, name) for name in fields):
            yield {**values, **_emptied(values, fields)}
    classes = number(values, "classes")
    bits = [int(each) for each in NotifyClass if classes >> int(each) & 1]
    if len(bits) > 1:
        for bit in bits:
            yield {**values, "classes": classes & ~(1 << bit)}
    if number(values, "action") == RuleAction.DELAY and number(values, "value") > 1:
        yield {**values, "value": 1}


def _emptied(values: Values, fields: tuple[str, ...]) -> Mapping[str, int | bytes]:
    return {name: b"" if isinstance(values[name], bytes) else 0 for name in fields}
