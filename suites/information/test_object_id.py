"""CmCallbackGetKeyObjectID and its Ex form (B-INF-01..14)."""

from __future__ import annotations

import pytest

from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Probe, RuleBuilder
from harness.registry.notify import NotifyClass, Pre
from harness.registry.paths import same_path
from harness.registry.status import NTSTATUS, nt_success, status_name
from harness.workload import Registry
from suites.support import MIDDLE, behaviour, versions

pytestmark = versions(since="6.0")

FORMS = [pytest.param(False, id="plain"), pytest.param(True, id="ex", marks=versions(since="6.2"))]


def fetcher(probe: Probe, registry: Registry, *classes: NotifyClass) -> RuleBuilder:
    return probe.add(MIDDLE).on(*(classes or (Pre.SetValueKey,)), under=registry.test_root)


@behaviour("B-INF-01", "B-INF-04")
@pytest.mark.parametrize("ex", FORMS)
@pytest.mark.parametrize(
    "left_out",
    [(), ("no_id",), ("no_name",), ("no_id", "no_name")],
    ids=lambda names: "+".join(names) or "both",
)
def test_identifier_and_name_may_be_left_out(
    probe: Probe, registry: Registry, ex: bool, left_out: tuple[str, ...]
) -> None:
    fetcher(probe, registry).fetch_name(ex=ex, no_id="no_id" in left_out, no_name="no_name" in left_out)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    (action,) = probe.trace.of(write).actions
    assert action.status == NTSTATUS.SUCCESS
    assert (action.value != 0) == ("no_id" not in left_out)
    if "no_name" in left_out:
        assert action.key_name == ""
    else:
        assert same_path(action.key_name, registry.test_root / "app")


@behaviour("B-INF-04", "B-VER-09")
@pytest.mark.parametrize("ex", FORMS)
@pytest.mark.parametrize("spelling", ["App", "APP", "app"])
def test_the_name_is_the_absolute_path(probe: Probe, registry: Registry, ex: bool, spelling: str) -> None:
    with registry.program() as p:
        p.create_key(p.create_key(p.test_root / "App") / "Child")
    fetcher(probe, registry).fetch_name(ex=ex)

    with registry.program() as p:
        key = p.open_key(p.open_key(p.test_root / spelling) / "child")
        write = p.set_value(key, "v", "x")

    (action,) = probe.trace.of(write).actions
    assert action.key_name.upper().startswith("\\REGISTRY\\")
    assert same_path(action.key_name, registry.test_root / "App" / "Child")


@behaviour("B-INF-03")
@pytest.mark.parametrize("ex", FORMS)
@pytest.mark.parametrize("wrong", ["cookie", "object"])
def test_wrong_arguments_are_refused(probe: Probe, registry: Registry, ex: bool, wrong: str) -> None:
    fetcher(probe, registry).fetch_name(ex=ex, bad_cookie=wrong == "cookie", bad_object=wrong == "object")

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    (action,) = probe.trace.of(write).actions
    assert action.status == NTSTATUS.INVALID_PARAMETER


@behaviour("B-INF-03")
@versions(since="6.2")
def test_flags_must_be_zero(probe: Probe, registry: Registry) -> None:
    fetcher(probe, registry).fetch_name(ex=True, bad_flags=True)

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    (action,) = probe.trace.of(write).actions
    assert action.status == NTSTATUS.INVALID_PARAMETER


@behaviour("B-INF-05")
@pytest.mark.parametrize("ex", FORMS)
def test_one_key_has_one_identifier(probe: Probe, registry: Registry, ex: bool) -> None:
    fetcher(probe, registry).fetch_name(ex=ex)

    with registry.program() as p:
        one = p.create_key(p.test_root / "one")
        again = p.open_key(p.test_root / "ONE")
        other = p.create_key(p.test_root / "other")
        steps = [p.set_value(key, "v", "x") for key in (one, again, other)]

    first, second, third = (probe.trace.of(step).actions[0].value for step in steps)
    assert first == second
    assert first != third


@behaviour("B-INF-07", "B-INF-05")
@versions(since="6.2")
def test_identifiers_of_open_keys_are_unique(probe: Probe, registry: Registry) -> None:
    fetcher(probe, registry).fetch_name(ex=True)

    with registry.program() as p:
        keys = [p.create_key(p.test_root / f"key{number}") for number in range(100)]
        keys += [p.create_key(keys[0] / f"child{number}") for number in range(50)]
        writes = [p.set_value(key, "v", "x") for key in keys]

    values = {probe.trace.of(write).actions[0].value for write in writes}
    assert len(values) == len(keys)


@behaviour("B-INF-06", "B-INF-10")
@versions(since="6.2")
def test_after_a_rename_the_identifier_stays_and_the_ex_name_is_new(probe: Probe, registry: Registry) -> None:
    fetcher(probe, registry).fetch_name(ex=True)

    with registry.program() as p:
        key = p.create_key(p.test_root / "before")
        first = p.set_value(key, "v", 1)
        p.rename_key(key, "after", expect=NTSTATUS.SUCCESS)
        second = p.set_value(key, "v", 2)

    (old,), (new,) = probe.trace.of(first).actions, probe.trace.of(second).actions
    assert old.value == new.value
    assert same_path(old.key_name, registry.test_root / "before")
    assert same_path(new.key_name, registry.test_root / "after")


@behaviour("B-INF-10", "B-INF-09")
def test_after_a_rename_the_plain_name_is_stale(probe: Probe, registry: Registry) -> None:
    """Names are left out of the filter's own look-ups, so that the rule alone asks."""
    filter_ = probe.add(MIDDLE, names=False)
    filter_.on(Pre.SetValueKey, under=registry.test_root).fetch_name()

    with registry.program() as p:
        key = p.create_key(p.test_root / "before")
        first = p.set_value(key, "v", 1)
        p.rename_key(key, "after", expect=NTSTATUS.SUCCESS)
        second = p.set_value(key, "v", 2)

    (old,), (new,) = probe.trace.of(first).actions, probe.trace.of(second).actions
    assert same_path(old.key_name, registry.test_root / "before")
    assert same_path(new.key_name, registry.test_root / "before")


@behaviour("B-INF-11")
def test_a_plain_name_first_asked_for_after_the_rename(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    filter_ = probe.add(MIDDLE, names=False)
    filter_.on(Pre.QueryKey).fetch_name()

    with registry.program() as p:
        key = p.create_key(p.test_root / "before")
        p.rename_key(key, "after", expect=NTSTATUS.SUCCESS)
        query = p.query_key(key)

    (action,) = probe.trace.of(query).actions
    assert query.succeeded
    record("B-INF-11 name", action.key_name.rpartition("\\")[2])


@behaviour("B-INF-08")
@pytest.mark.parametrize("ex", FORMS)
def test_the_identifier_after_reopening(probe: Probe, registry: Registry, record: Recorder, ex: bool) -> None:
    fetcher(probe, registry).fetch_name(ex=ex)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        first = p.set_value(key, "v", 1)
        p.close(key)
        again = p.open_key(p.test_root / "app")
        second = p.set_value(again, "v", 2)

    (one,), (two,) = probe.trace.of(first).actions, probe.trace.of(second).actions
    assert nt_success(one.status)
    assert nt_success(two.status)
    record("B-INF-08 the same after the last handle was closed", one.value == two.value)


@behaviour("B-INF-09")
def test_the_plain_name_stays_where_it_is(probe: Probe, registry: Registry) -> None:
    """Two notifications of one object get the same text."""
    fetcher(probe, registry, Pre.SetValueKey, Pre.QueryKey).fetch_name()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        steps = [p.set_value(key, "v", "x"), p.query_key(key), p.set_value(key, "w", "x")]

    names = {probe.trace.of(step).actions[0].key_name for step in steps}
    assert len(names) == 1
    assert same_path(names.pop(), registry.test_root / "app")


@behaviour("B-INF-12")
@versions(since="6.2")
def test_ex_names_are_released_without_a_leak(probe: Probe, registry: Registry) -> None:
    fetcher(probe, registry).fetch_name(ex=True)
    before = probe.statistics

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        writes = [p.set_value(key, "v", number) for number in range(100)]

    assert len(probe.trace.actions) == len(writes)
    after = probe.statistics
    assert (after.pool_allocations, after.pool_bytes) == (before.pool_allocations, before.pool_bytes)


@behaviour("B-INF-13")
@pytest.mark.parametrize("ex", FORMS)
def test_at_apc_level(probe: Probe, registry: Registry, ex: bool) -> None:
    fetcher(probe, registry).fetch_name(ex=ex, at_apc_level=True)

    with registry.program() as p:
        write = p.set_value(p.create_key(p.test_root / "app"), "v", "x")

    (action,) = probe.trace.of(write).actions
    assert action.status == NTSTATUS.SUCCESS
    assert same_path(action.key_name, registry.test_root / "app")


@behaviour("B-OBJ-05")
@pytest.mark.parametrize("ex", FORMS)
def test_the_name_of_a_key_that_is_being_closed(
    probe: Probe, registry: Registry, record: Recorder, ex: bool
) -> None:
    """In pre handle-close only; in post it is reported to be unsafe (B-OBJ-06)."""
    filter_ = probe.add(MIDDLE)
    filter_.on(Pre.KeyHandleClose, under=registry.test_root / "app").fetch_name(ex=ex)

    with registry.program() as p:
        close = p.close(p.create_key(p.test_root / "app"))

    (action,) = probe.trace.of(close).actions
    record("B-OBJ-05 status in pre handle-close", status_name(action.status))
    if action.status == NTSTATUS.SUCCESS:
        assert same_path(action.key_name, registry.test_root / "app")


@behaviour("B-INF-18", "B-INF-19", "B-VER-05")
def test_the_callback_version(guest: Guest, probe: Probe) -> None:
    expected = (1, 0) if guest.info.version.number < (6, 1, 0) else (1, 1)
    assert probe.info.callback_version == expected


@behaviour("B-INF-20")
def test_callback_version_and_structure_version(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")

    (pre,) = probe.trace.of(key).by(Pre.CreateKeyEx)
    assert key.status == NTSTATUS.SUCCESS
    slot = pre["Version"] if "Version" in pre.scalars else pre["Reserved"]
    record("B-INF-20 callback version and structure version", (probe.info.callback_version, slot))
