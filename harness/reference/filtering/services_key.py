"""System services that change, flush or watch a key that exists.

Sources: nf-wdm-zwdeletekey, nf-winternl-ntrenamekey, nf-winternl-ntsetinformationkey, nf-wdm-zwflushkey,
sdk regnotifychangekeyvalue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.cm.watches import watch
from harness.reference.filtering.request import InputData, Requester, ServiceFailure, service
from harness.reference.kernel.objects import KernelObject
from harness.registry.access import (
    DELETE,
    KEY_CREATE_SUB_KEY,
    KEY_NOTIFY,
    KEY_SET_VALUE,
    READ_CONTROL,
)
from harness.registry.notify import Operation
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.filtering.engine import FilterEngine

__all__ = [
    "delete_key",
    "flush_key",
    "notify_change_key",
    "rename_key",
    "set_information_key",
]

#: NtRenameKey needs the right to write the key (workloads: KEY_WRITE).
_RENAME: Final = READ_CONTROL | KEY_SET_VALUE | KEY_CREATE_SUB_KEY
#: REG_LEGAL_CHANGE_FILTER, and REG_NOTIFY_THREAD_AGNOSTIC of Windows 8 beside it.
_ANY_CHANGE: Final = 0xF
_THREAD_AGNOSTIC: Final = 0x10000000
_EVENT_MODIFY_STATE: Final = 2


@service
def delete_key(engine: FilterEngine, handle: int) -> int:
    """NtDeleteKey."""
    with Requester(engine).holding(handle, DELETE) as key:
        return engine.run(
            Operation.DELETE_KEY,
            key,
            lambda _: (key.address,),
            lambda: engine.cm.delete_key(key.key, transaction=key.transaction),
        )


@service
def flush_key(engine: FilterEngine, handle: int) -> int:
    """NtFlushKey. Any right on the handle will do (nf-wdm-zwflushkey)."""
    with Requester(engine).holding(handle, 0) as key:
        return engine.run(
            Operation.FLUSH_KEY, key, lambda _: (key.address,), lambda: engine.cm.flush_key(key.key)
        )


@service
def rename_key(engine: FilterEngine, handle: int, name_at: int) -> int:
    """NtRenameKey. NewName is the new last component (B-HIV-22)."""
    who = Requester(engine)
    with who.holding(handle, _RENAME) as key:
        name = who.string(name_at)

        def head(scratch: Scratch) -> tuple[int, ...]:
            return key.address, who.show_string(scratch, name, captured=False)

        def perform() -> int:
            engine.keys.names_version += 1
            return engine.cm.rename_key(key.key, name.text, caller=who.caller(), transaction=key.transaction)

        return engine.run(Operation.RENAME_KEY, key, head, perform)


@service
def set_information_key(engine: FilterEngine, handle: int, info_class: int, data_at: int, length: int) -> int:
    """NtSetInformationKey."""
    who = Requester(engine)
    with who.holding(handle, KEY_SET_VALUE) as key:
        data = InputData(who, data_at, length, alignment=4)

        def head(scratch: Scratch) -> tuple[int, ...]:
            return key.address, info_class, data.show(scratch), length

        @who.fault_is_status
        def perform() -> int:
            return engine.cm.set_information(key.key, info_class, data.read(), transaction=key.transaction)

        return engine.run(Operation.SET_INFORMATION_KEY, key, head, perform)


@service
def notify_change_key(engine: FilterEngine, handle: int, event: int, wanted: int) -> int:
    """NtNotifyChangeKey, asynchronous, of one key without what is below; no class exists for it (B-HIV-23).

    The event is signalled at the first change, or when the key is closed (sdk regnotifychangekeyvalue). That
    Windows XP goes on telling as long as the handle is there, and that the end of the asking thread signals
    the event, is not modelled.
    """
    who = Requester(engine)
    objects = engine.objects
    with who.holding(handle, KEY_NOTIFY) as key:
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
