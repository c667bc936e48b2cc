"""Kernel transactions as far as the registry and its filters need them: TmTx, TmTm, TmRm and TmEn objects.

A transaction commits in the documented phases of the kernel transaction manager as far as they can be told
from outside: every enlistment that asked for it gets pre-prepare, prepare and commit, or rollback, through
its resource manager's callback or its queue, and answers with a Complete routine (B-TXN-06). A phase is over
when all have answered; a callback that returned anything but STATUS_PENDING counts as an answer.

Sources: kernel/introduction-to-ktm, kernel/handling-commit-operations, nf-wdm-zwcreatetransaction,
nf-wdm-zwcreateenlistment, nf-wdm-tmenablecallbacks, nc-wdm-ptm_rm_notification,
nf-wdm-zwgetnotificationresourcemanager, nf-wdm-tmreadonlyenlistment, regfltr txr.c.
"""

from __future__ import annotations

import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

from harness.errors import GuestHung
from harness.reference.cm.transaction import Transaction
from harness.reference.filtering.request import ServiceFailure
from harness.reference.kernel.dispatcher import DispatcherType, initialise
from harness.reference.kernel.layouts import layout
from harness.reference.kernel.objects import GenericMapping, KernelObject
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.filtering.engine import FilterEngine

__all__ = [
    "TRANSACTION_NOTIFY_COMMIT",
    "TRANSACTION_NOTIFY_PREPARE",
    "TRANSACTION_NOTIFY_PREPREPARE",
    "TRANSACTION_NOTIFY_ROLLBACK",
    "Enlistment",
    "Notification",
    "ResourceManager",
    "TransactionBody",
    "TransactionManager",
    "Transactions",
]

TRANSACTION_NOTIFY_PREPREPARE: Final = 0x00000001
TRANSACTION_NOTIFY_PREPARE: Final = 0x00000002
TRANSACTION_NOTIFY_COMMIT: Final = 0x00000004
TRANSACTION_NOTIFY_ROLLBACK: Final = 0x00000008

_ALL_ACCESS: Final = 0x1F003F
_PENDING: Final = 0x103
_MASK: Final = 0x3FFFFFFF
_TWO_PHASES: Final = TRANSACTION_NOTIFY_PREPARE | TRANSACTION_NOTIFY_COMMIT
_NAMES: Final = {
    TRANSACTION_NOTIFY_PREPREPARE: "TRANSACTION_NOTIFY_PREPREPARE",
    TRANSACTION_NOTIFY_PREPARE: "TRANSACTION_NOTIFY_PREPARE",
    TRANSACTION_NOTIFY_COMMIT: "TRANSACTION_NOTIFY_COMMIT",
    TRANSACTION_NOTIFY_ROLLBACK: "TRANSACTION_NOTIFY_ROLLBACK",
}


class Notification(NamedTuple):
    """A notification in a resource manager's queue: the enlistment's key, what, and the virtual clock."""

    key: int
    what: int
    clock: int


@dataclass(slots=True, eq=False)
class TransactionManager:
    """A volatile transaction manager: it has no log."""

    online: bool = True
    identity: uuid.UUID | None = None


@dataclass(slots=True, eq=False)
class ResourceManager:
    """A volatile resource manager. `callback` is the guest routine TmEnableCallbacks named, 0 before.

    Without a callback its notifications queue; `queued` is a semaphore in guest memory that counts them.
    """

    manager: KernelObject
    queued: int
    callback: int = 0
    key: int = 0
    queue: deque[Notification] = field(default_factory=deque)
    identity: uuid.UUID | None = None


@dataclass(slots=True, eq=False)
class Enlistment:
    """One resource manager's part in one transaction."""

    resource_manager: KernelObject
    transaction: KernelObject
    mask: int
    key: int
    #: The outcome was reported to the resource manager, or it has none to report any more.
    finished: bool = False
    #: The notification that the resource manager has to answer, 0 for none.
    awaited: int = 0
    #: References to the key (TmReferenceEnlistmentKey); the first is the enlistment's own.
    key_references: int = 1
    identity: uuid.UUID | None = None


@dataclass(slots=True, eq=False)
class TransactionBody:
    """A transaction and who takes part in it; `ended` from the moment the outcome is decided."""

    transaction: Transaction
    enlistments: list[KernelObject] = field(default_factory=list)
    ended: bool = False
    identity: uuid.UUID | None = None


class Transactions:
    """The transaction manager's object types of one machine."""

    def __init__(self, engine: FilterEngine) -> None:
        self._engine = engine
        objects = engine.objects
        mapping = GenericMapping(0x120001, 0x12003E, 0x120038, _ALL_ACCESS)
        self.transaction_type = objects.define_type("TmTx", mapping)
        self.manager_type = objects.define_type("TmTm", mapping)
        self.resource_manager_type = objects.define_type("TmRm", mapping)
        self.enlistment_type = objects.define_type("TmEn", mapping)
        self.transaction_type.close = lambda obj, _: self._transaction_closed(obj)
        self.enlistment_type.close = lambda obj, _: self._enlistment_closed(obj)

    def create(self, *, lightweight: bool = False) -> KernelObject:
        """A new transaction object with one reference."""
        transaction = self._engine.cm.begin_transaction(lightweight=lightweight)
        return self._engine.objects.create(self.transaction_type, TransactionBody(transaction))

    def create_manager(self) -> KernelObject:
        return self._engine.objects.create(self.manager_type, TransactionManager())

    def create_resource_manager(self, manager: KernelObject) -> KernelObject:
        """A resource manager below a transaction manager, which it keeps referenced for its life."""
        self._engine.objects.reference(manager)
        machine = self._engine.machine
        shape = layout("KSEMAPHORE", machine.memory.pointer_size)
        queued = machine.memory.alloc_static(shape.size)
        initialise(machine, queued, DispatcherType.SEMAPHORE, shape.size, 0)
        return self._engine.objects.create(self.resource_manager_type, ResourceManager(manager, queued))

    # -- identities ----------------------------------------------------------------------------------------

    def identity(self, obj: KernelObject) -> uuid.UUID:
        """The GUID of one of these objects: its unit of work, its resource manager's id ..."""
        if obj.body.identity is None:
            obj.body.identity = self._engine.machine.kernel.next_uuid()
        found: uuid.UUID = obj.body.identity
        return found

    def find(self, type_name: str, identity: uuid.UUID) -> KernelObject | None:
        """The object of that type with that GUID; it must live."""
        objects = self._engine.objects
        for obj in objects.of_type(objects.types[type_name]):
            if self.identity(obj) == identity:
                return obj
        return None

    # -- taking part ---------------------------------------------------------------------------------------

    def enlist(
        self, resource_manager: KernelObject, transaction: KernelObject, mask: int, key: int
    ) -> KernelObject:
        """An enlistment. Raises `ServiceFailure` when the transaction is over, and for a mask that makes no
        sense: who wants to hear of the pre-prepare must hear of the prepare and the commit, too (sdk
        notification-mask)."""
        if mask & ~_MASK or (mask & TRANSACTION_NOTIFY_PREPREPARE and mask & _TWO_PHASES != _TWO_PHASES):
            raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)
        body: TransactionBody = transaction.body
        if body.ended or not body.transaction.is_active:
            raise ServiceFailure(body.transaction.inactive_status)
        objects = self._engine.objects
        objects.reference(resource_manager)
        objects.reference(transaction)
        enlistment = objects.create(
            self.enlistment_type, Enlistment(resource_manager, transaction, mask, key)
        )
        body.enlistments.append(enlistment)
        return enlistment

    def resolve(self, handle: int, mode: int, access: int = 0) -> KernelObject:
        """The transaction object of a handle. Raises `ServiceFailure`."""
        return self.resolve_as(handle, self.transaction_type.name, mode, access)

    def resolve_as(self, handle: int, type_name: str, mode: int, access: int = 0) -> KernelObject:
        """The object of a handle to one of the transaction manager's types. Raises `ServiceFailure`."""
        objects = self._engine.objects
        found = objects.resolve(handle, objects.types[type_name], access, mode)
        if not isinstance(found, KernelObject):
            raise ServiceFailure(found)
        return found

    def commit(self, obj: KernelObject, *, wait: bool = True) -> int:
        """Commit: prepare everybody, make the changes visible, tell everybody.

        It is done on return. Without `wait` that is STATUS_PENDING all the same where somebody was told.
        """
        body: TransactionBody = obj.body
        if not body.transaction.is_active:
            return body.transaction.commit()  # says which outcome it had
        if body.ended:
            return NTSTATUS.TRANSACTION_REQUEST_NOT_VALID  # the commit has begun
        body.ended = True
        for phase in (TRANSACTION_NOTIFY_PREPREPARE, TRANSACTION_NOTIFY_PREPARE):
            self._tell(body, phase)
            self._wait_for_answers(body)
            if not body.transaction.is_active:  # a resource manager rolled it back meanwhile
                return NTSTATUS.TRANSACTION_ALREADY_ABORTED
        status = body.transaction.commit()
        self._engine.keys.names_version += 1
        self._tell(body, TRANSACTION_NOTIFY_COMMIT)
        self._wait_for_answers(body)
        told = bool(body.enlistments)
        self._let_go(body)
        return _PENDING if told and not wait and status == NTSTATUS.SUCCESS else status

    def rollback(self, obj: KernelObject, *, wait: bool = False) -> int:
        """Roll back and tell everybody; with `wait`, until all have answered."""
        body: TransactionBody = obj.body
        body.ended = True
        status = body.transaction.rollback()
        if status == NTSTATUS.SUCCESS:
            self._tell(body, TRANSACTION_NOTIFY_ROLLBACK)
            if wait:
                self._wait_for_answers(body)
            self._let_go(body)
        return status

    def _tell(self, body: TransactionBody, notification: int) -> None:
        for obj in list(body.enlistments):
            enlistment: Enlistment = obj.body
            manager: ResourceManager = enlistment.resource_manager.body
            enlistment.awaited = 0
            if enlistment.finished or not enlistment.mask & notification:
                continue
            enlistment.awaited = notification
            if manager.callback:
                self._call(obj, enlistment, manager, notification)
            else:
                clock = self._engine.machine.performance_counter()
                manager.queue.append(Notification(enlistment.key, notification, clock))
                memory = self._engine.memory
                memory.put_u32(manager.queued + 4, len(manager.queue))

    def _call(
        self, obj: KernelObject, enlistment: Enlistment, manager: ResourceManager, notification: int
    ) -> None:
        """PTM_RM_NOTIFICATION(EnlistmentObject, RMContext, TransactionContext, Notification, TmVirtualClock,
        ArgumentLength, Argument)."""
        machine = self._engine.machine
        with machine.memory.scratch() as scratch:
            clock = scratch.bytes(machine.performance_counter().to_bytes(8, "little"))
            returned = machine.cpu.call(
                manager.callback, obj.address, manager.key, enlistment.key, notification, clock, 0, 0
            )
        if returned & 0xFFFF_FFFF != _PENDING and enlistment.awaited == notification:
            enlistment.awaited = 0

    def _wait_for_answers(self, body: TransactionBody) -> None:
        def late() -> list[Enlistment]:
            return [each.body for each in body.enlistments if each.body.awaited]

        def hang() -> NoReturn:
            what = ", ".join(sorted({_NAMES[each.awaited] for each in late()}))
            machine = self._engine.machine
            raise GuestHung(
                machine.describe_hang(
                    f"a transaction waits for {len(late())} enlistment(s) to answer {what}, and nothing that "
                    "is left to run does (nf-wdm-zwcommittransaction, Wait)"
                )
            )

        if late():
            self._engine.machine.kernel.scheduler.run_until(lambda: not late(), hang)

    def answer(self, obj: KernelObject, notification: int) -> int:
        """A Complete routine: the resource manager is done with what it was told.

        STATUS_TRANSACTION_NOT_REQUESTED where it was not told so (nf-wdm-tmpreparecomplete).
        """
        enlistment: Enlistment = obj.body
        if enlistment.awaited != notification:
            return NTSTATUS.TRANSACTION_NOT_REQUESTED
        enlistment.awaited = 0
        if notification in (TRANSACTION_NOTIFY_COMMIT, TRANSACTION_NOTIFY_ROLLBACK):
            enlistment.finished = True
        return NTSTATUS.SUCCESS

    def read_only(self, obj: KernelObject) -> int:
        """TmReadOnlyEnlistment: the resource manager changed nothing, and wants to hear no more."""
        enlistment: Enlistment = obj.body
        if enlistment.finished or not enlistment.transaction.body.transaction.is_active:
            return NTSTATUS.TRANSACTION_NOT_REQUESTED
        enlistment.finished, enlistment.awaited = True, 0
        return NTSTATUS.SUCCESS

    def _let_go(self, body: TransactionBody) -> None:
        """The outcome is told: enlistments no longer hold their transaction."""
        objects = self._engine.objects
        enlistments, body.enlistments = body.enlistments, []
        for obj in enlistments:
            enlistment: Enlistment = obj.body
            enlistment.finished = True
            objects.dereference(enlistment.resource_manager)
            objects.dereference(enlistment.transaction)
            objects.dereference(obj)

    def _transaction_closed(self, obj: KernelObject) -> None:
        """The last handle of a transaction that has no outcome rolls it back (nf-wdm-zwcreatetransaction)."""
        body: TransactionBody = obj.body
        if obj.handles == 0 and not body.ended and body.transaction.is_active:
            self.rollback(obj)

    def _enlistment_closed(self, obj: KernelObject) -> None:
        """Closing an enlistment before the outcome aborts the transaction (B-TXN-07)."""
        enlistment: Enlistment = obj.body
        body: TransactionBody = enlistment.transaction.body
        if obj.handles == 0 and not body.ended and not enlistment.finished and body.transaction.is_active:
            enlistment.finished = True
            self.rollback(enlistment.transaction)
