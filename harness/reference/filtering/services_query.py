"""System services that describe a key or a value in a structure of an information class: query, enumerate.

Sources: nf-wdm-zwquerykey, nf-wdm-zwenumeratekey, nf-wdm-zwqueryvaluekey, nf-wdm-zwenumeratevaluekey;
statuses of short buffers are the configuration manager's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.filtering.request import Requester, ServiceFailure, service
from harness.registry.access import KEY_ENUMERATE_SUB_KEYS, KEY_QUERY_VALUE
from harness.registry.infoclasses import KeyInformationClass, KeyValueInformationClass
from harness.registry.notify import Operation
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.cm.information import QueryResult
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.filtering.keyobject import KeyObject

__all__ = ["enumerate_key", "enumerate_value_key", "query_key", "query_value_key"]

#: Information about the handle or the name rather than the key needs no right (nf-wdm-zwquerykey).
_NO_RIGHT: Final = frozenset((KeyInformationClass.NAME, KeyInformationClass.HANDLE_TAGS))
_LAST_KEY_CLASS: Final = max(KeyInformationClass)
_LAST_VALUE_CLASS: Final = max(KeyValueInformationClass)


def _probe(
    who: Requester, info_class: int, last_class: int, buffer: int, length: int, result_length: int
) -> None:
    """Raises `ServiceFailure` for a class that does not exist and for memory that can't be written."""
    if info_class > last_class:
        raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)
    who.probe_write(buffer, length, 4)
    who.probe_write(result_length, 4, 4)


def _describe(
    who: Requester,
    operation: Operation,
    key: KeyObject,
    head: Callable[[Scratch], tuple[int, ...]],
    ask: Callable[[], QueryResult],
    buffer: int,
    result_length: int,
) -> int:
    """Perform the operation, whose outcome `ask` is, with its notifications; returns its status."""

    @who.fault_is_status
    def perform() -> int:
        result = ask()
        if result.data:
            who.memory.write(buffer, result.data)
        if result_length and (result.status == NTSTATUS.SUCCESS or result.result_length):
            who.memory.put_u32(result_length, result.result_length)
        return result.status

    return who.engine.run(operation, key, head, perform)


@service
def query_key(
    engine: FilterEngine, handle: int, info_class: int, buffer: int, length: int, result_length: int
) -> int:
    """NtQueryKey."""
    who = Requester(engine)
    with who.holding(handle, 0 if info_class in _NO_RIGHT else KEY_QUERY_VALUE) as key:
        _probe(who, info_class, _LAST_KEY_CLASS, buffer, length, result_length)

        def head(_: Scratch) -> tuple[int, ...]:
            return key.address, info_class, buffer, length, result_length

        def ask() -> QueryResult:
            return engine.cm.query_key(key.key, info_class, length, transaction=key.transaction)

        return _describe(who, Operation.QUERY_KEY, key, head, ask, buffer, result_length)


@service
def enumerate_key(
    engine: FilterEngine,
    handle: int,
    index: int,
    info_class: int,
    buffer: int,
    length: int,
    result_length: int,
) -> int:
    """NtEnumerateKey."""
    who = Requester(engine)
    with who.holding(handle, KEY_ENUMERATE_SUB_KEYS) as key:
        _probe(who, info_class, _LAST_KEY_CLASS, buffer, length, result_length)

        def head(_: Scratch) -> tuple[int, ...]:
            return key.address, index, info_class, buffer, length, result_length

        def ask() -> QueryResult:
            return engine.cm.enumerate_key(key.key, index, info_class, length, transaction=key.transaction)

        return _describe(who, Operation.ENUMERATE_KEY, key, head, ask, buffer, result_length)


@service
def query_value_key(
    engine: FilterEngine,
    handle: int,
    name_at: int,
    info_class: int,
    buffer: int,
    length: int,
    result_length: int,
) -> int:
    """NtQueryValueKey."""
    who = Requester(engine)
    with who.holding(handle, KEY_QUERY_VALUE) as key:
        _probe(who, info_class, _LAST_VALUE_CLASS, buffer, length, result_length)
        name = who.string(name_at)

        def head(scratch: Scratch) -> tuple[int, ...]:
            shown = who.show_string(scratch, name, captured=False)
            return key.address, shown, info_class, buffer, length, result_length

        def ask() -> QueryResult:
            return engine.cm.query_value(key.key, name.text, info_class, length, transaction=key.transaction)

        return _describe(who, Operation.QUERY_VALUE_KEY, key, head, ask, buffer, result_length)


@service
def enumerate_value_key(
    engine: FilterEngine,
    handle: int,
    index: int,
    info_class: int,
    buffer: int,
    length: int,
    result_length: int,
) -> int:
    """NtEnumerateValueKey."""
    who = Requester(engine)
    with who.holding(handle, KEY_QUERY_VALUE) as key:
        _probe(who, info_class, _LAST_VALUE_CLASS, buffer, length, result_length)

        def head(_: Scratch) -> tuple[int, ...]:
            return key.address, index, info_class, buffer, length, result_length

        def ask() -> QueryResult:
            return engine.cm.enumerate_value(key.key, index, info_class, length, transaction=key.transaction)

        return _describe(who, Operation.ENUMERATE_VALUE_KEY, key, head, ask, buffer, result_length)
