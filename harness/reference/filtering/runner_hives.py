"""Operations of a program with hive files, as native calls."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from harness.reference.filtering import services_hive as hives
from harness.reference.filtering.runner_arguments import attributes_of, file_attributes
from harness.reference.filtering.runner_files import opened_file, restored_file
from harness.reference.filtering.runner_state import Prepared, Run
from harness.registry.options import LoadFlags

if TYPE_CHECKING:
    from harness.workload.program import Operation

__all__ = [
    "load_app_key",
    "load_key",
    "replace_key",
    "restore_key",
    "save_key",
    "save_merged",
    "unload_key",
]

_PROCESS_APPKEY: Final = 1
_APP_ROOT: Final = "\\REGISTRY\\A\\"


def load_key(run: Run, operation: Operation) -> Prepared:
    """NtLoadKey, NtLoadKey2, NtLoadKeyEx and NtLoadKey3, by the form."""
    target, name = attributes_of(run, operation)
    source = file_attributes(run, operation.file)
    engine = run.engine
    if operation.form == 1:
        return Prepared(lambda: hives.load_key(engine, target, source), name_at=name)
    if operation.form == 2:
        return Prepared(lambda: hives.load_key(engine, target, source, operation.flags), name_at=name)
    handle_at = 0 if operation.out is None else run.memory.pointer_cell()
    trust, event = run.handle(operation.trust), run.handle(operation.event)
    return Prepared(
        lambda: hives.load_key(
            engine, target, source, operation.flags, trust, event, operation.access, handle_at
        ),
        handle_at=handle_at,
        name_at=name,
    )


def load_app_key(run: Run, operation: Operation) -> Prepared:
    """As RegLoadAppKey calls NtLoadKeyEx: a name below \\REGISTRY\\A, by default a GUID."""
    label = operation.name or f"{{{uuid.uuid4()}}}"
    name_at, buffer = run.memory.string(_APP_ROOT + label)
    target = run.memory.attributes(name_at, attributes=0x40)
    source = file_attributes(run, operation.file)
    flags = int(LoadFlags.APP_HIVE)
    if (operation.options or 0) & _PROCESS_APPKEY:
        flags |= LoadFlags.PROCESS_PRIVATE
    handle_at = run.memory.pointer_cell()
    return Prepared(
        lambda: hives.load_key(run.engine, target, source, flags, 0, 0, operation.access, handle_at),
        handle_at=handle_at,
        name_at=buffer,
    )


def unload_key(run: Run, operation: Operation) -> Prepared:
    """NtUnloadKey, NtUnloadKey2, NtUnloadKeyEx, by the form."""
    target, name = attributes_of(run, operation)
    flags = operation.flags if operation.form == 2 else 0
    event = run.handle(operation.event) if operation.form == 3 else 0
    return Prepared(lambda: hives.unload_key(run.engine, target, flags, event), name_at=name)


def save_key(run: Run, operation: Operation) -> Prepared:
    """NtSaveKey, NtSaveKeyEx."""
    key, format_ = run.handle(operation.handle), operation.format

    def call(file: int) -> int:
        if format_ is None:
            return hives.save_key(run.engine, key, file)
        return hives.save_key(run.engine, key, file, format_)

    return opened_file(run, operation, call)


def save_merged(run: Run, operation: Operation) -> Prepared:
    """NtSaveMergedKeys."""
    high, low = run.handle(operation.handle), run.handle(operation.low_handle)
    return opened_file(run, operation, lambda file: hives.save_merged_keys(run.engine, high, low, file))


def restore_key(run: Run, operation: Operation) -> Prepared:
    """NtRestoreKey."""
    key = run.handle(operation.handle)
    return restored_file(
        run, operation, lambda file: hives.restore_key(run.engine, key, file, operation.flags)
    )


def replace_key(run: Run, operation: Operation) -> Prepared:
    """NtReplaceKey."""
    key = run.handle(operation.handle)
    new, old = file_attributes(run, operation.file), file_attributes(run, operation.old_file)
    return Prepared(lambda: hives.replace_key(run.engine, new, key, old))
