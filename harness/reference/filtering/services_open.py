"""Creating and opening keys, by handle or inside the system, through symbolic links and past filters.

Every round of the parse has its own pre and post notification; a symbolic link ends a round with
STATUS_REPARSE and the next one starts at \\REGISTRY with the target's path (B-CRE-20). What the requester
gets in the end is the object in *ResultObject with GrantedAccess, whether the parse or a callback put them
there (B-NOT-13..16, B-NOT-26).

Sources: nf-wdm-zwcreatekey, nf-wdm-zwopenkey(ex), nf-wdm-zwcreatekeytransacted,
ns-wdm-_reg_create_key_information(_v1), kernel/invalid-key-object-pointers-in-registry-notifications.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reference.cm.manager import ParseRequest
from harness.reference.faults import GuestFault
from harness.reference.filtering.attributes import Named, capture, start_of_path
from harness.reference.filtering.marshal import CreateNotice
from harness.reference.filtering.request import CountedString, Requester, ServiceFailure, service
from harness.reference.kernel.objects import KernelObject
from harness.registry.access import ACCESS_SYSTEM_SECURITY, KEY_ALL_ACCESS, KEY_WOW64_RES, SYNCHRONIZE
from harness.registry.notify import Operation
from harness.registry.options import KeyOptions
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.cm.transaction import Transaction
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.filtering.keyobject import KeyObject

__all__ = ["Opened", "create_key", "internal_open", "open_by_name", "open_key"]

_FAILURE_BIT: Final = 0x80000000
_REFERENCE_BY_POINTER: Final = 0x18
_MAX_ROUNDS: Final = 64
_LEGAL_OPTIONS: Final = 0x1F
#: Rights a key handle can have; the rest of a mask that a callback left is dropped (B-NOT-16).
_CONCRETE: Final = KEY_ALL_ACCESS | SYNCHRONIZE | ACCESS_SYSTEM_SECURITY


@dataclass(slots=True)
class _Request:
    """One create or open as the requester asked for it."""

    operation: Operation
    named: Named
    access: int
    options: int
    class_name: CountedString | None
    disposition_at: int
    transaction: Transaction | None
    transaction_object: KernelObject | None

    @property
    def creates(self) -> bool:
        return self.operation is Operation.CREATE_KEY_EX


@dataclass(frozen=True, slots=True)
class Opened:
    """An opened key object with a reference, and the access it was granted."""

    key: KeyObject
    granted_access: int


@service
def create_key(
    engine: FilterEngine,
    handle_at: int,
    access: int,
    attributes_at: int,
    title_index: int,
    class_at: int,
    options: int,
    disposition_at: int,
    transaction_handle: int | None = None,
) -> int:
    """NtCreateKey, and NtCreateKeyTransacted with a transaction handle. `title_index` means nothing."""
    who = Requester(engine)
    who.probe_write(handle_at, engine.memory.pointer_size, engine.memory.pointer_size)
    if disposition_at:
        who.probe_write(disposition_at, 4, 4)
    _check_masks(engine, access, options)
    class_name = who.string(class_at) if class_at else None
    named = capture(who, attributes_at)
    request = _Request(
        Operation.CREATE_KEY_EX, named, access, options, class_name, disposition_at, None, None
    )
    return _open_handle(who, request, handle_at, transaction_handle)


@service
def open_key(
    engine: FilterEngine,
    handle_at: int,
    access: int,
    attributes_at: int,
    options: int = 0,
    transaction_handle: int | None = None,
) -> int:
    """NtOpenKey, NtOpenKeyEx (with options), NtOpenKeyTransacted(Ex) (with a transaction handle)."""
    who = Requester(engine)
    who.probe_write(handle_at, engine.memory.pointer_size, engine.memory.pointer_size)
    _check_masks(engine, access, options)
    if options & ~(KeyOptions.BACKUP_RESTORE | KeyOptions.OPEN_LINK | KeyOptions.DONT_VIRTUALIZE):
        raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)
    named = capture(who, attributes_at)
    request = _Request(Operation.OPEN_KEY_EX, named, access, options, None, 0, None, None)
    return _open_handle(who, request, handle_at, transaction_handle)


def _check_masks(engine: FilterEngine, access: int, options: int) -> None:
    if access & KEY_WOW64_RES == KEY_WOW64_RES and engine.version.refuses_both_views:
        raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)  # B-CRE-11
    if options & ~_LEGAL_OPTIONS:
        raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)


def _open_handle(who: Requester, request: _Request, handle_at: int, transaction_handle: int | None) -> int:
    engine = who.engine
    objects = engine.objects
    named = request.named
    try:
        if transaction_handle is not None:
            transaction = engine.transactions.resolve(transaction_handle, who.mode)
            request.transaction_object = transaction
            request.transaction = transaction.body.transaction
        status, opened = open_by_name(who, request)
        if opened is None:
            return status
        obj = opened.key.object
        assert obj is not None
        try:
            table = objects.table_for(named.attributes, who.mode)
            handle = objects.open_handle(obj, opened.granted_access, table=table, attributes=named.attributes)
            engine.memory.put_ptr(handle_at, handle)
        finally:
            objects.dereference(obj)
        return status
    finally:
        named.release(who)


def open_by_name(who: Requester, request: _Request) -> tuple[int, Opened | None]:
    """Run the rounds of a create or open. A success comes with the object; the reference is the caller's."""
    root, remaining = start_of_path(who, request.named)
    shown_name: CountedString | str = request.named.name
    for _ in range(_MAX_ROUNDS):
        round_ = _Round(who, request, root, shown_name, remaining)
        status = round_.run()
        if status != NTSTATUS.REPARSE or round_.reparse is None:
            return status, round_.opened(status)
        found = who.engine.namespace.find(round_.reparse)
        if isinstance(found, int):
            return found, None
        root = who.engine.keys.root
        if found.object is not root.object:
            return NTSTATUS.OBJECT_NAME_NOT_FOUND, None
        shown_name, remaining = round_.reparse, found.rest.removeprefix("\\")
    return NTSTATUS.OBJECT_NAME_NOT_FOUND, None


def internal_open(who: Requester, named: Named) -> KeyObject:
    """Open a key by name for the system's own use, as NtUnloadKey does with the hive's root.

    Raises `ServiceFailure`. The reference is the caller's.
    """
    request = _Request(Operation.OPEN_KEY_EX, named, 0, 0, None, 0, None, None)
    status, opened = open_by_name(who, request)
    if opened is None:
        raise ServiceFailure(status)
    return opened.key


class _Round:
    """One pass of the parse with its notifications."""

    def __init__(
        self,
        who: Requester,
        request: _Request,
        root: KeyObject,
        shown_name: CountedString | str,
        remaining: str,
    ) -> None:
        self._who = who
        self._engine = who.engine
        self._request = request
        self._root = root
        self._shown_name = shown_name
        self._remaining = remaining
        #: Where a symbolic link leads.
        self.reparse: str | None = None
        self._made: KeyObject | None = None
        self._address = 0
        self._access = 0

    def run(self) -> int:
        engine = self._engine
        template = engine.template(self._request.operation)
        if template is None:
            return self._parse(None)
        thread = engine.machine.current.tid
        with engine.memory.scratch() as scratch:
            slot = scratch.pointer(0)
            head, tail = self._members(scratch, slot)
            notice = CreateNotice(
                engine,
                template,
                self._root,
                head,
                tail,
                slot,
                scratch=scratch,
                fallback=0 if engine.version.nulls_failed_post_object else self._root.address,
            )
            passage = engine.stack.begin(thread, notice)
            status = self._parse(notice) if passage.proceeds else passage.status
            if self._made is not None:
                self._made.in_post_open = True
            status = engine.stack.finish(passage, status)
            if self._made is not None:
                self._made.in_post_open = False
            if not passage.entered and passage.proceeds:
                return status
            self._address, access = notice.result()
            if template.granted_access_at:
                self._access = access & _CONCRETE
        return status

    def _members(self, scratch: Scratch, slot: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The structure's members before CallContext and behind RootObjectContext."""
        who, request, engine = self._who, self._request, self._engine
        named = request.named
        name = self._shown_name
        if isinstance(name, str):
            complete = scratch.unicode(name)
        elif name.address == 0:
            complete = scratch.unicode("")
        else:
            complete = who.show_string(scratch, name, captured=True)
        class_name = request.class_name
        descriptor_at = named.descriptor_at
        if who.user and named.descriptor is not None:
            descriptor_at = scratch.bytes(named.descriptor)
        quality_at = scratch.bytes(named.quality) if named.quality is not None else named.quality_at
        head = (
            complete,
            self._root.address,
            engine.keys.type.address,
            request.options,
            who.show_string(scratch, class_name, captured=False) if class_name is not None else 0,
            descriptor_at,
            quality_at,
            request.access,
            0,
            request.disposition_at,
            slot,
        )
        transaction = request.transaction_object.address if request.transaction_object is not None else 0
        if not engine.version.has_create_v1:
            return head, (transaction, 0)
        caller = who.caller(named.attributes)
        wow64 = request.access & KEY_WOW64_RES
        remaining = scratch.unicode(self._remaining)
        return head, (transaction, 1, remaining, wow64, named.attributes, 1 if caller.checked else 0)

    def _parse(self, notice: CreateNotice | None) -> int:
        """The operation itself: find or make the key, and the object for it."""
        who, request, engine = self._who, self._request, self._engine
        transaction = request.transaction
        transaction_object = request.transaction_object
        if transaction is None:  # below a transacted handle everything belongs to its transaction (B-TXN-02)
            transaction = self._root.transaction
            transaction_object = self._root.transaction_object
        caller = who.caller(request.named.attributes)
        result = engine.cm.parse(
            self._root.key,
            ParseRequest(
                name=self._remaining,
                caller=caller,
                desired_access=request.access,
                create=request.creates,
                options=request.options,
                attributes=request.named.attributes,
                class_name=request.class_name.text if request.class_name is not None else "",
                security_descriptor=request.named.descriptor if request.creates else None,
                transaction=transaction,
            ),
        )
        if result.status == NTSTATUS.REPARSE:
            self.reparse = result.reparse
            return result.status
        if result.key is None:
            return result.status
        made = engine.keys.create(result.key, caller.process, transaction, transaction_object)
        if request.disposition_at:
            try:
                engine.memory.put_u32(request.disposition_at, result.disposition)
            except GuestFault:
                engine.keys.release(made)
                if not who.user:
                    raise
                return NTSTATUS.ACCESS_VIOLATION
        self._made = made
        self._address, self._access = made.address, result.granted_access
        if notice is not None:
            notice.put_result(made.address, result.granted_access)
        return result.status

    def opened(self, status: int) -> Opened | None:
        """What the requester gets after all callbacks had their say. Raises `ServiceFailure`."""
        keys, objects = self._engine.keys, self._engine.objects
        obj = objects.at(self._address) if self._address else None
        if status & _FAILURE_BIT:
            # A callback that turned success into failure and left the object is not followed blindly: the
            # system's reference is dropped here (regfltr clears the members when it has done so itself).
            if obj is not None and obj.type is keys.type:
                objects.dereference(obj)
            return None
        if not self._address:
            raise ServiceFailure(NTSTATUS.OBJECT_NAME_NOT_FOUND)
        if obj is None:
            self._engine.machine.bugcheck(
                _REFERENCE_BY_POINTER,
                0,
                self._address,
                2,
                reason="a registry callback left something that is no object in *ResultObject",
            )
        if obj.type is not keys.type:
            objects.dereference(obj)
            raise ServiceFailure(NTSTATUS.OBJECT_TYPE_MISMATCH)
        return Opened(obj.body, self._access)
