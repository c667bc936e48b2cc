"""Operations of a program that need a file handle: save, merged save, restore; and deleting files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from harness.reference.cm.filesystem import FileError, dos_path
from harness.reference.filtering.runner_state import Prepared, Run
from harness.reference.kernel.io_manager import FileBody
from harness.reference.kernel.objects import USER_MODE
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.workload.program import Operation

__all__ = ["delete_file", "opened_file", "restored_file"]

_GENERIC_READ: Final = 0x120089
_GENERIC_WRITE: Final = 0x120116


def _handle(run: Run, path: str, access: int) -> int:
    """A file handle of the current process, as NtCreateFile of the runner gives it."""
    objects = run.engine.objects
    body = FileBody(None, access, name=path, opened=True, path=dos_path(path))
    file = objects.create(objects.types["File"], body)
    table = run.engine.machine.current.process.body.handles
    handle = objects.open_handle(file, access, table=table)
    objects.dereference(file)
    return handle


def opened_file(run: Run, operation: Operation, call: Callable[[int], int]) -> Prepared:
    """A call that writes into a new file; an existing one ends the operation (sdk regsavekeyexa)."""
    path, files = operation.file or "", run.engine.cm.files
    if files.exists(path):
        return Prepared(status=NTSTATUS.OBJECT_NAME_COLLISION)
    try:
        files.write(path, b"")
    except FileError as error:
        return Prepared(status=error.status)
    handle = _handle(run, path, _GENERIC_WRITE)
    return Prepared(lambda: call(handle), after=lambda: _close(run, handle))


def restored_file(run: Run, operation: Operation, call: Callable[[int], int]) -> Prepared:
    """A call that reads an existing file."""
    path = operation.file or ""
    if not run.engine.cm.files.exists(path):
        return Prepared(status=NTSTATUS.OBJECT_NAME_NOT_FOUND)
    handle = _handle(run, path, _GENERIC_READ)
    return Prepared(lambda: call(handle), after=lambda: _close(run, handle))


def _close(run: Run, handle: int) -> None:
    run.engine.objects.close(handle, USER_MODE)


def delete_file(run: Run, operation: Operation) -> Prepared:
    """NtDeleteFile."""

    def call() -> int:
        try:
            run.engine.cm.files.delete(operation.file or "")
        except FileError as error:
            return error.status
        return NTSTATUS.SUCCESS

    return Prepared(call)
