"""How each operation of a program becomes a native call: arguments in user memory, outputs to read back.

One function for each opcode; what the fields mean is documented in `harness.workload.fields` and
`harness.workload.opcodes`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.cm.sddl import parse_sddl
from harness.reference.filtering import exports_tm as tm
from harness.reference.filtering import services_hive as hives
from harness.reference.filtering import services_key as keys
from harness.reference.filtering import services_open as opens
from harness.reference.filtering import services_query as queries
from harness.reference.filtering import services_value as values
from harness.reference.filtering.runner_files import (
    delete_file,
    opened_file,
    restored_file,
)
from harness.reference.filtering.runner_objects import (
    allocate_memory,
    close,
    create_event,
    device_control,
    duplicate_handle,
    free_memory,
    impersonate,
    query_object_basic,
    query_object_name,
    query_security,
    revert,
    set_event,
    set_security,
    terminate_process,
    wait,
    write_memory,
)
from harness.reference.filtering.runner_state import Prepared, Run
from harness.reference.filtering.services_query_multiple import query_multiple_value_key
from harness.registry.options import LoadFlags
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation
from harness.workload.result import MultipleEntry

if TYPE_CHECKING:
    from harness.reference.filtering.engine import FilterEngine

__all__ = ["CALLS"]

_PROCESS_APPKEY: Final = 1
_TRANSACTION_ALL_ACCESS: Final = 0x1F003F
_APP_ROOT: Final = "\\REGISTRY\\A\\"


def descriptor_of(run: Run, operation: Operation) -> int:
    """The security descriptor an operation passes; NULL when it gives none."""
    if operation.security is not None:
        return run.memory.store(operation.security)
    if operation.sddl is not None:
        return run.memory.store(parse_sddl(operation.sddl).encode())
    return 0


def _attributes(run: Run, operation: Operation) -> tuple[int, int]:
    """Addresses of OBJECT_ATTRIBUTES and of the name's characters."""
    name_at, buffer = run.memory.string(operation.name, operation.name_maximum)
    address = run.memory.attributes(
        name_at,
        root=run.handle(operation.root),
        attributes=operation.attributes,
        descriptor_at=descriptor_of(run, operation),
    )
    return address, buffer


def _file_attributes(run: Run, file: str | None) -> int:
    """OBJECT_ATTRIBUTES of a file by its DOS path."""
    name_at, _ = run.memory.string("\\??\\" + (file or ""))
    return run.memory.attributes(name_at, attributes=0x40)


def _create(run: Run, operation: Operation, transaction: int | None) -> Prepared:
    attributes, name = _attributes(run, operation)
    handle_at = run.memory.pointer_cell()
    class_at = 0 if operation.class_name is None else run.memory.string(operation.class_name)[0]
    disposition_at = 0 if operation.null_result else run.memory.cell()
    return Prepared(
        lambda: opens.create_key(
            run.engine,
            handle_at,
            operation.access,
            attributes,
            operation.title_index,
            class_at,
            operation.options or 0,
            disposition_at,
            transaction,
        ),
        handle_at=handle_at,
        disposition_at=disposition_at,
        name_at=name,
    )


def _create_key(run: Run, operation: Operation) -> Prepared:
    return _create(run, operation, None)


def _create_key_transacted(run: Run, operation: Operation) -> Prepared:
    return _create(run, operation, run.handle(operation.transaction))


def _open(run: Run, operation: Operation, transaction: int | None) -> Prepared:
    attributes, name = _attributes(run, operation)
    handle_at = run.memory.pointer_cell()
    return Prepared(
        lambda: opens.open_key(
            run.engine, handle_at, operation.access, attributes, operation.options or 0, transaction
        ),
        handle_at=handle_at,
        name_at=name,
    )


def _open_key(run: Run, operation: Operation) -> Prepared:
    return _open(run, operation, None)


def _open_key_transacted(run: Run, operation: Operation) -> Prepared:
    return _open(run, operation, run.handle(operation.transaction))


def _on_handle(service: Callable[[FilterEngine, int], int]) -> Callable[[Run, Operation], Prepared]:
    """A call with nothing but a handle."""

    def prepare(run: Run, operation: Operation) -> Prepared:
        handle = run.handle(operation.handle)
        return Prepared(lambda: service(run.engine, handle))

    return prepare


def _input(run: Run, operation: Operation) -> tuple[int, int]:
    """Address and size of the input data as the call gets them."""
    foreign = run.foreign(operation)
    address = run.memory.data(operation.data) if foreign is None else foreign
    size = operation.data_size
    return address, len(operation.data or b"") if size is None else size


def _set_value(run: Run, operation: Operation) -> Prepared:
    handle = run.handle(operation.handle)
    name_at, buffer = run.memory.string(operation.value_name, operation.name_maximum)
    data_at, size = _input(run, operation)
    return Prepared(
        lambda: values.set_value_key(
            run.engine, handle, name_at, operation.title_index, operation.type, data_at, size
        ),
        input_at=data_at,
        name_at=buffer,
    )


def _delete_value(run: Run, operation: Operation) -> Prepared:
    handle = run.handle(operation.handle)
    name_at, buffer = run.memory.string(operation.value_name, operation.name_maximum)
    return Prepared(lambda: values.delete_value_key(run.engine, handle, name_at), name_at=buffer)


def _query_value(run: Run, operation: Operation) -> Prepared:
    handle = run.handle(operation.handle)
    name_at, name = run.memory.string(operation.value_name, operation.name_maximum)
    output, length_at = _output(run, operation)
    return Prepared(
        lambda: queries.query_value_key(
            run.engine, handle, name_at, operation.info_class, output, operation.length, length_at
        ),
        output_at=output,
        output_size=operation.length,
        result_length_at=length_at,
        name_at=name,
    )


def _output(run: Run, operation: Operation) -> tuple[int, int]:
    """Addresses of the output buffer and of ResultLength."""
    return run.output(operation), run.memory.cell()


_Enumeration = Callable[["FilterEngine", int, int, int, int, int, int], int]


def _enumeration(service: _Enumeration) -> Callable[[Run, Operation], Prepared]:
    def prepare(run: Run, operation: Operation) -> Prepared:
        handle = run.handle(operation.handle)
        output, length_at = _output(run, operation)
        index, info_class, length = operation.index, operation.info_class, operation.length
        return Prepared(
            lambda: service(run.engine, handle, index, info_class, output, length, length_at),
            output_at=output,
            output_size=length,
            result_length_at=length_at,
        )

    return prepare


def _query_key(run: Run, operation: Operation) -> Prepared:
    handle = run.handle(operation.handle)
    output, length_at = _output(run, operation)
    return Prepared(
        lambda: queries.query_key(
            run.engine, handle, operation.info_class, output, operation.length, length_at
        ),
        output_at=output,
        output_size=operation.length,
        result_length_at=length_at,
    )


def _query_multiple(run: Run, operation: Operation) -> Prepared:
    memory = run.memory
    handle = run.handle(operation.handle)
    count = len(operation.value_names)
    array = memory.entry_array([memory.string(name)[0] for name in operation.value_names])
    output = memory.buffer(operation.length) if operation.address is None else operation.address
    length_at = memory.ulong_cell(operation.length)
    required_at = 0 if operation.null_result else memory.cell()
    return Prepared(
        lambda: query_multiple_value_key(run.engine, handle, array, count, output, length_at, required_at),
        output_at=output,
        output_size=operation.length,
        result_length_at=required_at,
        buffer_length_at=length_at,
        entries=lambda: tuple(
            MultipleEntry(length, offset, type_) for length, offset, type_ in memory.entries(array, count)
        ),
    )


def _rename_key(run: Run, operation: Operation) -> Prepared:
    handle = run.handle(operation.handle)
    name_at, buffer = run.memory.string(operation.new_name, operation.name_maximum)
    return Prepared(lambda: keys.rename_key(run.engine, handle, name_at), name_at=buffer)


def _set_information_key(run: Run, operation: Operation) -> Prepared:
    handle = run.handle(operation.handle)
    data_at, size = _input(run, operation)
    return Prepared(
        lambda: keys.set_information_key(run.engine, handle, operation.info_class, data_at, size),
        input_at=data_at,
    )


def _notify_change_key(run: Run, operation: Operation) -> Prepared:
    handle, event = run.handle(operation.handle), run.handle(operation.event)
    return Prepared(lambda: keys.notify_change_key(run.engine, handle, event, operation.flags))


def _load_key(run: Run, operation: Operation) -> Prepared:
    target, name = _attributes(run, operation)
    source = _file_attributes(run, operation.file)
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


def _load_app_key(run: Run, operation: Operation) -> Prepared:
    """As RegLoadAppKey calls NtLoadKeyEx: a name below \\REGISTRY\\A, by default a GUID."""
    label = operation.name or f"{{{uuid.uuid4()}}}"
    name_at, buffer = run.memory.string(_APP_ROOT + label)
    target = run.memory.attributes(name_at, attributes=0x40)
    source = _file_attributes(run, operation.file)
    flags = int(LoadFlags.APP_HIVE)
    if (operation.options or 0) & _PROCESS_APPKEY:
        flags |= LoadFlags.PROCESS_PRIVATE
    handle_at = run.memory.pointer_cell()
    return Prepared(
        lambda: hives.load_key(run.engine, target, source, flags, 0, 0, operation.access, handle_at),
        handle_at=handle_at,
        name_at=buffer,
    )


def _unload_key(run: Run, operation: Operation) -> Prepared:
    target, name = _attributes(run, operation)
    flags = operation.flags if operation.form == 2 else 0
    event = run.handle(operation.event) if operation.form == 3 else 0
    return Prepared(lambda: hives.unload_key(run.engine, target, flags, event), name_at=name)


def _save_key(run: Run, operation: Operation) -> Prepared:
    key, format_ = run.handle(operation.handle), operation.format

    def call(file: int) -> int:
        if format_ is None:
            return hives.save_key(run.engine, key, file)
        return hives.save_key(run.engine, key, file, format_)

    return opened_file(run, operation, call)


def _save_merged(run: Run, operation: Operation) -> Prepared:
    high, low = run.handle(operation.handle), run.handle(operation.low_handle)
    return opened_file(run, operation, lambda file: hives.save_merged_keys(run.engine, high, low, file))


def _restore_key(run: Run, operation: Operation) -> Prepared:
    key = run.handle(operation.handle)
    return restored_file(
        run, operation, lambda file: hives.restore_key(run.engine, key, file, operation.flags)
    )


def _replace_key(run: Run, operation: Operation) -> Prepared:
    key = run.handle(operation.handle)
    new, old = _file_attributes(run, operation.file), _file_attributes(run, operation.old_file)
    return Prepared(lambda: hives.replace_key(run.engine, new, key, old))


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


def _set_security(run: Run, operation: Operation) -> Prepared:
    return set_security(run, operation, descriptor_of(run, operation))


def _mark(run: Run, operation: Operation) -> Prepared:
    return Prepared()


#: What executes each opcode.
CALLS: Final[dict[Opcode, Callable[[Run, Operation], Prepared]]] = {
    Opcode.CREATE_KEY: _create_key,
    Opcode.OPEN_KEY: _open_key,
    Opcode.CLOSE: close,
    Opcode.DELETE_KEY: _on_handle(keys.delete_key),
    Opcode.SET_VALUE: _set_value,
    Opcode.DELETE_VALUE: _delete_value,
    Opcode.QUERY_VALUE: _query_value,
    Opcode.ENUMERATE_VALUE: _enumeration(queries.enumerate_value_key),
    Opcode.ENUMERATE_KEY: _enumeration(queries.enumerate_key),
    Opcode.QUERY_KEY: _query_key,
    Opcode.QUERY_MULTIPLE: _query_multiple,
    Opcode.RENAME_KEY: _rename_key,
    Opcode.SET_INFORMATION_KEY: _set_information_key,
    Opcode.FLUSH_KEY: _on_handle(keys.flush_key),
    Opcode.LOAD_KEY: _load_key,
    Opcode.LOAD_APP_KEY: _load_app_key,
    Opcode.UNLOAD_KEY: _unload_key,
    Opcode.QUERY_SECURITY: query_security,
    Opcode.SET_SECURITY: _set_security,
    Opcode.QUERY_OBJECT_NAME: query_object_name,
    Opcode.QUERY_OBJECT_BASIC: query_object_basic,
    Opcode.SAVE_KEY: _save_key,
    Opcode.SAVE_MERGED: _save_merged,
    Opcode.RESTORE_KEY: _restore_key,
    Opcode.REPLACE_KEY: _replace_key,
    Opcode.DUPLICATE_HANDLE: duplicate_handle,
    Opcode.DEVICE_CONTROL: device_control,
    Opcode.CREATE_TRANSACTION: _create_transaction,
    Opcode.COMMIT: _on_handle(tm.commit_transaction),
    Opcode.ROLLBACK: _on_handle(tm.rollback_transaction),
    Opcode.OPEN_KEY_TRANSACTED: _open_key_transacted,
    Opcode.CREATE_KEY_TRANSACTED: _create_key_transacted,
    Opcode.MARK: _mark,
    Opcode.CREATE_EVENT: create_event,
    Opcode.NOTIFY_CHANGE_KEY: _notify_change_key,
    Opcode.DELETE_FILE: delete_file,
    Opcode.TERMINATE_PROCESS: terminate_process,
    Opcode.ALLOCATE_MEMORY: allocate_memory,
    Opcode.WRITE_MEMORY: write_memory,
    Opcode.FREE_MEMORY: free_memory,
    Opcode.SET_EVENT: set_event,
    Opcode.WAIT: wait,
    Opcode.CREATE_REGISTRY_TRANSACTION: _create_registry_transaction,
    Opcode.COMMIT_REGISTRY_TRANSACTION: _on_handle(tm.commit_registry_transaction),
    Opcode.ROLLBACK_REGISTRY_TRANSACTION: _on_handle(tm.rollback_registry_transaction),
    Opcode.IMPERSONATE: impersonate,
    Opcode.REVERT: revert,
}
