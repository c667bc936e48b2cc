"""Transactions, their managers and resource managers, made and ended: Zw routines and type variables.

Sources: nf-wdm-zwcreatetransaction, nf-wdm-zwcommittransaction, nf-wdm-zwrollbacktransaction,
nf-wdm-zwcreatetransactionmanager, nf-wdm-zwcreateresourcemanager, nf-wdm-zwrecoverresourcemanager,
nf-wdm-tmenablecallbacks. All from Vista on; what enlistments do is in `exports_enlistments`.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

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

__all__ = [
    "commit_registry_transaction",
    "commit_transaction",
    "create_registry_transaction",
    "create_transaction",
    "rollback_registry_transaction",
    "rollback_transaction",
]

_VISTA: Final = (6, 0)


@service
def create_transaction(engine: FilterEngine, handle_at: int, access: int, attributes_at: int) -> int:
    """NtCreateTransaction; transaction manager, timeout and description make no difference here."""
    who = Requester(engine)
    attributes = attributes_of(who, attributes_at)
    return give_handle(who, engine.transactions.create(), access, attributes, handle_at)


def _managed(engine: FilterEngine, handle: int) -> KernelObject:
    """The KTM transaction of a handle. Raises `ServiceFailure` for a lightweight one."""
    obj = engine.transactions.resolve(handle, Requester(engine).mode)
    if obj.body.transaction.lightweight:
        raise ServiceFailure(NTSTATUS.OBJECT_TYPE_MISMATCH)
    return obj


@service
def commit_transaction(engine: FilterEngine, handle: int, wait: int = 1) -> int:
    """NtCommitTransaction."""
    transactions = engine.transactions
    obj = _managed(engine, handle)
    engine.objects.reference(obj)
    try:
        return transactions.commit(obj, wait=bool(wait & 0xFF))
    finally:
        engine.objects.dereference(obj)


@service
def rollback_transaction(engine: FilterEngine, handle: int) -> int:
    """NtRollbackTransaction, always waiting."""
    transactions = engine.transactions
    obj = _managed(engine, handle)
    engine.objects.reference(obj)
    try:
        return transactions.rollback(obj, wait=True)
    finally:
        engine.objects.dereference(obj)


@service
def create_registry_transaction(engine: FilterEngine, handle_at: int, access: int, attributes_at: int) -> int:
    """NtCreateRegistryTransaction: a transaction that no transaction manager knows (B-TXN-13)."""
    who = Requester(engine)
    attributes = attributes_of(who, attributes_at)
    return give_handle(who, engine.transactions.create(lightweight=True), access, attributes, handle_at)


def _lightweight(engine: FilterEngine, handle: int) -> KernelObject:
    """The lightweight transaction of a handle. Raises `ServiceFailure` for one of a transaction manager."""
    obj = engine.transactions.resolve(handle, Requester(engine).mode)
    if not obj.body.transaction.lightweight:
        raise ServiceFailure(NTSTATUS.OBJECT_TYPE_MISMATCH)
    return obj


@service
def commit_registry_transaction(engine: FilterEngine, handle: int) -> int:
    """NtCommitRegistryTransaction."""
    return engine.transactions.commit(_lightweight(engine, handle))


@service
def rollback_registry_transaction(engine: FilterEngine, handle: int) -> int:
    """NtRollbackRegistryTransaction."""
    return engine.transactions.rollback(_lightweight(engine, handle))


@service
def _create_manager(engine: FilterEngine, handle_at: int, access: int, attributes_at: int) -> int:
    who = Requester(engine)
    attributes = attributes_of(who, attributes_at)
    return give_handle(who, engine.transactions.create_manager(), access, attributes, handle_at)


@service
def _create_resource_manager(
    engine: FilterEngine, handle_at: int, access: int, manager_handle: int, guid_at: int, attributes_at: int
) -> int:
    who = Requester(engine)
    manager = engine.transactions.resolve_as(manager_handle, MANAGER, who.mode)
    attributes = attributes_of(who, attributes_at)
    created = engine.transactions.create_resource_manager(manager)
    if guid_at:
        created.body.identity = uuid.UUID(bytes_le=engine.memory.read(guid_at, 16))
    return give_handle(who, created, access, attributes, handle_at)


@service
def _nothing(engine: FilterEngine, handle: int) -> int:
    """Recovery of a volatile manager has nothing to recover."""
    found = engine.objects.resolve(handle, None, 0, Requester(engine).mode)
    return NTSTATUS.SUCCESS if isinstance(found, KernelObject) else found


@export(
    "ZwCreateTransaction",
    args="ptr, ulong, ptr, ptr, handle, ulong, ulong, ulong, ptr, ptr",
    since=_VISTA,
)
def zw_create_transaction(m: Machine, handle_at: int, access: int, attributes_at: int, *_: int) -> int:
    return zw(m, "ZwCreateTransaction", create_transaction, handle_at, access, attributes_at)


@export("ZwCommitTransaction", args="handle, uchar", since=_VISTA)
def zw_commit_transaction(m: Machine, handle: int, wait: int) -> int:
    return zw(m, "ZwCommitTransaction", commit_transaction, handle, wait)


@export("ZwRollbackTransaction", args="handle, uchar", since=_VISTA)
def zw_rollback_transaction(m: Machine, handle: int, _wait: int) -> int:
    return zw(m, "ZwRollbackTransaction", rollback_transaction, handle)


@export("ZwCreateTransactionManager", args="ptr, ulong, ptr, ptr, ulong, ulong", since=_VISTA)
def zw_create_transaction_manager(
    m: Machine, handle_at: int, access: int, attributes_at: int, *_: int
) -> int:
    return zw(m, "ZwCreateTransactionManager", _create_manager, handle_at, access, attributes_at)


@export("ZwRecoverTransactionManager", args="handle", since=_VISTA)
def zw_recover_transaction_manager(m: Machine, handle: int) -> int:
    return zw(m, "ZwRecoverTransactionManager", _nothing, handle)


@export("ZwCreateResourceManager", args="ptr, ulong, handle, ptr, ptr, ulong, ptr", since=_VISTA)
def zw_create_resource_manager(
    m: Machine, handle_at: int, access: int, manager: int, guid_at: int, attributes_at: int, *_: int
) -> int:
    name = "ZwCreateResourceManager"
    return zw(m, name, _create_resource_manager, handle_at, access, manager, guid_at, attributes_at)


@export("ZwRecoverResourceManager", args="handle", since=_VISTA)
def zw_recover_resource_manager(m: Machine, handle: int) -> int:
    return zw(m, "ZwRecoverResourceManager", _nothing, handle)


@export("TmRecoverTransactionManager", args="ptr, ptr", since=_VISTA)
def tm_recover_transaction_manager(m: Machine, manager: int, _clock: int) -> int:
    object_argument(m, manager, MANAGER)
    return NTSTATUS.SUCCESS


@export("TmRecoverResourceManager", args="ptr", since=_VISTA)
def tm_recover_resource_manager(m: Machine, manager: int) -> int:
    object_argument(m, manager, RESOURCE_MANAGER)
    return NTSTATUS.SUCCESS


@export("TmEnableCallbacks", args="ptr, ptr, ptr", since=_VISTA)
def tm_enable_callbacks(m: Machine, resource_manager: int, callback: int, key: int) -> int:
    body = object_argument(m, resource_manager, RESOURCE_MANAGER).body
    if not callback:
        return NTSTATUS.UNSUCCESSFUL
    body.callback = callback
    body.key = key
    return NTSTATUS.SUCCESS


def _type_variable(m: Machine, type_name: str) -> int:
    """The variable that holds the address of an object type."""
    cell = m.memory.alloc_static(8)
    m.memory.put_ptr(cell, engine_of(m).objects.types[type_name].address)
    return cell


@export("TmTransactionObjectType", since=_VISTA, data=True)
def tm_transaction_object_type(m: Machine) -> int:
    return _type_variable(m, TRANSACTION)


@export("TmResourceManagerObjectType", since=_VISTA, data=True)
def tm_resource_manager_object_type(m: Machine) -> int:
    return _type_variable(m, RESOURCE_MANAGER)


@export("TmTransactionManagerObjectType", since=_VISTA, data=True)
def tm_transaction_manager_object_type(m: Machine) -> int:
    return _type_variable(m, MANAGER)


@export("TmEnlistmentObjectType", since=_VISTA, data=True)
def tm_enlistment_object_type(m: Machine) -> int:
    return _type_variable(m, ENLISTMENT)
