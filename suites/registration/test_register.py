"""Registering callbacks: routines, altitudes, collisions, cookies, contexts (B-REG-01..16, 28..30)."""

from __future__ import annotations

import pytest

from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Probe, Routine
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS, nt_success, status_name
from harness.workload import Registry
from suites.support import HIGH, LOW, MIDDLE, THREE, behaviour, callers, versions

COLLISION = NTSTATUS.FLT_INSTANCE_ALTITUDE_COLLISION


@behaviour("B-REG-02", "B-REG-03", "B-VER-09", "B-INF-02")
def test_the_routines_of_this_windows_exist(guest: Guest, probe: Probe) -> None:
    version = guest.info.version
    since = {
        Routine.REGISTER_CALLBACK: (5, 1),
        Routine.UNREGISTER_CALLBACK: (5, 1),
        Routine.REGISTER_CALLBACK_EX: (6, 0),
        Routine.GET_CALLBACK_VERSION: (6, 0),
        Routine.SET_OBJECT_CONTEXT: (6, 0),
        Routine.GET_KEY_OBJECT_ID: (6, 0),
        Routine.GET_BOUND_TRANSACTION: (6, 0),
        Routine.GET_KEY_OBJECT_ID_EX: (6, 2),
        Routine.RELEASE_KEY_OBJECT_ID_EX: (6, 2),
    }
    expected = {routine for routine, first in since.items() if version.number >= first}
    assert {routine for routine in since if routine in probe.info.routines} == expected


@behaviour("B-REG-01", "B-REG-12", "B-REG-19")
@versions(since="6.0")
def test_a_registration_succeeds_with_a_cookie_and_ends_with_it(probe: Probe, registry: Registry) -> None:
    filter_ = probe.add(MIDDLE)
    assert filter_.cookie != 0

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
    assert probe.trace.of(key).seen_by(filter_) == [Pre.CreateKeyEx, Post.CreateKeyEx]

    assert filter_.remove().status == NTSTATUS.SUCCESS


@behaviour("B-REG-03", "B-REG-19", "B-REG-12", "B-REG-29")
def test_the_old_routine_registers_and_notifies_on_every_windows(probe: Probe, registry: Registry) -> None:
    legacy = probe.add(None, legacy=True)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    assert Pre.SetValueKey in probe.trace.of(write).seen_by(legacy).classes
    assert legacy.remove().status == NTSTATUS.SUCCESS


@behaviour("B-REG-04")
@versions(since="6.0")
def test_an_altitude_in_use_is_refused(probe: Probe, registry: Registry) -> None:
    first = probe.add(MIDDLE)

    assert probe.try_add(MIDDLE) == COLLISION

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")
    assert probe.trace.of(write) == [Pre.SetValueKey, Post.SetValueKey], "only one callback is registered"
    assert first.remove().status == NTSTATUS.SUCCESS


@behaviour("B-REG-06", "B-REG-04")
@versions(since="6.0")
def test_a_refused_registration_leaves_nothing_behind(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    """Whatever the reason is: nothing is called, nothing is counted, and the altitude stays whose it was."""
    owner = probe.add(MIDDLE)
    refused = {text: probe.try_add(text) for text in (MIDDLE, "no number", "") for _ in range(8)}
    failed = {text: status for text, status in refused.items() if not nt_success(status)}
    extra = [each for each in probe.filters if each is not owner]
    for each in extra:  # what an altitude that is no number gives isn't documented (B-REG-09)
        each.remove()

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    assert failed[MIDDLE] == COLLISION
    assert probe.trace.of(write) == [Pre.SetValueKey, Post.SetValueKey]
    assert {event.filter_id for event in probe.trace.of(write)} == {owner.id}
    assert probe.statistics.filters == 1
    assert owner.remove().status == NTSTATUS.SUCCESS
    assert probe.try_add(MIDDLE) == NTSTATUS.SUCCESS, "it is free once its owner is gone"
    record("B-REG-06 statuses of refused registrations", sorted(map(status_name, failed.values())))


@behaviour("B-REG-05")
@versions(since="6.0")
def test_an_altitude_is_free_again_after_its_owner_left(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE).remove()
    again = probe.add(MIDDLE)

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    assert probe.trace.of(write).seen_by(again) == [Pre.SetValueKey, Post.SetValueKey]


@behaviour("B-REG-07", "B-LAY-01")
@versions(since="6.0")
@pytest.mark.parametrize(
    "altitudes",
    [
        ("380001", "380000.5", "380000"),
        ("380000.75", "380000.5", "380000.25"),
        ("380000.1000000000000000000000000000002", "380000.1000000000000000000000000000001", "380000.1"),
        ("380000.9", "380000.89", "380000.889"),
    ],
    ids="/".join,
)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)], ids=str)
def test_a_higher_number_is_higher_in_the_stack(
    probe: Probe, registry: Registry, altitudes: tuple[str, ...], order: tuple[int, ...]
) -> None:
    """Whatever the order of registration; a fraction of any length counts."""
    added = {place: probe.add(altitudes[place]) for place in order}
    stack = [added[place] for place in range(3)]

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    assert callers(probe.trace.of(write).by(Pre.SetValueKey), *stack) == [0, 1, 2]


@behaviour("B-REG-08")
@versions(since="6.0")
def test_altitudes_compare_as_numbers(probe: Probe, registry: Registry, record: Recorder) -> None:
    """99999.7 is above 380000.7 as text and below it as a number."""
    small, large = probe.add("99999.7301"), probe.add("380000.7301")

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    order = callers(probe.trace.of(write).by(Pre.SetValueKey), large, small)
    assert sorted(order) == [0, 1]
    record("B-REG-08 order", "numeric" if order == [0, 1] else "textual")


@behaviour("B-REG-09")
@versions(since="6.0")
@pytest.mark.parametrize(
    "altitude",
    ["380010.73010", "0380010.7301", "", "abc", "-380010", "380010.7301.1", " 380010.7", "3" * 900],
    ids=lambda text: text[:16] or "empty",
)
def test_odd_altitudes(probe: Probe, record: Recorder, altitude: str) -> None:
    probe.add("380010.7301")

    status = probe.try_add(altitude)

    assert len(probe.filters) == 1 + nt_success(status), "registered exactly when the status says so"
    record(f"B-REG-09 {altitude[:16]!r}", status_name(status))


@behaviour("B-REG-11")
@versions(since="6.0")
def test_one_routine_at_three_altitudes(probe: Probe, registry: Registry) -> None:
    stack = [probe.add(altitude, shared_routine=True) for altitude in THREE]

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    assert callers(probe.trace.of(write).by(Pre.SetValueKey), *stack) == [0, 1, 2]
    for each in stack:
        assert probe.trace.of(write).seen_by(each) == [Pre.SetValueKey, Post.SetValueKey]


@behaviour("B-REG-10", "B-REG-13", "B-REG-14")
@versions(since="6.0")
def test_registrations_of_one_routine_are_told_apart(probe: Probe, registry: Registry) -> None:
    contexts = (0x1111, 0x2222_3333, 0x7FFF_FFFF)
    stack = [probe.add(a, context=c) for a, c in zip(THREE, contexts, strict=True)]
    assert len({each.cookie for each in stack}) == 3

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        steps = [p.set_value(key, "v", "x"), p.query_value(key, "v"), p.close(key)]

    for step in steps:
        for each, context in zip(stack, contexts, strict=True):
            events = probe.trace.of(step).seen_by(each)
            assert len(events) == 2
            assert {event.callback_context for event in events} == {context}


@behaviour("B-REG-13")
def test_cookies_of_many_registrations_are_distinct(guest: Guest, probe: Probe) -> None:
    if guest.info.version.has_layering:
        many = [probe.add(f"{380000 + n}.7301") for n in range(32)]
    else:
        many = [probe.add(None, legacy=True) for _ in range(8)]
    assert len({each.cookie for each in many}) == len(many)


@behaviour("B-REG-14", "B-REG-15")
@pytest.mark.parametrize("context", [0, 1, 0x7FFF_FFFF, 0xFFFF_FFFF])
@pytest.mark.parametrize("legacy", [True, False], ids=["old", "ex"])
def test_the_context_arrives_unchanged(
    guest: Guest, probe: Probe, registry: Registry, context: int, legacy: bool
) -> None:
    if not legacy and not guest.info.version.has_layering:
        pytest.skip("CmRegisterCallbackEx exists from Vista")
    filter_ = probe.add(None if legacy else MIDDLE, legacy=legacy, context=context)

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    events = probe.trace.of(write).seen_by(filter_)
    assert len(events) >= 1
    assert {event.callback_context for event in events} == {context}


@behaviour("B-REG-16")
@pytest.mark.parametrize("legacy", [True, False], ids=["old", "ex"])
def test_registering_and_unregistering_at_apc_level(
    guest: Guest, probe: Probe, registry: Registry, legacy: bool
) -> None:
    if not legacy and not guest.info.version.has_layering:
        pytest.skip("CmRegisterCallbackEx exists from Vista")
    filter_ = probe.add(None if legacy else MIDDLE, legacy=legacy, at_apc_level=True)

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    assert len(probe.trace.of(write).seen_by(filter_)) >= 1
    assert filter_.remove(at_apc_level=True).status == NTSTATUS.SUCCESS


@behaviour("B-REG-30", "B-REG-29")
@versions(since="6.0")
def test_several_old_registrations_coexist(probe: Probe, registry: Registry, record: Recorder) -> None:
    one, two = probe.add(None, legacy=True), probe.add(None, legacy=True)
    high, low = probe.add(HIGH), probe.add(LOW)

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    trace = probe.trace.of(write)
    for each in (one, two, high, low):
        assert trace.seen_by(each) == [Pre.SetValueKey, Post.SetValueKey]
    names = ("first old", "second old", HIGH, LOW)
    order = [names[n] for n in callers(trace.by(Pre.SetValueKey), one, two, high, low)]
    record("B-REG-29 B-REG-30 order from the top", order)


@behaviour("B-REG-31")
@versions(since="6.0")
@pytest.mark.parametrize("altitude", range(420000, 430000, 1000))
def test_where_an_old_registration_lies(
    probe: Probe, registry: Registry, record: Recorder, altitude: int
) -> None:
    legacy = probe.add(None, legacy=True)
    status = probe.try_add(f"{altitude}")
    if status != NTSTATUS.SUCCESS:
        record(f"B-REG-31 {altitude}", status_name(status))
        return
    other = probe.filters[-1]

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    order = callers(probe.trace.of(write).by(Pre.SetValueKey), legacy, other)
    assert sorted(order) == [0, 1]
    record(f"B-REG-31 {altitude}", "the old one is above" if order == [0, 1] else "the old one is below")


@behaviour("B-REG-17", "B-NOT-33")
def test_requests_of_user_and_kernel_are_reported(probe: Probe, registry: Registry) -> None:
    filter_ = probe.add_monitor()

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")
    call = probe.kernel_call.set_value(registry.test_root / "app", "w", b"x", work_item=True)

    assert len(probe.trace.of(write).seen_by(filter_).by(Pre.SetValueKey)) == 1
    assert len(probe.trace.of(call).seen_by(filter_).by(Pre.SetValueKey)) == 1
    assert call.process_id != write.process_id


@behaviour("B-REG-34")
@versions(since="6.0")
def test_altitudes_of_the_harness_are_fractions_in_a_range_for_tests(probe: Probe) -> None:
    """Integers are assigned; the activity monitor group ends below 390000."""
    probe.stack(*THREE)
    probe.stack(8)
    probe.add_monitor()

    for each in probe.filters:
        assert each.altitude is not None
        whole, _, fraction = each.altitude.partition(".")
        assert 360000 <= int(whole) < 390000
        assert int(fraction) > 0
