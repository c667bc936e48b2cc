"""What a resource manager does with its enlistments: take part, answer what it is told, step back.

Sources: nf-wdm-zwcreateenlistment, nf-wdm-tmcreateenlistment, nf-wdm-tmpreparecomplete,
nf-wdm-zwcommitcomplete, nf-wdm-tmreadonlyenlistment, nf-wdm-tmrollbackenlistment,
nf-wdm-tmreferenceenlistmentkey, nf-wdm-tmdereferenceenlistmentkey, nf-wdm-zwgetnotificationresourcemanager,
ns-wdm-_transaction_notification. All from Vista on. Superior enlistments are not modelled: asking for one
fails, and routines that only they may call say so.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.exports import export
from harness.reference.filtering.engine import FilterEngine, engine_of
from harness.reference.filtering.request import Requester, ServiceFailure, service
from harness.reference.filtering.tm_calls import (
    ENLISTMENT,
    RESOURCE_MANAGER,
    TRANSACTION,
    attributes_of,
    give_handle,
    object_argument,
    zw,
)
from harness.reference.filtering.transactions import (
    TRANSACTION_NOTIFY_COMMIT,
    TRANSACTION_NOTIFY_PREPARE,
    TRANSACTION_NOTIFY_PREPREPARE,
    TRANSACTION_NOTIFY_ROLLBACK,
    ResourceManager,
)
from harness.reference.kernel.checks import need_zw
from harness.reference.kernel.objects import KERNEL_MODE, KernelObject
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.machine import Machine

__all__: list[str] = []

_VISTA: Final = (6, 0)
_SUPERIOR: Final = 1
#: TRANSACTION_NOTIFICATION: TransactionKey, TransactionNotification, TmVirtualClock, ArgumentLength.
_NOTIFICATION: Final = {8: struct.Struct("<QI4xQI4x"), 4: struct.Struct("<IIQI4x")}
#: What a Complete routine answers.
_ANSWERS: Final = {
    "PrePrepareComplete": TRANSACTION_NOTIFY_PREPREPARE,
    "PrepareComplete": TRANSACTION_NOTIFY_PREPARE,
    "CommitComplete": TRANSACTION_NOTIFY_COMMIT,
    "RollbackComplete": TRANSACTION_NOTIFY_ROLLBACK,
}


def _create(
    who: Requester,
    handle_at: int,
    access: int,
    resource_manager: KernelObject,
    transaction: KernelObject,
    attributes_at: int,
    options: int,
    mask: int,
    key: int,
) -> int:
    engine = who.engine
    attributes = attributes_of(who, attributes_at)
    if options & _SUPERIOR:
        engine.machine.kernel.debug.note("superior enlistments are not modelled: STATUS_NOT_SUPPORTED")
        return NTSTATUS.NOT_SUPPORTED
    enlistment = engine.transactions.enlist(resource_manager, transaction, mask, key)
    engine.objects.reference(enlistment)  # the transaction's list keeps the reference of the creation
    return give_handle(who, enlistment, access, attributes, handle_at)


@service
def _create_by_handle(
    engine: FilterEngine, handle_at: int, access: int, resource_manager: int, transaction: int, *rest: int
) -> int:
    who = Requester(engine)
    objects = (
        engine.transactions.resolve_as(resource_manager, RESOURCE_MANAGER, who.mode),
        engine.transactions.resolve(transaction, who.mode),
    )
    return _create(who, handle_at, access, *objects, *rest)


@service
def _create_by_pointer(
    engine: FilterEngine,
    handle_at: int,
    access: int,
    resource_manager: KernelObject,
    transaction: KernelObject,
    *rest: int,
) -> int:
    return _create(Requester(engine), handle_at, access, resource_manager, transaction, *rest)


@export("ZwCreateEnlistment", args="ptr, ulong, handle, handle, ptr, ulong, ulong, ptr", since=_VISTA)
def zw_create_enlistment(m: Machine, *values: int) -> int:
    return zw(m, "ZwCreateEnlistment", _create_by_handle, *values)


@export("TmCreateEnlistment", args="ptr, uchar, ulong, ptr, ptr, ptr, ulong, ulong, ptr", since=_VISTA)
def tm_create_enlistment(
    m: Machine,
    handle_at: int,
    mode: int,
    access: int,
    attributes_at: int,
    resource_manager: int,
    transaction: int,
    options: int,
    mask: int,
    key: int,
) -> int:
    manager = object_argument(m, resource_manager, RESOURCE_MANAGER)
    target = object_argument(m, transaction, TRANSACTION)
    with m.previous_mode(mode):
        rest = (attributes_at, options, mask, key)
        return _create_by_pointer(engine_of(m), handle_at, access, manager, target, *rest)


# -- answers -------------------------------------------------------------------------------------------------


@service
def _with_handle(engine: FilterEngine, handle: int, work: Callable[[KernelObject], int]) -> int:
    return work(engine.transactions.resolve_as(handle, ENLISTMENT, Requester(engine).mode))


def _declare(name: str, work: Callable[[Machine, KernelObject], int]) -> None:
    """Declare a routine about one enlistment in both forms: Zw by handle, Tm by pointer."""

    def by_pointer(m: Machine, enlistment: int, _clock: int) -> int:
        return work(m, object_argument(m, enlistment, ENLISTMENT))

    def by_handle(m: Machine, handle: int, _clock: int) -> int:
        need_zw(m, f"Zw{name}")
        with m.previous_mode(KERNEL_MODE):
            return _with_handle(engine_of(m), handle, lambda obj: work(m, obj))

    for prefix, kind, routine in (("Tm", "ptr", by_pointer), ("Zw", "handle", by_handle)):
        routine.__module__ = __name__
        export(f"{prefix}{name}", args=f"{kind}, ptr", since=_VISTA)(routine)


def _answer(notification: int) -> Callable[[Machine, KernelObject], int]:
    return lambda m, obj: engine_of(m).transactions.answer(obj, notification)


def _not_superior(_m: Machine, _obj: KernelObject) -> int:
    return NTSTATUS.ENLISTMENT_NOT_SUPERIOR


def _recovered(_m: Machine, obj: KernelObject) -> int:
    """Nothing of a volatile manager is in doubt: there is nothing to send again."""
    return NTSTATUS.TRANSACTION_NOT_ACTIVE if obj.body.finished else NTSTATUS.SUCCESS


for _name, _notification in _ANSWERS.items():
    _declare(_name, _answer(_notification))
for _name in ("PrePrepareEnlistment", "PrepareEnlistment", "CommitEnlistment"):
    _declare(_name, _not_superior)
_declare("ReadOnlyEnlistment", lambda m, obj: engine_of(m).transactions.read_only(obj))
_declare("RollbackEnlistment", lambda m, obj: engine_of(m).transactions.rollback(obj.body.transaction))
_declare("RecoverEnlistment", _recovered)


# -- keys ----------------------------------------------------------------------------------------------------


@export("TmReferenceEnlistmentKey", args="ptr, ptr", since=_VISTA)
def tm_reference_enlistment_key(m: Machine, enlistment: int, key_at: int) -> int:
    body = object_argument(m, enlistment, ENLISTMENT).body
    if not key_at:
        return NTSTATUS.INVALID_PARAMETER
    if not body.key_references:
        return NTSTATUS.UNSUCCESSFUL
    body.key_references += 1
    m.memory.put_ptr(key_at, body.key)
    return NTSTATUS.SUCCESS


@export("TmDereferenceEnlistmentKey", args="ptr, ptr", since=_VISTA)
def tm_dereference_enlistment_key(m: Machine, enlistment: int, last_at: int) -> int:
    body = object_argument(m, enlistment, ENLISTMENT).body
    if not body.key_references:
        return NTSTATUS.UNSUCCESSFUL
    body.key_references -= 1
    if last_at:
        m.memory.put_u8(last_at, int(not body.key_references))
    return NTSTATUS.SUCCESS


# -- the queue of a resource manager -------------------------------------------------------------------------


@service
def _resource_manager(engine: FilterEngine, handle: int, found: list[ResourceManager]) -> int:
    who = Requester(engine)
    found.append(engine.transactions.resolve_as(handle, RESOURCE_MANAGER, who.mode).body)
    if found[0].callback:
        raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)
    return NTSTATUS.SUCCESS


@export("ZwGetNotificationResourceManager", args="handle, ptr, ulong, ptr, ptr, ulong, size", since=_VISTA)
def zw_get_notification_resource_manager(
    m: Machine,
    handle: int,
    buffer: int,
    length: int,
    timeout: int,
    length_at: int,
    asynchronous: int,
    _context: int,
) -> int:
    """The next notification of a resource manager without a callback, when there is one."""
    need_zw(m, "ZwGetNotificationResourceManager")
    if asynchronous:
        return NTSTATUS.INVALID_PARAMETER
    found: list[ResourceManager] = []
    with m.previous_mode(KERNEL_MODE):
        status = _resource_manager(engine_of(m), handle, found)
    if status:
        return status
    shape = _NOTIFICATION[m.memory.pointer_size]
    if length < shape.size:
        if length_at:
            m.memory.put_u32(length_at, shape.size)
        return NTSTATUS.BUFFER_TOO_SMALL
    manager = found[0]

    def take() -> int:
        key, what, clock = manager.queue.popleft()
        m.memory.write(buffer, shape.pack(key, what, clock, 0))
        return NTSTATUS.SUCCESS

    scheduler = m.kernel.scheduler
    return scheduler.wait(
        (manager.queued,),
        wait_all=False,
        deadline=scheduler.due_time(timeout),
        what="ZwGetNotificationResourceManager",
        answer=take,
    )
