"""The kernel transaction manager as registry filters use it: Zw*Transaction*, Zw*ResourceManager, Tm*.

Sources: nf-wdm-zwcreatetransaction, nf-wdm-zwcommittransaction, nf-wdm-zwrollbacktransaction,
nf-wdm-zwcreatetransactionmanager, nf-wdm-zwcreateresourcemanager, nf-wdm-zwcreateenlistment,
nf-wdm-tmenablecallbacks, nf-wdm-tmcommitcomplete, nf-wdm-tmrollbackcomplete. All from Vista on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.filtering.engine import FilterEngine, engine_of
from harness.reference.filtering.request import Requester, ServiceFailure, service
from harness.reference.kernel.checks import need_zw
from harness.reference.kernel.objects import KERNEL_MODE, KernelObject
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
_TX: Final = "TmTx"
_TM: Final = "TmTm"
_RM: Final = "TmRm"
_EN: Final = "TmEn"


def _attributes(who: Requester, attributes_at: int) -> int:
    """Attributes of optional OBJECT_ATTRIBUTES; names of these objects are not modelled."""
    if not attributes_at:
        return 0
    offset = 3 * who.memory.pointer_size
    who.probe_read(attributes_at, offset + 4, 4)
    return who.handle_attributes(who.memory.u32(attributes_at + offset))


def _give(who: Requester, obj: KernelObject, access: int, attributes: int, handle_at: int) -> int:
    """A handle on a new object, whose creation reference it replaces."""
    objects = who.engine.objects
    try:
        who.probe_write(handle_at, who.memory.pointer_size, who.memory.pointer_size)
        table = objects.table_for(attributes, who.mode)
        who.memory.put_ptr(handle_at, objects.open_handle(obj, access, table=table, attributes=attributes))
    finally:
        objects.dereference(obj)
    return NTSTATUS.SUCCESS


@service
def create_transaction(engine: FilterEngine, handle_at: int, access: int, attributes_at: int) -> int:
    """NtCreateTransaction; transaction manager, timeout and description make no difference here."""
    who = Requester(engine)
    attributes = _attributes(who, attributes_at)
    return _give(who, engine.transactions.create(), access, attributes, handle_at)


def _managed(engine: FilterEngine, handle: int) -> KernelObject:
    """The KTM transaction of a handle. Raises `ServiceFailure` for a lightweight one."""
    obj = engine.transactions.resolve(handle, Requester(engine).mode)
    if obj.body.transaction.lightweight:
        raise ServiceFailure(NTSTATUS.OBJECT_TYPE_MISMATCH)
    return obj


@service
def commit_transaction(engine: FilterEngine, handle: int) -> int:
    """NtCommitTransaction, always waiting."""
    transactions = engine.transactions
    obj = _managed(engine, handle)
    engine.objects.reference(obj)
    try:
        return transactions.commit(obj)
    finally:
        engine.objects.dereference(obj)


@service
def rollback_transaction(engine: FilterEngine, handle: int) -> int:
    """NtRollbackTransaction, always waiting."""
    transactions = engine.transactions
    obj = _managed(engine, handle)
    engine.objects.reference(obj)
    try:
        return transactions.rollback(obj)
    finally:
        engine.objects.dereference(obj)


@service
def create_registry_transaction(engine: FilterEngine, handle_at: int, access: int, attributes_at: int) -> int:
    """NtCreateRegistryTransaction: a transaction that no transaction manager knows (B-TXN-13)."""
    who = Requester(engine)
    attributes = _attributes(who, attributes_at)
    return _give(who, engine.transactions.create(lightweight=True), access, attributes, handle_at)


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
    attributes = _attributes(who, attributes_at)
    return _give(who, engine.transactions.create_manager(), access, attributes, handle_at)


@service
def _create_resource_manager(
    engine: FilterEngine, handle_at: int, access: int, manager_handle: int, attributes_at: int
) -> int:
    who = Requester(engine)
    manager = engine.transactions.resolve_as(manager_handle, _TM, who.mode)
    attributes = _attributes(who, attributes_at)
    created = engine.transactions.create_resource_manager(manager)
    return _give(who, created, access, attributes, handle_at)


@service
def _create_enlistment(
    engine: FilterEngine,
    handle_at: int,
    access: int,
    resource_manager_handle: int,
    transaction_handle: int,
    attributes_at: int,
    mask: int,
    key: int,
) -> int:
    who = Requester(engine)
    transactions = engine.transactions
    resource_manager = transactions.resolve_as(resource_manager_handle, _RM, who.mode)
    transaction = transactions.resolve(transaction_handle, who.mode)
    attributes = _attributes(who, attributes_at)
    enlistment = transactions.enlist(resource_manager, transaction, mask, key)
    engine.objects.reference(enlistment)  # the transaction's list keeps the reference of the creation
    return _give(who, enlistment, access, attributes, handle_at)


@service
def _nothing(engine: FilterEngine, handle: int) -> int:
    """Recovery of a volatile manager has nothing to recover."""
    found = engine.objects.resolve(handle, None, 0, Requester(engine).mode)
    return NTSTATUS.SUCCESS if isinstance(found, KernelObject) else found


def _zw(m: Machine, name: str, routine: Callable[..., int], *values: int) -> int:
    need_zw(m, name)
    with m.previous_mode(KERNEL_MODE):
        return routine(engine_of(m), *values)


@export(
    "ZwCreateTransaction",
    args="ptr, ulong, ptr, ptr, handle, ulong, ulong, ulong, ptr, ptr",
    since=_VISTA,
)
def zw_create_transaction(m: Machine, handle_at: int, access: int, attributes_at: int, *_: int) -> int:
    return _zw(m, "ZwCreateTransaction", create_transaction, handle_at, access, attributes_at)


@export("ZwCommitTransaction", args="handle, uchar", since=_VISTA)
def zw_commit_transaction(m: Machine, handle: int, _wait: int) -> int:
    return _zw(m, "ZwCommitTransaction", commit_transaction, handle)


@export("ZwRollbackTransaction", args="handle, uchar", since=_VISTA)
def zw_rollback_transaction(m: Machine, handle: int, _wait: int) -> int:
    return _zw(m, "ZwRollbackTransaction", rollback_transaction, handle)


@export("ZwCreateTransactionManager", args="ptr, ulong, ptr, ptr, ulong, ulong", since=_VISTA)
def zw_create_transaction_manager(
    m: Machine, handle_at: int, access: int, attributes_at: int, *_: int
) -> int:
    return _zw(m, "ZwCreateTransactionManager", _create_manager, handle_at, access, attributes_at)


@export("ZwRecoverTransactionManager", args="handle", since=_VISTA)
def zw_recover_transaction_manager(m: Machine, handle: int) -> int:
    return _zw(m, "ZwRecoverTransactionManager", _nothing, handle)


@export("ZwCreateResourceManager", args="ptr, ulong, handle, ptr, ptr, ulong, ptr", since=_VISTA)
def zw_create_resource_manager(
    m: Machine, handle_at: int, access: int, manager: int, _guid: int, attributes_at: int, *_: int
) -> int:
    name = "ZwCreateResourceManager"
    return _zw(m, name, _create_resource_manager, handle_at, access, manager, attributes_at)


@export("ZwRecoverResourceManager", args="handle", since=_VISTA)
def zw_recover_resource_manager(m: Machine, handle: int) -> int:
    return _zw(m, "ZwRecoverResourceManager", _nothing, handle)


@export("ZwCreateEnlistment", args="ptr, ulong, handle, handle, ptr, ulong, ulong, ptr", since=_VISTA)
def zw_create_enlistment(
    m: Machine,
    handle_at: int,
    access: int,
    resource_manager: int,
    transaction: int,
    attributes_at: int,
    _options: int,
    mask: int,
    key: int,
) -> int:
    values = (handle_at, access, resource_manager, transaction, attributes_at, mask, key)
    return _zw(m, "ZwCreateEnlistment", _create_enlistment, *values)


def _object(m: Machine, address: int, type_name: str) -> KernelObject:
    """The object a Tm routine is given by pointer. Anything else is a bugcheck, as with any Ob routine."""
    engine = engine_of(m)
    obj = engine.objects.at(address)
    if obj is None or obj.type is not engine.objects.types[type_name]:
        m.bugcheck(0x18, 0, address, 2, 0, reason=f"{address:#x} is no {type_name} object")
    return obj


@export("TmEnableCallbacks", args="ptr, ptr, ptr", since=_VISTA)
def tm_enable_callbacks(m: Machine, resource_manager: int, callback: int, key: int) -> int:
    body = _object(m, resource_manager, _RM).body
    body.callback = callback
    body.key = key
    return NTSTATUS.SUCCESS


def _complete(m: Machine, enlistment: int) -> int:
    return engine_of(m).transactions.complete(_object(m, enlistment, _EN))


@export("TmCommitComplete", args="ptr, ptr", since=_VISTA)
def tm_commit_complete(m: Machine, enlistment: int, _clock: int) -> int:
    return _complete(m, enlistment)


@export("TmRollbackComplete", args="ptr, ptr", since=_VISTA)
def tm_rollback_complete(m: Machine, enlistment: int, _clock: int) -> int:
    return _complete(m, enlistment)


@export("TmPrePrepareComplete", args="ptr, ptr", since=_VISTA)
@export("TmPrepareComplete", args="ptr, ptr", since=_VISTA)
def tm_prepare_complete(m: Machine, enlistment: int, _clock: int) -> int:
    _object(m, enlistment, _EN)
    return NTSTATUS.SUCCESS


@export("TmRollbackEnlistment", args="ptr, ptr", since=_VISTA)
def tm_rollback_enlistment(m: Machine, enlistment: int, _clock: int) -> int:
    return engine_of(m).transactions.rollback(_object(m, enlistment, _EN).body.transaction)


def _type_variable(m: Machine, type_name: str) -> int:
    """The variable that holds the address of an object type."""
    cell = m.memory.alloc_static(8)
    m.memory.put_ptr(cell, engine_of(m).objects.types[type_name].address)
    return cell


@export("TmTransactionObjectType", since=_VISTA, data=True)
def tm_transaction_object_type(m: Machine) -> int:
    return _type_variable(m, _TX)


@export("TmResourceManagerObjectType", since=_VISTA, data=True)
def tm_resource_manager_object_type(m: Machine) -> int:
    return _type_variable(m, _RM)


@export("TmTransactionManagerObjectType", since=_VISTA, data=True)
def tm_transaction_manager_object_type(m: Machine) -> int:
    return _type_variable(m, _TM)


@export("TmEnlistmentObjectType", since=_VISTA, data=True)
def tm_enlistment_object_type(m: Machine) -> int:
    return _type_variable(m, _EN)
