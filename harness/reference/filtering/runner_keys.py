"""Operations of a program on keys, as native calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.reference.filtering import services_key as keys
from harness.reference.filtering import services_open as opens
from harness.reference.filtering import services_query as queries
from harness.reference.filtering.runner_arguments import attributes_of, input_of, output_of
from harness.reference.filtering.runner_state import Prepared, Run

if TYPE_CHECKING:
    from harness.reference.filtering.engine import FilterEngine
    from harness.workload.program import Operation

__all__ = [
    "create_key",
    "create_key_transacted",
    "enumeration",
    "notify_change_key",
    "on_handle",
    "open_key",
    "open_key_transacted",
    "query_key",
    "rename_key",
    "set_information_key",
]


def on_handle(service: Callable[[FilterEngine, int], int]) -> Callable[[Run, Operation], Prepared]:
    """A call with nothing but a handle."""

    def prepare(run: Run, operation: Operation) -> Prepared:
        handle = run.handle(operation.handle)
        return Prepared(lambda: service(run.engine, handle))

    return prepare


def _create(run: Run, operation: Operation, transaction: int | None) -> Prepared:
    attributes, name = attributes_of(run, operation)
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


def create_key(run: Run, operation: Operation) -> Prepared:
    """NtCreateKey."""
    return _create(run, operation, None)


def create_key_transacted(run: Run, operation: Operation) -> Prepared:
    """NtCreateKeyTransacted."""
    return _create(run, operation, run.handle(operation.transaction))


def _open(run: Run, operation: Operation, transaction: int | None) -> Prepared:
    attributes, name = attributes_of(run, operation)
    handle_at = run.memory.pointer_cell()
    return Prepared(
        lambda: opens.open_key(
            run.engine, handle_at, operation.access, attributes, operation.options or 0, transaction
        ),
        handle_at=handle_at,
        name_at=name,
    )


def open_key(run: Run, operation: Operation) -> Prepared:
    """NtOpenKey, NtOpenKeyEx."""
    return _open(run, operation, None)


def open_key_transacted(run: Run, operation: Operation) -> Prepared:
    """NtOpenKeyTransacted, NtOpenKeyTransactedEx."""
    return _open(run, operation, run.handle(operation.transaction))


def query_key(run: Run, operation: Operation) -> Prepared:
    """NtQueryKey."""
    handle = run.handle(operation.handle)
    output, length_at = output_of(run, operation)
    return Prepared(
        lambda: queries.query_key(
            run.engine, handle, operation.info_class, output, operation.length, length_at
        ),
        output_at=output,
        output_size=operation.length,
        result_length_at=length_at,
    )


_Enumeration = Callable[["FilterEngine", int, int, int, int, int, int], int]


def enumeration(service: _Enumeration) -> Callable[[Run, Operation], Prepared]:
    """A call that describes a subkey or a value by its index."""

    def prepare(run: Run, operation: Operation) -> Prepared:
        handle = run.handle(operation.handle)
        output, length_at = output_of(run, operation)
        index, info_class, length = operation.index, operation.info_class, operation.length
        return Prepared(
            lambda: service(run.engine, handle, index, info_class, output, length, length_at),
            output_at=output,
            output_size=length,
            result_length_at=length_at,
        )

    return prepare


def rename_key(run: Run, operation: Operation) -> Prepared:
    """NtRenameKey."""
    handle = run.handle(operation.handle)
    name_at, buffer = run.memory.string(operation.new_name, operation.name_maximum)
    return Prepared(lambda: keys.rename_key(run.engine, handle, name_at), name_at=buffer)


def set_information_key(run: Run, operation: Operation) -> Prepared:
    """NtSetInformationKey."""
    handle = run.handle(operation.handle)
    data_at, size = input_of(run, operation)
    return Prepared(
        lambda: keys.set_information_key(run.engine, handle, operation.info_class, data_at, size),
        input_at=data_at,
    )


def notify_change_key(run: Run, operation: Operation) -> Prepared:
    """NtNotifyChangeKey."""
    handle, event = run.handle(operation.handle), run.handle(operation.event)
    return Prepared(lambda: keys.notify_change_key(run.engine, handle, event, operation.flags))
