"""A filter with a resource manager of its own, and calls replayed in the requester's transaction
(B-TXN-06..09)."""

from __future__ import annotations

from harness.probe import HIGH, LOW, Probe
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS, nt_success
from harness.workload import Registry
from suites.features import Feature, Features
from suites.support import behaviour, requires, versions

pytestmark = [versions(since="6.0"), requires("transactions")]

_COMMIT = 4  # TRANSACTION_NOTIFY_COMMIT


@behaviour("B-TXN-06")
def test_an_enlisted_filter_hears_the_commit_alone(registry: Registry, features: Features) -> None:
    """The enlistment's handle stays open until the outcome, and its closing then changes nothing."""
    begun, opened, created, enlisted, _, committed, outcome, left = features.run(
        Feature.ENLIST, registry.test_root
    )

    assert (begun, opened, created, enlisted, committed) == (NTSTATUS.SUCCESS,) * 5
    assert outcome == _COMMIT
    assert left == NTSTATUS.SUCCESS, "what the transaction made is there"


@behaviour("B-TXN-07")
def test_an_enlistment_closed_too_early_ends_the_transaction(registry: Registry, features: Features) -> None:
    begun, opened, _, enlisted, _, committed, outcome, left = features.run(
        Feature.ABANDON, registry.test_root
    )

    assert (begun, opened, enlisted) == (NTSTATUS.SUCCESS,) * 3
    assert not nt_success(committed)
    assert outcome & _COMMIT == 0
    assert left == NTSTATUS.OBJECT_NAME_NOT_FOUND


@behaviour("B-TXN-08")
def test_a_replayed_create_shares_the_transaction(registry: Registry, features: Features) -> None:
    begun, opened, created, replayed, inside, ended, _, left = features.run(
        Feature.REPLAY, registry.test_root
    )

    assert (begun, opened, created, replayed) == (NTSTATUS.SUCCESS,) * 4
    assert inside == NTSTATUS.SUCCESS, "the second key is there for the transaction"
    assert (ended, left) == (NTSTATUS.SUCCESS, NTSTATUS.OBJECT_NAME_NOT_FOUND), "rolled back"
    with registry.program() as p:
        second = p.open_key(p.test_root / "modified")
    assert second.status == NTSTATUS.OBJECT_NAME_NOT_FOUND, "and so is the second key"


@behaviour("B-TXN-09")
def test_a_replayed_create_is_shown_only_below(probe: Probe, registry: Registry, features: Features) -> None:
    high, low = probe.add(HIGH), probe.add(LOW)

    features.run(Feature.REPLAY, registry.test_root)

    creates = probe.trace.by(Pre.CreateKeyEx, Post.CreateKeyEx)
    assert creates.seen_by(high) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    assert creates.seen_by(low) == [Pre.CreateKeyEx, Post.CreateKeyEx] * 2
    replayed, _, requested, _ = creates.seen_by(low)
    assert replayed.transaction != 0
    assert (replayed.name, requested.name) == ("modified", "original")
