"""Which native routines a version has: what an older one lacks ends its operation as the runner in C would.

Versions: workloads by their pages ("minimum supported client"), phnt for what has no page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.workload.opcodes import Opcode

if TYPE_CHECKING:
    from harness.registry.version import WindowsVersion
    from harness.workload.program import Operation

__all__ = ["is_missing"]

_TRANSACTIONS: Final = frozenset(
    {
        Opcode.CREATE_TRANSACTION,
        Opcode.COMMIT,
        Opcode.ROLLBACK,
        Opcode.OPEN_KEY_TRANSACTED,
        Opcode.CREATE_KEY_TRANSACTED,
    }
)
_REGISTRY_TRANSACTIONS: Final = frozenset(
    {
        Opcode.CREATE_REGISTRY_TRANSACTION,
        Opcode.COMMIT_REGISTRY_TRANSACTION,
        Opcode.ROLLBACK_REGISTRY_TRANSACTION,
    }
)
_OPENS: Final = frozenset({Opcode.OPEN_KEY, Opcode.OPEN_KEY_TRANSACTED})
_WS03: Final = (5, 2, 0)
_VISTA: Final = (6, 0, 0)
_WIN7: Final = (6, 1, 0)
_WIN10_1607: Final = (10, 0, 14393)
_WIN10_2004: Final = (10, 0, 19041)


def is_missing(operation: Operation, version: WindowsVersion) -> bool:
    """Whether ntdll of that version has no such routine (STATUS_PROCEDURE_NOT_FOUND)."""
    opcode = operation.opcode
    if opcode in _OPENS and operation.options is not None and version.number < _WIN7:
        return True
    if opcode in _TRANSACTIONS:
        return not version.has_transactions
    if opcode in _REGISTRY_TRANSACTIONS:
        return version.number < _WIN10_1607
    if opcode is Opcode.LOAD_APP_KEY:
        return not version.has_app_hives
    if opcode is Opcode.LOAD_KEY:
        return _lacks_load(operation, version)
    return opcode is Opcode.UNLOAD_KEY and operation.form == 2 and version.number < _WS03


def _lacks_load(operation: Operation, version: WindowsVersion) -> bool:
    if operation.form == 4:
        return version.number < _WIN10_2004
    if operation.form == 3:  # four arguments in Windows Server 2003, eight from Vista on
        more = operation.event is not None or operation.out is not None
        return version.number < (_VISTA if more else _WS03)
    return False
