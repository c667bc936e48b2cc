"""Changes in transactions: isolation, commit, rollback, conflicts."""

from typing import Any

import pytest

from harness.reference.cm.manager import Caller
from harness.registry.status import NTSTATUS


def test_isolation_then_commit(machine: Any, admin: Caller) -> None:
    cm, test = machine.cm, machine.test
    cm.set_value(test, "old", 1, b"0")
    transaction = cm.begin_transaction()
    key = machine.create("new", start=test, transaction=transaction)
    cm.set_value(key, "v", 1, b"1", transaction=transaction)
    cm.set_value(test, "old", 1, b"2", transaction=transaction)
    assert machine.names(test) == []
    assert machine.names(test, transaction) == ["new"]
    assert machine.data(test, "old") == b"0"
    assert machine.data(test, "old", transaction) == b"2"
    assert machine.status("new", start=test) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert machine.parse("new", start=test, transaction=transaction).key is key
    assert cm.query_key(key, 0, 100).status == NTSTATUS.KEY_DELETED  # not there for anybody else
    assert transaction.commit() == NTSTATUS.SUCCESS
    assert machine.names(test) == ["new"]
    assert machine.data(key, "v") == b"1"
    assert machine.data(test, "old") == b"2"


def test_rollback(machine: Any, admin: Caller) -> None:
    cm, test = machine.cm, machine.test
    keep = machine.create("keep", start=test)
    drop = machine.create("drop", start=test)
    transaction = cm.begin_transaction()
    new = machine.create("new", start=test, transaction=transaction)
    assert cm.delete_key(drop, transaction=transaction) == NTSTATUS.SUCCESS
    assert cm.rename_key(keep, "renamed", caller=admin, transaction=transaction) == NTSTATUS.SUCCESS
    assert machine.names(test, transaction) == ["new", "renamed"]
    assert cm.path_of(keep).endswith(r"\keep")
    assert cm.path_of(keep, transaction).endswith(r"\renamed")
    assert transaction.rollback() == NTSTATUS.SUCCESS
    assert machine.names(test) == ["drop", "keep"]
    assert cm.query_key(new, 0, 100).status == NTSTATUS.KEY_DELETED
    assert cm.query_key(drop, 0, 100).status == NTSTATUS.SUCCESS


def test_delete_commits(machine: Any) -> None:
    key = machine.create("k", start=machine.test)
    transaction = machine.cm.begin_transaction()
    machine.cm.delete_key(key, transaction=transaction)
    assert machine.status("k", start=machine.test) == NTSTATUS.SUCCESS
    assert machine.status("k", start=machine.test, transaction=transaction) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    transaction.commit()
    assert machine.status("k", start=machine.test) == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert machine.cm.query_key(key, 0, 100).status == NTSTATUS.KEY_DELETED


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_after_the_outcome_nothing_goes_on(machine: Any, end: str) -> None:
    cm, transaction = machine.cm, machine.cm.begin_transaction()
    assert getattr(transaction, end)() == NTSTATUS.SUCCESS
    # B-TXN-10
    assert cm.set_value(machine.test, "v", 1, b"", transaction=transaction) == NTSTATUS.TRANSACTION_NOT_ACTIVE
    assert (
        cm.query_value(machine.test, "v", 2, 100, transaction=transaction).status
        == NTSTATUS.TRANSACTION_NOT_ACTIVE
    )
    assert machine.status("x", start=machine.test, transaction=transaction) == NTSTATUS.TRANSACTION_NOT_ACTIVE
    assert {transaction.commit(), transaction.rollback()} == {
        NTSTATUS.TRANSACTION_ALREADY_COMMITTED if end == "commit" else NTSTATUS.TRANSACTION_ALREADY_ABORTED
    }


def test_two_transactions_conflict_on_one_key(machine: Any) -> None:
    one, two = machine.cm.begin_transaction(), machine.cm.begin_transaction()
    assert machine.cm.set_value(machine.test, "v", 1, b"1", transaction=one) == NTSTATUS.SUCCESS
    conflict = machine.cm.set_value(machine.test, "v", 1, b"2", transaction=two)
    assert conflict == NTSTATUS.TRANSACTIONAL_CONFLICT
    assert machine.status("k", start=machine.test, create=True, transaction=two) == conflict
    one.rollback()
    assert machine.cm.set_value(machine.test, "v", 1, b"2", transaction=two) == NTSTATUS.SUCCESS
    two.commit()
    assert machine.data(machine.test, "v") == b"2"


def test_a_change_outside_rolls_the_transaction_back(machine: Any) -> None:
    transaction = machine.cm.begin_transaction()
    machine.cm.set_value(machine.test, "in", 1, b"", transaction=transaction)
    assert machine.cm.set_value(machine.test, "out", 1, b"") == NTSTATUS.SUCCESS  # B-TXN-11
    assert transaction.commit() == NTSTATUS.TRANSACTION_ALREADY_ABORTED
    assert machine.data(machine.test, "in") is None
    assert machine.data(machine.test, "out") == b""


def test_reading_outside_disturbs_nothing(machine: Any) -> None:
    transaction = machine.cm.begin_transaction()
    machine.cm.set_value(machine.test, "in", 1, b"", transaction=transaction)
    assert machine.data(machine.test, "in") is None
    assert transaction.commit() == NTSTATUS.SUCCESS


def test_uncommitted_changes_are_not_flushed_and_end_with_the_hive(machine: Any, admin: Caller) -> None:
    root = machine.load("C:\\h.dat")
    transaction = machine.cm.begin_transaction()
    machine.create("k", start=root, transaction=transaction)
    assert machine.cm.unload_key(root, caller=admin) == NTSTATUS.SUCCESS
    assert transaction.commit() == NTSTATUS.TRANSACTION_ALREADY_ABORTED
    assert machine.names(machine.load("C:\\h.dat")) == []
