"""What the transaction manager tells about its objects, and objects opened by their GUID.

Sources: nf-wdm-zwqueryinformationtransaction, ns-wdm-_transaction_basic_information,
ns-wdm-_transaction_properties_information, nf-wdm-zwqueryinformationenlistment,
nf-wdm-zwqueryinformationresourcemanager, nf-wdm-zwqueryinformationtransactionmanager,
nf-wdm-tmgettransactionid, nf-wdm-tmistransactionactive, nf-wdm-zwopentransaction, nf-wdm-zwopenenlistment,
nf-wdm-zwopenresourcemanager, nf-wdm-zwopentransactionmanager. All from Vista on.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.cm.transaction import TransactionState
from harness.reference.exports import export
from harness.reference.filtering.engine import FilterEngine, engine_of
from harness.reference.filtering.request import Requester, ServiceFailure, service
from harness.reference.filtering.tm_calls import (
    ENLISTMENT,
    MANAGER,
    RESOURCE_MANAGER,
    TRANSACTION,
    attributes_of,
    give_handle,
    object_argument,
    zw,
)
from harness.reference.kernel.objects import KernelObject
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_VISTA: Final = (6, 0)
#: TRANSACTION_STATE and TRANSACTION_OUTCOME.
_NORMAL, _COMMITTED_NOTIFY = 1, 3
_OUTCOMES: Final = {
    TransactionState.ACTIVE: 1,
    TransactionState.COMMITTED: 2,
    TransactionState.ROLLED_BACK: 3,
}

_Tell = Callable[[FilterEngine, KernelObject], bytes]


def _guid(engine: FilterEngine, obj: KernelObject) -> bytes:
    return engine.transactions.identity(obj).bytes_le


def _transaction_basic(engine: FilterEngine, obj: KernelObject) -> bytes:
    outcome = obj.body.transaction.state
    state = _COMMITTED_NOTIFY if outcome is TransactionState.COMMITTED else _NORMAL
    return _guid(engine, obj) + struct.pack("<II", state, _OUTCOMES[outcome])


def _transaction_properties(_engine: FilterEngine, obj: KernelObject) -> bytes:
    """IsolationLevel, IsolationFlags, Timeout (none), Outcome, DescriptionLength, Description."""
    return struct.pack("<IIQII8x", 0, 0, 0, _OUTCOMES[obj.body.transaction.state], 0)


def _enlistment_basic(engine: FilterEngine, obj: KernelObject) -> bytes:
    parts = obj, obj.body.transaction, obj.body.resource_manager
    return b"".join(_guid(engine, each) for each in parts)


def _resource_manager_basic(engine: FilterEngine, obj: KernelObject) -> bytes:
    return _guid(engine, obj) + bytes(8)  # DescriptionLength, Description


def _manager_basic(engine: FilterEngine, obj: KernelObject) -> bytes:
    return _guid(engine, obj) + engine.machine.performance_counter().to_bytes(8, "little")


_CLASSES: Final[dict[str, dict[int, _Tell]]] = {
    TRANSACTION: {0: _transaction_basic, 1: _transaction_properties},
    ENLISTMENT: {0: _enlistment_basic},
    RESOURCE_MANAGER: {0: _resource_manager_basic},
    MANAGER: {0: _manager_basic},
}


@service
def _query(
    engine: FilterEngine, type_name: str, handle: int, kind: int, buffer: int, length: int, length_at: int
) -> int:
    who = Requester(engine)
    obj = engine.transactions.resolve_as(handle, type_name, who.mode)
    tell = _CLASSES[type_name].get(kind)
    if tell is None:
        raise ServiceFailure(NTSTATUS.INVALID_INFO_CLASS)
    told = tell(engine, obj)
    if length < len(told):
        raise ServiceFailure(NTSTATUS.INFO_LENGTH_MISMATCH)
    if length_at:
        who.memory.put_u32(length_at, len(told))
    who.memory.write(buffer, told)
    return NTSTATUS.SUCCESS


def _declare_query(name: str, type_name: str) -> None:
    def query(m: Machine, *values: int) -> int:
        return zw(m, name, lambda engine, *rest: _query(engine, type_name, *rest), *values)

    query.__module__ = __name__
    export(name, args="handle, ulong, ptr, ulong, ptr", since=_VISTA)(query)


_declare_query("ZwQueryInformationTransaction", TRANSACTION)
_declare_query("ZwQueryInformationEnlistment", ENLISTMENT)
_declare_query("ZwQueryInformationResourceManager", RESOURCE_MANAGER)
_declare_query("ZwQueryInformationTransactionManager", MANAGER)


@export("TmGetTransactionId", args="ptr, ptr", since=_VISTA)
def tm_get_transaction_id(m: Machine, transaction: int, guid_at: int) -> None:
    obj = object_argument(m, transaction, TRANSACTION)
    m.memory.write(guid_at, _guid(engine_of(m), obj))


@export("TmIsTransactionActive", args="ptr", since=_VISTA)
def tm_is_transaction_active(m: Machine, transaction: int) -> int:
    """TRUE until the commit or the rollback begins."""
    body = object_argument(m, transaction, TRANSACTION).body
    return int(body.transaction.is_active and not body.ended)


# -- by GUID -------------------------------------------------------------------------------------------------


@service
def _open(
    engine: FilterEngine,
    type_name: str,
    missing: int,
    handle_at: int,
    access: int,
    attributes_at: int,
    guid_at: int,
) -> int:
    who = Requester(engine)
    attributes = attributes_of(who, attributes_at)
    if not guid_at:
        raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)
    who.probe_read(guid_at, 16, 4)
    obj = engine.transactions.find(type_name, uuid.UUID(bytes_le=who.memory.read(guid_at, 16)))
    if obj is None:
        raise ServiceFailure(missing)
    engine.objects.reference(obj)
    return give_handle(who, obj, access, attributes, handle_at)


@export("ZwOpenTransaction", args="ptr, ulong, ptr, ptr, handle", since=_VISTA)
def zw_open_transaction(
    m: Machine, handle_at: int, access: int, attributes_at: int, guid_at: int, _manager: int
) -> int:
    values = (TRANSACTION, NTSTATUS.TRANSACTION_NOT_FOUND, handle_at, access, attributes_at, guid_at)
    return zw(m, "ZwOpenTransaction", lambda engine: _open(engine, *values))


@export("ZwOpenTransactionManager", args="ptr, ulong, ptr, ptr, ptr, ulong", since=_VISTA)
def zw_open_transaction_manager(
    m: Machine, handle_at: int, access: int, attributes_at: int, _log: int, guid_at: int, _options: int
) -> int:
    values = (MANAGER, NTSTATUS.TRANSACTIONMANAGER_NOT_FOUND, handle_at, access, attributes_at, guid_at)
    return zw(m, "ZwOpenTransactionManager", lambda engine: _open(engine, *values))


@export("ZwOpenResourceManager", args="ptr, ulong, handle, ptr, ptr", since=_VISTA)
def zw_open_resource_manager(
    m: Machine, handle_at: int, access: int, _manager: int, guid_at: int, attributes_at: int
) -> int:
    values = (RESOURCE_MANAGER, NTSTATUS.RESOURCEMANAGER_NOT_FOUND, handle_at, access, attributes_at, guid_at)
    return zw(m, "ZwOpenResourceManager", lambda engine: _open(engine, *values))


@export("ZwOpenEnlistment", args="ptr, ulong, handle, ptr, ptr", since=_VISTA)
def zw_open_enlistment(
    m: Machine, handle_at: int, access: int, _manager: int, guid_at: int, attributes_at: int
) -> int:
    values = (ENLISTMENT, NTSTATUS.ENLISTMENT_NOT_FOUND, handle_at, access, attributes_at, guid_at)
    return zw(m, "ZwOpenEnlistment", lambda engine: _open(engine, *values))
