"""Transacted operations (B-TXN-01..05, 10..12)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Probe, Subject
from harness.registry.access import KEY_READ
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS, nt_success
from harness.workload import Registry
from suites.support import MIDDLE, behaviour, requires, shown, versions

pytestmark = [versions(since="6.0"), requires("transactions")]


@behaviour("B-TXN-01", "B-TXN-12")
@pytest.mark.parametrize("call", ["create", "open"])
def test_a_transacted_call_shows_its_transaction(probe: Probe, registry: Registry, call: str) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    with registry.program() as p:
        transaction = p.create_transaction()
        make = p.create_key if call == "create" else p.open_key
        transacted = make(p.test_root / "app", transaction=transaction)
        plain = make(p.test_root / "app")
        p.rollback(transaction)

    classes = [Pre.CreateKeyEx, Post.CreateKeyEx] if call == "create" else [Pre.OpenKeyEx, Post.OpenKeyEx]
    assert probe.trace.of(transacted) == classes
    assert probe.trace.of(plain) == classes
    assert probe.trace.of(transacted)[0].transaction != 0
    assert probe.trace.of(plain)[0].transaction == 0


@behaviour("B-TXN-02")
def test_a_create_below_a_transacted_handle_is_part_of_it(probe: Probe, registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.CreateKeyEx, under=registry.test_root).fetch_transaction(subject=Subject.ROOT_OBJECT)

    with registry.program() as p:
        transaction = p.create_transaction()
        bound = p.open_key(p.test_root / "app", transaction=transaction)
        child = p.create_key(bound / "child")
        p.rollback(transaction)

    (opened,) = probe.trace.of(bound).by(Pre.OpenKeyEx)
    (pre,) = probe.trace.of(child).by(Pre.CreateKeyEx)
    (action,) = probe.trace.of(child).actions
    assert pre.transaction == 0
    assert action.value == opened.transaction != 0


@behaviour("B-TXN-03")
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_child_made_through_a_transacted_handle(
    probe: Probe, registry: Registry, record: Recorder, end: str
) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    with registry.program() as p:
        transaction = p.create_transaction()
        bound = p.open_key(p.test_root / "app", transaction=transaction)
        child = p.create_key(bound / "child")
        during = p.open_key(p.test_root / "app" / "child", access=KEY_READ)
        getattr(p, end)(transaction)
        after = p.open_key(p.test_root / "app" / "child", access=KEY_READ)

    assert child.succeeded
    assert probe.trace.of(child) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    record(f"B-TXN-03 {end}: opened from outside, before and after", (during.status_name, after.status_name))


@behaviour("B-TXN-04", "B-INF-15")
def test_operations_through_a_transacted_handle_belong_to_it(probe: Probe, registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE).on(Pre.SetValueKey, under=registry.test_root).fetch_transaction()

    with registry.program() as p:
        transaction = p.create_transaction()
        bound = p.open_key(p.test_root / "app", transaction=transaction)
        write = p.set_value(bound, "v", "x")
        p.rollback(transaction)
        read = p.query_value(p.open_key(p.test_root / "app"), "v")

    (action,) = probe.trace.of(write).actions
    assert action.value != 0
    assert read.status == NTSTATUS.OBJECT_NAME_NOT_FOUND, "rolled back"


@behaviour("B-TXN-04")
def test_a_commit_makes_it_visible(registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
        transaction = p.create_transaction()
        bound = p.open_key(p.test_root / "app", transaction=transaction)
        p.set_value(bound, "v", "x")
        commit = p.commit(transaction)
        read = p.query_value(p.open_key(p.test_root / "app"), "v")

    assert commit.status == NTSTATUS.SUCCESS
    assert read.text == "x"


@behaviour("B-TXN-05")
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_the_end_of_a_transaction_has_no_class(
    probe: Probe, registry: Registry, record: Recorder, end: str
) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        transaction = p.create_transaction()
        key = p.create_key(p.test_root / "app", transaction=transaction)
        step = getattr(p, end)(transaction)

    assert step.status == NTSTATUS.SUCCESS
    assert probe.trace.of(key) == [Pre.CreateKeyEx, Post.CreateKeyEx], "what came before was seen"
    record(f"B-TXN-05 {end}", shown(probe.trace.of(step)))


@behaviour("B-TXN-10")
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_the_handle_after_the_end(probe: Probe, registry: Registry, record: Recorder, end: str) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        transaction = p.create_transaction()
        key = p.create_key(p.test_root / "app", transaction=transaction)
        getattr(p, end)(transaction)
        step = p.set_value(key, "v", "x")

    assert not nt_success(step.status)
    assert probe.trace.of(key) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    record(f"B-TXN-10 {end}", (step.status_name, shown(probe.trace.of(step))))


@behaviour("B-TXN-11")
@pytest.mark.parametrize("access", ["read", "write"])
def test_an_operation_from_outside(probe: Probe, registry: Registry, record: Recorder, access: str) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    with registry.program() as p:
        transaction = p.create_transaction()
        bound = p.open_key(p.test_root / "app", transaction=transaction)
        inside = p.set_value(bound, "v", "inside")
        outside = p.open_key(p.test_root / "app")
        step = p.query_value(outside, "v") if access == "read" else p.set_value(outside, "v", "outside")
        commit = p.commit(transaction)

    assert inside.succeeded
    assert outside.succeeded
    pre, post = (
        (Pre.QueryValueKey, Post.QueryValueKey) if access == "read" else (Pre.SetValueKey, Post.SetValueKey)
    )
    assert probe.trace.of(step) == [pre, post]
    record(f"B-TXN-11 {access}: the operation, the commit", (step.status_name, commit.status_name))


@behaviour("B-TXN-13")
@versions(since="10.0.14393")
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_lightweight_transaction_is_delivered_like_another(
    probe: Probe, registry: Registry, record: Recorder, end: str
) -> None:
    """What Transaction and CmGetBoundTransaction hold for it is on no page; nothing looks into it here."""
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.SetValueKey, under=registry.test_root).fetch_transaction()

    with registry.program() as p:
        transaction = p.create_registry_transaction()
        key = p.create_key(p.test_root / "app", transaction=transaction)
        write = p.set_value(key, "v", "x")
        before = p.open_key(p.test_root / "app", access=KEY_READ)
        finish = p.commit_registry_transaction if end == "commit" else p.rollback_registry_transaction
        ended = finish(transaction)
        after = p.open_key(p.test_root / "app", access=KEY_READ)

    assert [step.status for step in (transaction, key, write, ended)] == [NTSTATUS.SUCCESS] * 4
    assert before.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert after.status == (NTSTATUS.SUCCESS if end == "commit" else NTSTATUS.OBJECT_NAME_NOT_FOUND)
    assert probe.trace.of(key) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    assert probe.trace.of(write) == [Pre.SetValueKey, Post.SetValueKey]
    assert probe.trace.of(ended) == [], "no class for it (B-TXN-05)"
    (bound,) = probe.trace.of(write).actions
    record(f"B-TXN-13 {end}: Transaction of the create is NULL", probe.trace.of(key)[0].transaction == 0)
    record(f"B-TXN-13 {end}: CmGetBoundTransaction gives NULL", bound.value == 0)
