"""Arguments that several operations of a program pass, laid out in user memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reference.cm.sddl import parse_sddl

if TYPE_CHECKING:
    from harness.reference.filtering.runner_state import Run
    from harness.workload.program import Operation

__all__ = ["attributes_of", "descriptor_of", "file_attributes", "input_of", "output_of"]


def descriptor_of(run: Run, operation: Operation) -> int:
    """The security descriptor an operation passes; NULL when it gives none."""
    if operation.security is not None:
        return run.memory.store(operation.security)
    if operation.sddl is not None:
        return run.memory.store(parse_sddl(operation.sddl).encode())
    return 0


def attributes_of(run: Run, operation: Operation) -> tuple[int, int]:
    """Addresses of OBJECT_ATTRIBUTES and of the name's characters."""
    name_at, buffer = run.memory.string(operation.name, operation.name_maximum)
    address = run.memory.attributes(
        name_at,
        root=run.handle(operation.root),
        attributes=operation.attributes,
        descriptor_at=descriptor_of(run, operation),
    )
    return address, buffer


def file_attributes(run: Run, file: str | None) -> int:
    """OBJECT_ATTRIBUTES of a file by its DOS path."""
    name_at, _ = run.memory.string("\\??\\" + (file or ""))
    return run.memory.attributes(name_at, attributes=0x40)


def input_of(run: Run, operation: Operation) -> tuple[int, int]:
    """Address and size of the input data as the call gets them."""
    foreign = run.foreign(operation)
    address = run.memory.data(operation.data) if foreign is None else foreign
    size = operation.data_size
    return address, len(operation.data or b"") if size is None else size


def output_of(run: Run, operation: Operation) -> tuple[int, int]:
    """Addresses of the output buffer and of ResultLength."""
    return run.output(operation), run.memory.cell()
