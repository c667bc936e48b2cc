"""What makes the native call of each operation of a program.

Each function lays out the arguments in user memory and says where the outputs will be. What the fields mean
is documented in `harness.workload.fields` and `harness.workload.opcodes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.filtering import exports_tm as tm
from harness.reference.filtering import runner_hives, runner_keys, runner_values
from harness.reference.filtering import services_key as keys
from harness.reference.filtering import services_query as queries
from harness.reference.filtering.runner_events import create_event, set_event, wait
from harness.reference.filtering.runner_files import delete_file
from harness.reference.filtering.runner_keys import enumeration, on_handle
from harness.reference.filtering.runner_objects import (
    close,
    device_control,
    duplicate_handle,
    query_object_basic,
    query_object_name,
    query_security,
    set_security,
)
from harness.reference.filtering.runner_processes import (
    allocate_memory,
    free_memory,
    impersonate,
    revert,
    terminate_process,
    write_memory,
)
from harness.reference.filtering.runner_state import Prepared, Run
from harness.workload.opcodes import Opcode

if TYPE_CHECKING:
    from harness.workload.program import Operation

__all__ = ["CALLS"]

_TRANSACTION_ALL_ACCESS: Final = 0x1F003F


def _create_transaction(run: Run, operation: Operation) -> Prepared:
    handle_at = run.memory.pointer_cell()
    return Prepared(
        lambda: tm.create_transaction(run.engine, handle_at, _TRANSACTION_ALL_ACCESS, 0),
        handle_at=handle_at,
    )


def _create_registry_transaction(run: Run, operation: Operation) -> Prepared:
    handle_at = run.memory.pointer_cell()
    return Prepared(
        lambda: tm.create_registry_transaction(run.engine, handle_at, _TRANSACTION_ALL_ACCESS, 0),
        handle_at=handle_at,
    )


def _mark(run: Run, operation: Operation) -> Prepared:
    return Prepared()


#: What executes each opcode.
CALLS: Final[dict[Opcode, Callable[[Run, Operation], Prepared]]] = {
    Opcode.CREATE_KEY: runner_keys.create_key,
    Opcode.OPEN_KEY: runner_keys.open_key,
    Opcode.CLOSE: close,
    Opcode.DELETE_KEY: on_handle(keys.delete_key),
    Opcode.SET_VALUE: runner_values.set_value,
    Opcode.DELETE_VALUE: runner_values.delete_value,
    Opcode.QUERY_VALUE: runner_values.query_value,
    Opcode.ENUMERATE_VALUE: enumeration(queries.enumerate_value_key),
    Opcode.ENUMERATE_KEY: enumeration(queries.enumerate_key),
    Opcode.QUERY_KEY: runner_keys.query_key,
    Opcode.QUERY_MULTIPLE: runner_values.query_multiple,
    Opcode.RENAME_KEY: runner_keys.rename_key,
    Opcode.SET_INFORMATION_KEY: runner_keys.set_information_key,
    Opcode.FLUSH_KEY: on_handle(keys.flush_key),
    Opcode.LOAD_KEY: runner_hives.load_key,
    Opcode.LOAD_APP_KEY: runner_hives.load_app_key,
    Opcode.UNLOAD_KEY: runner_hives.unload_key,
    Opcode.QUERY_SECURITY: query_security,
    Opcode.SET_SECURITY: set_security,
    Opcode.QUERY_OBJECT_NAME: query_object_name,
    Opcode.QUERY_OBJECT_BASIC: query_object_basic,
    Opcode.SAVE_KEY: runner_hives.save_key,
    Opcode.SAVE_MERGED: runner_hives.save_merged,
    Opcode.RESTORE_KEY: runner_hives.restore_key,
    Opcode.REPLACE_KEY: runner_hives.replace_key,
    Opcode.DUPLICATE_HANDLE: duplicate_handle,
    Opcode.DEVICE_CONTROL: device_control,
    Opcode.CREATE_TRANSACTION: _create_transaction,
    Opcode.COMMIT: on_handle(tm.commit_transaction),
    Opcode.ROLLBACK: on_handle(tm.rollback_transaction),
    Opcode.OPEN_KEY_TRANSACTED: runner_keys.open_key_transacted,
    Opcode.CREATE_KEY_TRANSACTED: runner_keys.create_key_transacted,
    Opcode.MARK: _mark,
    Opcode.CREATE_EVENT: create_event,
    Opcode.NOTIFY_CHANGE_KEY: runner_keys.notify_change_key,
    Opcode.DELETE_FILE: delete_file,
    Opcode.TERMINATE_PROCESS: terminate_process,
    Opcode.ALLOCATE_MEMORY: allocate_memory,
    Opcode.WRITE_MEMORY: write_memory,
    Opcode.FREE_MEMORY: free_memory,
    Opcode.SET_EVENT: set_event,
    Opcode.WAIT: wait,
    Opcode.CREATE_REGISTRY_TRANSACTION: _create_registry_transaction,
    Opcode.COMMIT_REGISTRY_TRANSACTION: on_handle(tm.commit_registry_transaction),
    Opcode.ROLLBACK_REGISTRY_TRANSACTION: on_handle(tm.rollback_registry_transaction),
    Opcode.IMPERSONATE: impersonate,
    Opcode.REVERT: revert,
}
