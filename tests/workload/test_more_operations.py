"""Events, change notifications, lightweight transactions, impersonation, versions: on the reference guest."""

from __future__ import annotations

import pytest

from harness.guest.base import Arch
from harness.registry.access import KEY_NOTIFY, KEY_READ, SecurityInformation
from harness.registry.status import NTSTATUS
from harness.workload import ProgramBuilder, Registry, Step

pytest.importorskip(
    "unicorn", reason="the reference guest needs unicorn: pip install regfilter-harness[reference]"
)

from harness import reference

NAME, LAST_SET, SECURITY = 1, 4, 8


def test_a_wait_ends_when_another_thread_signals(registry: Registry) -> None:
    with registry.program() as p:
        event = p.create_event()
        with p.on(thread=1, background=True):
            waited = p.wait(event)
        key = p.create_key(p.test_root / "app")
        signalled = p.set_event(event)
        p.wait_for(waited)
        late = p.wait(event, milliseconds=0)
    assert [step.status for step in (waited, signalled, late)] == [NTSTATUS.SUCCESS] * 3
    assert waited.begin < key.begin < signalled.begin <= waited.end


def test_a_wait_for_nothing_times_out(registry: Registry) -> None:
    with registry.program() as p:
        waited = p.wait(p.create_event(), milliseconds=250)
    assert waited.status == NTSTATUS.TIMEOUT
    assert waited.end - waited.begin >= 250 * 10_000


def _set_value(p: ProgramBuilder, key: Step) -> Step:
    return p.set_value(key, "v", "x")


def _create_below(p: ProgramBuilder, key: Step) -> Step:
    return p.create_key(key / "below")


def _set_security(p: ProgramBuilder, key: Step) -> Step:
    return p.set_security(key, SecurityInformation.DACL, sddl="D:(A;;KA;;;WD)")


@pytest.mark.parametrize("wanted", [NAME, LAST_SET, SECURITY])
@pytest.mark.parametrize(
    ("change", "kind"), [(_create_below, NAME), (_set_value, LAST_SET), (_set_security, SECURITY)]
)
def test_a_change_is_told_to_who_asked_for_its_kind(
    registry: Registry, change: object, kind: int, wanted: int
) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        event = p.create_event()
        asked = p.notify_change_key(key, event, wanted)
        before = p.wait(event, milliseconds=0)
        change(p, key)  # type: ignore[operator]
        after = p.wait(event, milliseconds=0)
    assert asked.status == NTSTATUS.PENDING
    assert before.status == NTSTATUS.TIMEOUT
    assert after.status == (NTSTATUS.SUCCESS if wanted == kind else NTSTATUS.TIMEOUT)


def test_a_change_in_a_transaction_is_told_at_its_commit(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        event = p.create_event()
        p.notify_change_key(key, event, LAST_SET)
        transaction = p.create_transaction()
        p.set_value(p.open_key(p.test_root / "app", transaction=transaction), "v", "x")
        before = p.wait(event, milliseconds=0)
        p.commit(transaction)
        after = p.wait(event, milliseconds=0)
    assert (before.status, after.status) == (NTSTATUS.TIMEOUT, NTSTATUS.SUCCESS)


def test_closing_the_key_ends_the_watch(registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
        key = p.open_key(p.test_root / "app", access=KEY_NOTIFY)
        event = p.create_event()
        p.notify_change_key(key, event)
        p.close(key)
        after = p.wait(event, milliseconds=0)
        denied = p.notify_change_key(p.open_key(p.test_root / "app", access=KEY_READ & ~KEY_NOTIFY), event)
        nothing = p.notify_change_key(p.open_key(p.test_root / "app"), event, 0)
    assert after.status == NTSTATUS.SUCCESS
    assert (denied.status, nothing.status) == (NTSTATUS.ACCESS_DENIED, NTSTATUS.INVALID_PARAMETER)


@pytest.mark.parametrize("commits", [True, False])
def test_a_lightweight_transaction(registry: Registry, commits: bool) -> None:
    with registry.program() as p:
        transaction = p.create_registry_transaction()
        inside = p.create_key(p.test_root / "app", transaction=transaction)
        unseen = p.open_key(p.test_root / "app")
        wrong = p.commit(transaction)
        end = p.commit_registry_transaction if commits else p.rollback_registry_transaction
        ended = end(transaction)
        after = p.open_key(p.test_root / "app")
        again = p.commit_registry_transaction(transaction)
    assert (inside.status, ended.status) == (NTSTATUS.SUCCESS, NTSTATUS.SUCCESS)
    assert unseen.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert wrong.status == NTSTATUS.OBJECT_TYPE_MISMATCH
    assert after.succeeded is commits
    assert not again.succeeded


def test_a_thread_that_impersonates_asks_with_less(registry: Registry) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app", sddl="O:BAG:BAD:P(A;;KA;;;BA)(A;;KR;;;WD)")
        with p.on(thread=1):
            p.impersonate()
            denied = p.open_key(p.test_root / "app")
            reading = p.open_key(p.test_root / "app", access=KEY_READ)
        other = p.open_key(p.test_root / "app")
        with p.on(thread=1):
            p.revert()
            again = p.open_key(p.test_root / "app")
            p.impersonate()
    with registry.program() as p, p.on(thread=1):
        reverted = p.open_key(p.test_root / "app")

    assert denied.status == NTSTATUS.ACCESS_DENIED
    assert [step.status for step in (reading, other, again, reverted)] == [NTSTATUS.SUCCESS] * 4


def test_a_hive_is_loaded_with_extended_parameters(registry: Registry) -> None:
    mount = registry.test_root.parent.parent.parent / "Extended"
    with registry.program() as p:
        event = p.create_event()
        loaded = p.load_key(mount, "extended.dat", form=4, event=event)
        before = p.wait(event, milliseconds=0)
        unloaded = p.unload_key(mount)
        after = p.wait(event, milliseconds=0)
    assert (loaded.status, unloaded.status) == (NTSTATUS.SUCCESS, NTSTATUS.SUCCESS)
    assert (before.status, after.status) == (NTSTATUS.TIMEOUT, NTSTATUS.SUCCESS)


def test_an_older_windows_lacks_newer_routines() -> None:
    with (
        reference.boot("5.1", arch=Arch.X86) as guest,
        Registry(guest) as registry,
        registry.program() as p,
    ):
        absent = [
            p.create_transaction(),
            p.create_registry_transaction(),
            p.open_key(p.test_root, options=0),
            p.load_app_key("app.dat"),
            p.load_key(p.test_root / "a", "a.dat", form=4),
            p.load_key(p.test_root / "a", "a.dat", form=3),
        ]
        there = p.open_key(p.test_root)
    assert {step.status for step in absent} == {NTSTATUS.PROCEDURE_NOT_FOUND}
    assert there.status == NTSTATUS.SUCCESS
