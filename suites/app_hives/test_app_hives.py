"""Application hives (B-APP-01..18)."""

from __future__ import annotations

import pytest

from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Base, InnerCall, Probe
from harness.probe.event import class_name
from harness.registry.access import KEY_READ, SecurityInformation
from harness.registry.notify import Post, Pre
from harness.registry.options import KeyOptions
from harness.registry.paths import APPLICATION, REGISTRY
from harness.registry.status import NTSTATUS, nt_success
from harness.registry.valuetypes import ValueType
from harness.workload import Registry
from suites.support import MIDDLE, ODD_STATUS, behaviour, requires, shown, versions

pytestmark = [versions(since="6.0"), requires("app-hives")]


@behaviour("B-APP-01", "B-APP-10", "B-APP-11", "B-APP-12")
def test_operations_in_an_app_hive_are_reported_as_anywhere(probe: Probe, registry: Registry) -> None:
    """A missing file becomes an empty hive; no privilege is enabled for the load."""
    probe.add(MIDDLE)

    with registry.program() as p:
        hive = p.load_app_key("app.dat")
        key = p.create_key(hive / "settings")
        steps = {
            p.set_value(key, "v", "x"): (Pre.SetValueKey, Post.SetValueKey),
            p.query_value(key, "v"): (Pre.QueryValueKey, Post.QueryValueKey),
            p.enumerate_value(key, 0): (Pre.EnumerateValueKey, Post.EnumerateValueKey),
            p.enumerate_key(hive, 0): (Pre.EnumerateKey, Post.EnumerateKey),
            p.query_key(hive): (Pre.QueryKey, Post.QueryKey),
            p.flush_key(hive): (Pre.FlushKey, Post.FlushKey),
            p.delete_value(key, "v"): (Pre.DeleteValueKey, Post.DeleteValueKey),
            p.open_key(hive / "settings"): (Pre.OpenKeyEx, Post.OpenKeyEx),
            p.delete_key(key): (Pre.DeleteKey, Post.DeleteKey),
        }

    assert hive.status == NTSTATUS.SUCCESS
    assert probe.trace.of(key) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    for step, classes in steps.items():
        assert step.status == NTSTATUS.SUCCESS, step
        assert probe.trace.of(step) == list(classes), step


@behaviour("B-APP-02", "B-APP-18")
@pytest.mark.parametrize(
    "ex", [pytest.param(False, id="plain"), pytest.param(True, id="ex", marks=versions(since="6.2"))]
)
def test_its_keys_are_named_below_registry_a(probe: Probe, registry: Registry, ex: bool) -> None:
    probe.add(MIDDLE).on(Pre.SetValueKey, value="tell-me").fetch_name(ex=ex)

    with registry.program() as p:
        hive = p.load_app_key("app.dat")
        at_root = p.set_value(hive, "tell-me", "x")
        below = p.set_value(p.create_key(hive / "settings"), "tell-me", "x")

    root = probe.trace.of(at_root).actions[0].key_name
    name = probe.trace.of(below).actions[0].key_name
    assert APPLICATION.contains(root)
    assert len(root.split("\\")) == 4, "\\REGISTRY\\A\\<name>"
    assert name.lower() == f"{root}\\settings".lower()


@behaviour("B-APP-03", "B-APP-18")
def test_it_can_not_be_opened_by_its_absolute_name(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    """Neither by the process that loaded it nor by a driver."""
    probe.add(MIDDLE).on(Pre.SetValueKey, value="tell-me").fetch_name()
    with registry.program() as p:
        hive = p.load_app_key("app.dat", name="regfilterharness-known")
        p.create_key(hive / "settings")
        step = p.set_value(hive, "tell-me", "x")
        name = APPLICATION / "regfilterharness-known"
        by_name = [p.open_key(path, access=KEY_READ) for path in (name, name / "settings")]
        at_top = p.open_key(APPLICATION, access=KEY_READ)

    assert probe.trace.of(step).actions[0].key_name.lower() == str(name).lower()
    assert [each.status for each in by_name] == [NTSTATUS.ACCESS_DENIED] * 2
    record("B-APP-03 opening \\REGISTRY\\A", at_top.status_name)


@behaviour("B-APP-03", "B-APP-04")
def test_a_filter_can_not_open_it_by_name_either(probe: Probe, registry: Registry, record: Recorder) -> None:
    """From inside pre open: the absolute name is denied, relative to the key's object it works."""
    name = APPLICATION / "regfilterharness-inner"
    filter_ = probe.add(MIDDLE)
    rule = filter_.on(Pre.SetValueKey, value="try")
    rule.call(InnerCall.OPEN_KEY, name / "settings")
    rule.call(InnerCall.OPEN_KEY, "settings", base=Base.SUBJECT)

    with registry.program() as p:
        hive = p.load_app_key("app.dat", name=name.name)
        p.create_key(hive / "settings")
        step = p.set_value(hive, "try", "x")

    absolute, relative = probe.trace.of(step).actions
    assert absolute.status == NTSTATUS.ACCESS_DENIED
    assert relative.status == NTSTATUS.SUCCESS


@behaviour("B-APP-04")
def test_relative_to_the_registry_object(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        hive = p.load_app_key("app.dat", name="regfilterharness-relative")
        root = p.open_key(REGISTRY, access=KEY_READ)
        step = p.open_key(root / "A" / "regfilterharness-relative", access=KEY_READ)

    assert hive.succeeded
    assert root.succeeded
    assert probe.trace.of(step).pre[:1] == [Pre.OpenKeyEx]
    record("B-APP-04 relative to \\REGISTRY", step.status_name)


@behaviour("B-APP-05")
def test_absolute_names_during_the_load(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        load = p.load_app_key("app.dat")

    assert load.succeeded
    assert len(probe.trace.of(load).by(Pre.LoadKey)) == 1
    names = [(class_name(e.notify_class), e.name) for e in probe.trace.of(load) if e.name]
    record("B-APP-05 names shown during the load", names)


@behaviour("B-APP-06")
def test_its_content_is_not_listed(registry: Registry) -> None:
    with registry.program() as p:
        p.load_app_key("app.dat", name="regfilterharness-hidden")
        root = p.open_key(REGISTRY, access=KEY_READ)
        listed = p.enumerate_keys(root, 16)
        inside = p.open_key(root / "A", access=KEY_READ)
        below = p.enumerate_keys(inside, 16)

    assert "regfilterharness-hidden" not in [*listed.names, *below.names]


@behaviour("B-APP-07")
def test_the_last_close_unloads_it(probe: Probe, registry: Registry, record: Recorder) -> None:
    """The file can be loaded exclusively again, and what was written is in it."""
    probe.add(MIDDLE)

    with registry.program() as p:
        hive = p.load_app_key("app.dat", exclusive=True)
        p.set_value(hive, "v", "kept")
        close = p.close(hive)
        again = p.load_app_key("app.dat", exclusive=True)
        read = p.query_value(again, "v")

    assert again.status == NTSTATUS.SUCCESS
    assert read.text == "kept"
    unloads = probe.trace.of(close).by(Pre.UnLoadKey, Post.UnLoadKey)
    record("B-APP-07 unload notifications", shown(unloads))


@behaviour("B-APP-07")
def test_a_handle_of_a_subkey_keeps_it(registry: Registry) -> None:
    with registry.program() as p:
        hive = p.load_app_key("app.dat", exclusive=True)
        key = p.create_key(hive / "settings")
        p.close(hive)
        write = p.set_value(key, "v", "x")

    assert write.status == NTSTATUS.SUCCESS


@behaviour("B-APP-08")
def test_security_can_not_be_changed(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        hive = p.load_app_key("app.dat")
        key = p.create_key(hive / "settings")
        step = p.set_security(key, SecurityInformation.DACL, sddl="D:(A;;KA;;;WD)")

    assert step.status == NTSTATUS.ACCESS_DENIED
    seen = [(class_name(e.notify_class), hex(e.status)) for e in probe.trace.of(step)]
    record("B-APP-08 notifications of the refused change", seen)


@behaviour("B-APP-08")
def test_one_descriptor_for_the_whole_hive(registry: Registry) -> None:
    with registry.program() as p:
        hive = p.load_app_key("app.dat")
        key = p.create_key(p.create_key(hive / "one") / "two")
        top, below = (p.query_security(k, SecurityInformation.DACL) for k in (hive, key))

    assert top.status == below.status == NTSTATUS.SUCCESS
    assert top.output == below.output


@behaviour("B-APP-09")
def test_a_hive_with_two_descriptors_is_refused(registry: Registry, record: Recorder) -> None:
    with registry.program() as p:
        source = p.create_key(p.test_root / "source", sddl="D:P(A;;KA;;;WD)")
        p.create_key(p.test_root / "source" / "other", sddl="D:P(A;;KA;;;SY)(A;;KA;;;BA)")
        save = p.save_key(source, "mixed.dat")
        load = p.load_app_key("mixed.dat")

    assert save.status == NTSTATUS.SUCCESS
    assert not nt_success(load.status)
    record("B-APP-09 status", load.status_name)


@behaviour("B-APP-13")
@requires("two-processes")
@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "shared"])
def test_loading_it_again_in_another_process(
    probe: Probe, registry: Registry, record: Recorder, exclusive: bool
) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        first = p.load_app_key("app.dat", exclusive=exclusive)
        p.set_value(first, "v", "shared")
        with p.on(process="second"):
            second = p.load_app_key("app.dat", exclusive=exclusive)
            read = p.query_value(second, "v")

    assert first.status == NTSTATUS.SUCCESS
    if exclusive:
        assert not nt_success(second.status)
    else:
        assert second.status == NTSTATUS.SUCCESS
        assert read.text == "shared"
    record("B-APP-13 second load", (second.status_name, shown(probe.trace.of(second))))


@behaviour("B-APP-13")
def test_loading_it_again_in_the_same_process(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        first = p.load_app_key("app.dat", exclusive=True)
        second = p.load_app_key("app.dat", exclusive=True)

    assert first.succeeded
    assert [len(probe.trace.of(load).by(Pre.LoadKey)) for load in (first, second)] == [1, 1]
    record("B-APP-13 second exclusive load in one process", second.status_name)


@behaviour("B-APP-14")
def test_two_hives_in_one_process(guest: Guest, registry: Registry) -> None:
    with registry.program() as p:
        first = p.load_app_key("one.dat")
        second = p.load_app_key("two.dat")

    assert first.status == NTSTATUS.SUCCESS
    assert nt_success(second.status) == (guest.info.version.number >= (6, 2, 0))


@behaviour("B-APP-15")
def test_root_handle_of_the_load(probe: Probe, registry: Registry, record: Recorder) -> None:
    with registry.program() as p:
        p.save_key(p.create_key(p.test_root / "source"), "ordinary.dat")
    probe.add(MIDDLE)
    mount = f"\\REGISTRY\\MACHINE\\RegFilterHarness-{registry.test_root.name}"

    with registry.program() as p:
        app = p.load_app_key("app.dat")
        ordinary = p.load_key(mount, "ordinary.dat")

    assert app.succeeded
    assert ordinary.succeeded
    shown = [probe.trace.of(step).by(Pre.LoadKey)[0]["RootHandle"] != 0 for step in (app, ordinary)]
    record("B-APP-15 RootHandle given for app hive, for ordinary hive", shown)


@behaviour("B-APP-16", "B-APP-01")
def test_the_load_is_reported(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        load = p.load_app_key("app.dat")

    assert load.succeeded
    assert Pre.LoadKey in probe.trace.of(load).classes
    record("B-APP-16 load of an app hive", shown(probe.trace.of(load)))


@behaviour("B-APP-17")
def test_a_blocked_load_fails(probe: Probe, registry: Registry, record: Recorder) -> None:
    filter_ = probe.add(MIDDLE)
    rule = filter_.on(Pre.LoadKey, nth=1, count=1).block(ODD_STATUS)

    with registry.program() as p:
        refused = p.load_app_key("app.dat")
        again = p.load_app_key("app.dat")

    del rule
    assert refused.status == ODD_STATUS
    assert refused.handle == 0
    assert len(probe.trace.of(again).by(Pre.LoadKey)) == 1, "asked again, and not stopped"
    record("B-APP-17 loading the same file afterwards", again.status_name)


@behaviour("B-APP-19")
def test_a_link_inside(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        hive = p.load_app_key("app.dat")
        link = p.create_key(hive / "link", options=KeyOptions.CREATE_LINK)
        value = p.set_value(link, "SymbolicLinkValue", str(p.test_root), type=ValueType.LINK)
        through = p.open_key(hive / "link", access=KEY_READ)

    assert hive.succeeded
    assert probe.trace.of(link) == [Pre.CreateKeyEx, Post.CreateKeyEx]
    assert Pre.OpenKeyEx in probe.trace.of(through).classes
    record("B-APP-19 create, set, open", (link.status_name, value.status_name, through.status_name))


@behaviour("B-TXN-14")
@requires("transactions")
def test_a_transacted_open_inside(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        hive = p.load_app_key("app.dat")
        p.create_key(hive / "settings")
        transaction = p.create_transaction()
        step = p.open_key(hive / "settings", transaction=transaction)

    assert hive.succeeded
    assert transaction.succeeded
    (pre, *_) = probe.trace.of(step)
    assert pre.notify_class == Pre.OpenKeyEx
    assert pre.transaction != 0
    record("B-TXN-14 transacted open in an app hive", step.status_name)
