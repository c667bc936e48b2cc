"""CmGetBoundTransaction (B-INF-15, 16)."""

from __future__ import annotations

import pytest

from harness.probe import Probe, Subject
from harness.registry.notify import NotifyClass, Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.support import MIDDLE, behaviour, requires, versions

pytestmark = [versions(since="6.0"), requires("transactions")]


@behaviour("B-INF-15", "B-TXN-04")
def test_a_transacted_handle_has_its_transaction(probe: Probe, registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.SetValueKey, under=registry.test_root).fetch_transaction()

    with registry.program() as p:
        transaction = p.create_transaction()
        bound = p.open_key(p.test_root / "app", transaction=transaction)
        plain = p.open_key(p.test_root / "app")
        through_bound = p.set_value(bound, "v", 1)
        p.rollback(transaction)
        through_plain = p.set_value(plain, "w", 2)

    (opened,) = probe.trace.of(bound).by(Pre.OpenKeyEx)
    (action,) = probe.trace.of(through_bound).actions
    assert action.value == opened.transaction != 0
    (action,) = probe.trace.of(through_plain).actions
    assert action.value == 0


@behaviour("B-INF-16", "B-OBJ-05")
@pytest.mark.parametrize("moment", [Pre.KeyHandleClose, Post.KeyHandleClose], ids=["pre", "post"])
def test_it_may_be_asked_for_while_the_key_is_closed(
    probe: Probe, registry: Registry, moment: NotifyClass
) -> None:
    filter_ = probe.add(MIDDLE)
    filter_.on(moment).fetch_transaction()

    with registry.program() as p:
        close = p.close(p.create_key(p.test_root / "app"))

    (action,) = probe.trace.of(close).actions
    assert action.status == NTSTATUS.SUCCESS
    assert action.value == 0


@behaviour("B-INF-16", "B-TXN-02")
def test_the_root_object_may_be_asked(probe: Probe, registry: Registry) -> None:
    """An untransacted create below a transacted handle: Transaction is NULL, the root's is not."""
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    filter_ = probe.add(MIDDLE)
    rule = filter_.on(Pre.CreateKeyEx, under=registry.test_root / "app")
    rule.fetch_transaction(subject=Subject.ROOT_OBJECT)

    with registry.program() as p:
        transaction = p.create_transaction()
        bound = p.open_key(p.test_root / "app", transaction=transaction)
        child = p.create_key(bound / "child")
        p.rollback(transaction)

    (pre,) = probe.trace.of(child).by(Pre.CreateKeyEx)
    (action,) = probe.trace.of(child).actions
    assert pre.transaction == 0
    assert action.value != 0
