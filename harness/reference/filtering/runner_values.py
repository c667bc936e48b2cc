"""Operations of a program on values, as native calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.filtering import services_query as queries
from harness.reference.filtering import services_value as values
from harness.reference.filtering.runner_arguments import input_of, output_of
from harness.reference.filtering.runner_state import Prepared, Run
from harness.reference.filtering.services_query_multiple import query_multiple_value_key
from harness.workload.result import MultipleEntry

if TYPE_CHECKING:
    from harness.workload.program import Operation

__all__ = ["delete_value", "query_multiple", "query_value", "set_value"]


def set_value(run: Run, operation: Operation) -> Prepared:
    """NtSetValueKey."""
    handle = run.handle(operation.handle)
    name_at, buffer = run.memory.string(operation.value_name, operation.name_maximum)
    data_at, size = input_of(run, operation)
    return Prepared(
        lambda: values.set_value_key(
            run.engine, handle, name_at, operation.title_index, operation.type, data_at, size
        ),
        input_at=data_at,
        name_at=buffer,
    )


def delete_value(run: Run, operation: Operation) -> Prepared:
    """NtDeleteValueKey."""
    handle = run.handle(operation.handle)
    name_at, buffer = run.memory.string(operation.value_name, operation.name_maximum)
    return Prepared(lambda: values.delete_value_key(run.engine, handle, name_at), name_at=buffer)


def query_value(run: Run, operation: Operation) -> Prepared:
    """NtQueryValueKey."""
    handle = run.handle(operation.handle)
    name_at, name = run.memory.string(operation.value_name, operation.name_maximum)
    output, length_at = output_of(run, operation)
    return Prepared(
        lambda: queries.query_value_key(
            run.engine, handle, name_at, operation.info_class, output, operation.length, length_at
        ),
        output_at=output,
        output_size=operation.length,
        result_length_at=length_at,
        name_at=name,
    )


def query_multiple(run: Run, operation: Operation) -> Prepared:
    """NtQueryMultipleValueKey."""
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
