"""System services on hives: load, unload, save, save merged, restore, replace.

Sources: sdk regloadkeya, regloadappkeya, regunloadkeya, regsavekeyexa, regrestorekeya, regreplacekeya;
ns-wdm-_reg_load_key_information, ns-wdm-_reg_unload_key_information, ns-wdm-_reg_save_key_information and
siblings. The native prototypes are those of the public phnt headers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reference.cm.filesystem import FileError
from harness.reference.faults import GuestFault
from harness.reference.filtering.attributes import Named, capture, start_of_path
from harness.reference.filtering.request import CountedString, Requester, ServiceFailure, service
from harness.reference.filtering.services_open import internal_open
from harness.reference.kernel.objects import KernelObject
from harness.registry.notify import Operation
from harness.registry.options import REG_FORCE_UNLOAD, LoadFlags, SaveFormat
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.reference.arenas import Scratch
    from harness.reference.filtering.engine import FilterEngine
    from harness.reference.filtering.keyobject import KeyObject

__all__ = ["load_key", "replace_key", "restore_key", "save_key", "save_merged_keys", "unload_key"]

_FAILURE_BIT: Final = 0x80000000
_FILE_READ_DATA: Final = 1
_FILE_WRITE_DATA: Final = 2
_EVENT_MODIFY_STATE: Final = 2


@service
def load_key(
    engine: FilterEngine,
    target_at: int,
    source_at: int,
    flags: int = 0,
    trust_handle: int = 0,
    event_handle: int = 0,
    access: int = 0,
    root_handle_at: int = 0,
) -> int:
    """NtLoadKey, NtLoadKey2 (flags) and NtLoadKeyEx (all of it).

    The name of the mount point is not parsed: Object is the object of RootDirectory, NULL for an absolute
    name (B-OBJ-10). RootHandle is shown as the requester's pointer.
    """
    who = Requester(engine)
    objects = engine.objects
    if root_handle_at:
        who.probe_write(root_handle_at, engine.memory.pointer_size, engine.memory.pointer_size)
    target = capture(who, target_at)
    source: Named | None = None
    trust: KeyObject | None = None
    event: KernelObject | None = None
    try:
        source = capture(who, source_at)
        trust = who.key(trust_handle, 0) if trust_handle else None
        event = _event(who, event_handle)
        start, relative = start_of_path(who, target)
        root_at = root_handle_at if flags & LoadFlags.APP_HIVE else 0
        made: list[KeyObject] = []

        def head(scratch: Scratch) -> tuple[int, ...]:
            assert source is not None
            return (
                target.root.address if target.root is not None else 0,
                who.show_string(scratch, target.name, captured=False),
                who.show_string(scratch, source.name, captured=True),
                flags,
                trust.address if trust is not None else 0,
                event.address if event is not None else 0,
                access,
                root_at,
            )

        def perform() -> int:
            assert source is not None
            caller = who.caller(target.attributes)
            result = engine.cm.load_key(
                start.key,
                relative,
                source.name.text,
                flags,
                caller=caller,
                desired_access=access,
                security_descriptor=target.descriptor,
            )
            if result.status & _FAILURE_BIT:
                return result.status
            if event is not None and result.hive is not None:
                engine.watch_unload(result.hive, event)
            if root_handle_at and result.root is not None:
                made.append(engine.keys.create(result.root, caller.process))
                return _give_handle(who, made[0], result.granted_access, root_handle_at, result.status)
            return result.status

        status = engine.run(Operation.LOAD_KEY, target.root, head, perform, post_object=False)
        for key in made:
            engine.keys.release(key)
        return status
    finally:
        target.release(who)
        if source is not None:
            source.release(who)
        if trust is not None:
            engine.keys.release(trust)
        if event is not None:
            objects.dereference(event)


def _give_handle(who: Requester, key: KeyObject, access: int, handle_at: int, status: int) -> int:
    objects = who.engine.objects
    assert key.object is not None
    handle = objects.open_handle(key.object, access, table=objects.table_for(0, who.mode))
    try:
        who.memory.put_ptr(handle_at, handle)
    except GuestFault:
        objects.close(handle, who.mode)
        if not who.user:
            raise
        return NTSTATUS.ACCESS_VIOLATION
    return status


def _event(who: Requester, handle: int) -> KernelObject | None:
    """The event of a handle with a reference; None for NULL."""
    if not handle:
        return None
    objects = who.engine.objects
    found = objects.resolve(handle, objects.types.get("Event"), _EVENT_MODIFY_STATE, who.mode)
    if not isinstance(found, KernelObject):
        raise ServiceFailure(found)
    objects.reference(found)
    return found


@service
def unload_key(engine: FilterEngine, target_at: int, flags: int = 0, event_handle: int = 0) -> int:
    """NtUnloadKey, NtUnloadKey2 (flags) and NtUnloadKeyEx (event).

    The hive's root is opened first, with the notifications of an open, and closed last (B-HIV-08). An event
    asks for a late unload; the model unloads at once or fails, and signals it on success.
    """
    who = Requester(engine)
    if flags & ~REG_FORCE_UNLOAD:
        raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)
    target = capture(who, target_at, with_descriptor=False)
    event: KernelObject | None = None
    key: KeyObject | None = None
    try:
        event = _event(who, event_handle)
        key = internal_open(who, target)
        opened = key

        def head(_: Scratch) -> tuple[int, ...]:
            return opened.address, event.address if event is not None else 0

        def perform() -> int:
            hive = opened.key.hive
            status = engine.cm.unload_key(
                opened.key,
                caller=who.caller(target.attributes),
                force=bool(flags & REG_FORCE_UNLOAD),
                own_references=1,
            )
            if not status & _FAILURE_BIT:
                if event is not None:
                    engine.watch_unload(hive, event)
                engine.unloaded(hive)
            return status

        return engine.run(Operation.UNLOAD_KEY, key, head, perform)
    finally:
        if key is not None:
            engine.keys.release(key)
        target.release(who)
        if event is not None:
            engine.objects.dereference(event)


def _file(who: Requester, handle: int, access: int) -> str:
    """The DOS path of an open file. Raises `ServiceFailure`."""
    objects = who.engine.objects
    found = objects.resolve(handle, objects.types["File"], access, who.mode)
    if not isinstance(found, KernelObject):
        raise ServiceFailure(found)
    path: str = found.body.path
    if not path:
        raise ServiceFailure(NTSTATUS.INVALID_PARAMETER)
    return path


def _write(who: Requester, handle: int, data: bytes) -> int:
    try:
        who.engine.cm.files.write(_file(who, handle, _FILE_WRITE_DATA), data)
    except FileError as error:
        return error.status
    except ServiceFailure as failure:
        return failure.status
    return NTSTATUS.SUCCESS


@service
def save_key(engine: FilterEngine, handle: int, file_handle: int, format_: int = SaveFormat.STANDARD) -> int:
    """NtSaveKey (shown as the standard format, B-HIV-12) and NtSaveKeyEx. Needs SeBackupPrivilege."""
    who = Requester(engine)
    with who.holding(handle, 0) as key:

        def perform() -> int:
            result = engine.cm.save_key(key.key, format_, caller=who.caller())
            if result.status & _FAILURE_BIT:
                return result.status
            return _write(who, file_handle, result.data)

        return engine.run(Operation.SAVE_KEY, key, lambda _: (key.address, file_handle, format_), perform)


@service
def save_merged_keys(engine: FilterEngine, high_handle: int, low_handle: int, file_handle: int) -> int:
    """NtSaveMergedKeys. Object is NULL, before and after (B-OBJ-08, B-OBJ-09)."""
    who = Requester(engine)
    with who.holding(high_handle, 0) as high, who.holding(low_handle, 0) as low:

        def perform() -> int:
            result = engine.cm.save_merged_keys(high.key, low.key, caller=who.caller())
            if result.status & _FAILURE_BIT:
                return result.status
            return _write(who, file_handle, result.data)

        def head(_: Scratch) -> tuple[int, ...]:
            return 0, file_handle, high.address, low.address

        return engine.run(Operation.SAVE_MERGED_KEY, None, head, perform)


@service
def restore_key(engine: FilterEngine, handle: int, file_handle: int, flags: int) -> int:
    """NtRestoreKey. Needs SeRestorePrivilege."""
    who = Requester(engine)
    with who.holding(handle, 0) as key:

        def perform() -> int:
            try:
                data = engine.cm.files.read(_file(who, file_handle, _FILE_READ_DATA))
            except FileError as error:
                return error.status
            except ServiceFailure as failure:
                return failure.status
            return engine.cm.restore_key(key.key, data, flags, caller=who.caller())

        return engine.run(Operation.RESTORE_KEY, key, lambda _: (key.address, file_handle, flags), perform)


@service
def replace_key(engine: FilterEngine, new_file_at: int, handle: int, old_file_at: int) -> int:
    """NtReplaceKey: the exchange happens at the next boot (B-HIV-13)."""
    who = Requester(engine)
    with who.holding(handle, 0) as key:
        new_file = _file_name(who, new_file_at)
        old_file = _file_name(who, old_file_at)

        def head(scratch: Scratch) -> tuple[int, ...]:
            return (
                key.address,
                who.show_string(scratch, old_file, captured=True),
                who.show_string(scratch, new_file, captured=True),
            )

        def perform() -> int:
            return engine.cm.replace_key(key.key, new_file.text, old_file.text, caller=who.caller())

        return engine.run(Operation.REPLACE_KEY, key, head, perform)


def _file_name(who: Requester, attributes_at: int) -> CountedString:
    named = capture(who, attributes_at, with_descriptor=False)
    named.release(who)
    return named.name
