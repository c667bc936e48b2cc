"""System services on keys that exist: delete, rename, query, enumerate, set information, flush.

Sources: nf-wdm-zwdeletekey, nf-winternl-ntrenamekey, nf-wdm-zwquerykey, nf-wdm-zwenumeratekey,
nf-winternl-ntsetinformationkey, nf-wdm-zwflushkey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.cm.watches import watch
from harness.reference.faults import GuestFault
from harness.reference.filtering.request import Requester, ServiceFailure, service
from harness.reference.filtering.services_value import put_query_result
from harness.reference.kernel.objects import KernelObject
from harness.registry.access import (
    DELETE,
    KEY_CREATE_SUB_KEY,
    KEY_ENUMERATE_SUB_KEYS,
    KEY_NOTIFY,
    KEY_QUERY_VALUE,
    KEY_SET_VALUE,
    READ_CONTROL,
)
from harness.registry.infoclasses import KeyInformationClass
from harness.registry.notify import Operation
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.filtering.engine import FilterEngine

__all__ = [
    "delete_key",
    "enumerate_key",
    "flush_key",
    "notify_change_key",
    "query_key",
    "rename_key",
    "set_information_key",
]

#: NtRenameKey needs the right to write the key (workloads: KEY_WRITE).
_RENAME: Final = READ_CONTROL | KEY_SET_VALUE | KEY_CREATE_SUB_KEY
#: Information about the handle or the name rather than the key needs no right (nf-wdm-zwquerykey).
_NO_RIGHT: Final = frozenset((KeyInformationClass.NAME, KeyInformationClass.HANDLE_TAGS))
#: REG_LEGAL_CHANGE_FILTER, and REG_NOTIFY_THREAD_AGNOSTIC of Windows 8 beside it.
_ANY_CHANGE: Final = 0xF
_THREAD_AGNOSTIC: Final = 0x10000000
_EVENT_MODIFY_STATE: Final = 2
_LAST_CLASS: Final = max(KeyInformationClass)


@service
def delete_key(engine: FilterEngine, handle: int) -> int:
    """NtDeleteKey."""
    key = Requester(engine).key(handle, DELETE)
    try:
        return engine.run(
            Operation.DELETE_KEY,
            key,
            lambda _: (key.address,),
            lambda: engine.cm.delete_key(key.key, transaction=key.transaction),
        )
    finally:
        engine.keys.release(key)


@service
def flush_key(engine: FilterEngine, handle: int) -> int:
    """NtFlushKey. Any right on the handle will do (nf-wdm-zwflushkey)."""
    key = Requester(engine).key(handle, 0)
    try:
        return engine.run(
            Operation.FLUSH_KEY, key, lambda _: (key.address,), lambda: engine.cm.flush_key(key.key)
        )
    finally:
        engine.keys.release(key)


@service
def rename_key(engine: FilterEngine, handle: int, name_at: int) -> int:
    """NtRenameKey. NewName is the new last component (B-HIV-22)."""
    who = Requester(engine)
    key = who.key(handle, _RENAME)
    try:
        name = who.string(name_at)

        def head(scratch: Scratch) -> tuple[int, ...]:
            return key.address, who.show_string(scratch, name, captured=False)

        def perform() -> int:
            engine.keys.names_version += 1
            return engine.cm.rename_key(key.key, name.text, caller=who.caller(), transaction=key.transaction)

        return engine.run(Operation.RENAME_KEY, key, head, perform)
    finally:
        engine.keys.release(key)


@service
def query_key(
    engine: FilterEngine, handle: int, info_class: int, buffer: int, length: int, result_length: int
) -> int:
    """NtQueryKey."""
    who = Requester(engine)
    key = who.key(handle, 0 if info_class in _NO_RIGHT else KEY_QUERY_VALUE)
    try:
        if info_class > _LAST_CLASS:
            return NTSTATUS.INVALID_PARAMETER
        who.probe_write(buffer, length, 4)
        who.probe_write(result_length, 4, 4)

        def head(_: Scratch) -> tuple[int, ...]:
            return key.address, info_class, buffer, length, result_length

        def perform() -> int:
            result = engine.cm.query_key(key.key, info_class, length, transaction=key.transaction)
            return put_query_result(who, result, buffer, result_length)

        return engine.run(Operation.QUERY_KEY, key, head, perform)
    finally:
        engine.keys.release(key)


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
    key = who.key(handle, KEY_ENUMERATE_SUB_KEYS)
    try:
        if info_class > _LAST_CLASS:
            return NTSTATUS.INVALID_PARAMETER
        who.probe_write(buffer, length, 4)
        who.probe_write(result_length, 4, 4)

        def head(_: Scratch) -> tuple[int, ...]:
            return key.address, index, info_class, buffer, length, result_length

        def perform() -> int:
            result = engine.cm.enumerate_key(key.key, index, info_class, length, transaction=key.transaction)
            return put_query_result(who, result, buffer, result_length)

        return engine.run(Operation.ENUMERATE_KEY, key, head, perform)
    finally:
        engine.keys.release(key)


@service
def set_information_key(engine: FilterEngine, handle: int, info_class: int, data_at: int, length: int) -> int:
    """NtSetInformationKey."""
    who = Requester(engine)
    key = who.key(handle, KEY_SET_VALUE)
    try:
        who.probe_read(data_at, length, 4)
        data = engine.memory.read(data_at, length) if who.captures else None

        def head(scratch: Scratch) -> tuple[int, ...]:
            return key.address, info_class, who.show_data(scratch, data_at, data), length

        def perform() -> int:
            try:
                raw = engine.memory.read(data_at, length) if data is None else data
            except GuestFault:
                if not who.user:
                    raise
                return NTSTATUS.ACCESS_VIOLATION
            return engine.cm.set_information(key.key, info_class, raw, transaction=key.transaction)

        return engine.run(Operation.SET_INFORMATION_KEY, key, head, perform)
    finally:
        engine.keys.release(key)


@service
def notify_change_key(engine: FilterEngine, handle: int, event: int, wanted: int) -> int:
    """NtNotifyChangeKey, asynchronous, of one key without what is below; no class exists for it (B-HIV-23).

    The event is signalled at the first change, or when the key is closed (sdk regnotifychangekeyvalue). That
    Windows XP goes on telling as long as the handle is there, and that the end of the asking thread signals
    the event, is not modelled.
    """
    who = Requester(engine)
    objects = engine.objects
    key = who.key(handle, KEY_NOTIFY)
    try:
        if not event or not wanted & _ANY_CHANGE or wanted & ~(_ANY_CHANGE | _THREAD_AGNOSTIC):
            raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)
        found = objects.resolve(event, objects.types.get("Event"), _EVENT_MODIFY_STATE, who.mode)
        if not isinstance(found, KernelObject):
            raise ServiceFailure(found)
        objects.reference(found)
        engine.memory.put_u32(found.address + 4, 0)

        def fired() -> None:
            engine.machine.kernel.scheduler.signal(found.address)
            objects.dereference(found)

        key.watches.append(watch(key.key, wanted, fired))
        return NTSTATUS.PENDING
    finally:
        engine.keys.release(key)
