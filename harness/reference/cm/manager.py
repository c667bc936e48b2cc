"""The configuration manager: every registry operation on resolved keys and plain values.

The caller (the native services) has resolved handles, checked the handle's granted access, delivered
notifications and marshalled memory. Operations take keys and Python values, return statuses and never raise
for what a registry call can meet.

Create and open: `parse` once per call of the key type's parse routine; on REPARSE restart at `root` with the
path it names. Every key object made for a key is counted with `opened` and `closed`.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.registry.version import WindowsVersion

from .filesystem import FileSystem
from .information import QueryResult
from .operations import KeyOperations
from .parsing import Parsing
from .requests import (
    KERNEL,
    Caller,
    LoadResult,
    MultipleResult,
    ParseRequest,
    ParseResult,
    SaveResult,
    ValueEntry,
)
from .transaction import Transaction
from .transfer import HiveTransfer
from .tree import populate

__all__ = [
    "KERNEL",
    "Caller",
    "ConfigurationManager",
    "LoadResult",
    "MultipleResult",
    "ParseRequest",
    "ParseResult",
    "QueryResult",
    "SaveResult",
    "ValueEntry",
]


class ConfigurationManager(KeyOperations, Parsing, HiveTransfer):
    """The registry of one machine, filled with a small realistic tree."""

    def __init__(
        self,
        version: WindowsVersion,
        *,
        files: FileSystem | None = None,
        pointer_size: int = 8,
        clock: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(version, files=files, pointer_size=pointer_size, clock=clock)
        populate(self)

    def begin_transaction(self, *, lightweight: bool = False) -> Transaction:
        """A new transaction, KTM or (NtCreateRegistryTransaction) lightweight."""
        return Transaction(lightweight=lightweight)
