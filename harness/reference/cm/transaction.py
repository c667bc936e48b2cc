"""Transactions over the registry: changes stay with the transaction until it is committed.

Both kinds, KTM and the lightweight registry transactions of Windows 10 1607, behave alike here; B-TXN-13
leaves the latter open.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from harness.registry.status import NTSTATUS

from .watches import Change, changed

if TYPE_CHECKING:
    from .key import Key

__all__ = ["Transaction", "TransactionState"]


class TransactionState(enum.Enum):
    """Where a transaction is in its life."""

    ACTIVE = "active"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"


class Transaction:
    """One transaction. `commit` and `rollback` return statuses; neither causes a notification (B-TXN-05)."""

    def __init__(self, *, lightweight: bool = False) -> None:
        self.lightweight = lightweight
        self.state = TransactionState.ACTIVE
        self._keys: list[Key] = []
        #: What those who watch are to be told when it commits.
        self.changes: list[tuple[Key, Change]] = []

    @property
    def is_active(self) -> bool:
        """Whether operations can still join."""
        return self.state is TransactionState.ACTIVE

    @property
    def inactive_status(self) -> int:
        """What an operation gets that comes after the outcome (B-TXN-10 leaves the code open)."""
        return NTSTATUS.TRANSACTION_NOT_ACTIVE

    def touch(self, key: Key) -> None:
        """Remember a key this transaction has a pending state of."""
        self._keys.append(key)

    def _end(self, state: TransactionState) -> int:
        if self.state is TransactionState.COMMITTED:
            return NTSTATUS.TRANSACTION_ALREADY_COMMITTED
        if self.state is TransactionState.ROLLED_BACK:
            return NTSTATUS.TRANSACTION_ALREADY_ABORTED
        self.state = state
        for key in self._keys:
            key.settle(commit=state is TransactionState.COMMITTED)
        self._keys.clear()
        changes, self.changes = self.changes, []
        if state is TransactionState.COMMITTED:
            for key, kind in changes:
                changed(key, kind)
        return NTSTATUS.SUCCESS

    def commit(self) -> int:
        """Make all changes visible at once."""
        return self._end(TransactionState.COMMITTED)

    def rollback(self) -> int:
        """Forget all changes."""
        return self._end(TransactionState.ROLLED_BACK)

    @staticmethod
    def enter(view: Transaction | None, *keys: Key) -> int:
        """Settle conflicts before `view` (None: no transaction) changes these keys.

        Another transaction's uncommitted change is a conflict for a transaction. A change outside of any
        transaction rolls the other one back: sdk regcreatekeytransacteda says so of keys created in a
        transaction (B-TXN-11), the model does it for every key changed in one.
        """
        for key in keys:
            other = key.transaction
            if other is None or other is view:
                continue
            if view is not None:
                return NTSTATUS.TRANSACTIONAL_CONFLICT
            other.rollback()
        return NTSTATUS.SUCCESS
