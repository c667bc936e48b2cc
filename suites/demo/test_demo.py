"""A first tour: what a filter can see and do, from Windows XP to today, application hives included.

Read it from top to bottom. The fixtures: `probe` is the driver that registers filters, `registry` runs
programs of registry operations, `guest` says which Windows this is.
"""

from __future__ import annotations

from harness.guest import Guest
from harness.probe import InnerCall, Probe, altitudes
from harness.registry.notify import NotifyClass, Post, Pre
from harness.registry.paths import same_path
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.support import behaviour, requires, versions

CLEANUP = NotifyClass.CALLBACK_OBJECT_CONTEXT_CLEANUP


@behaviour("B-REG-03", "B-REG-26", "B-REG-27", "B-NOT-01")
def test_a_filter_is_told_before_and_after(guest: Guest, probe: Probe, registry: Registry) -> None:
    """Windows XP tells before only, but for creating and opening keys."""
    monitor = probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "colour", "blue")

    assert write.status == NTSTATUS.SUCCESS
    seen = probe.trace.of(write).seen_by(monitor)
    if guest.info.version.has_post_notifications:
        assert seen == [Pre.SetValueKey, Post.SetValueKey]
    else:
        assert seen == [Pre.SetValueKey]
    assert seen[0].name == "colour"
    assert seen[0].data == "blue\0".encode("utf-16-le")


@behaviour("B-NOT-05", "B-NOT-07")
def test_a_filter_can_say_no(probe: Probe, registry: Registry) -> None:
    monitor = probe.add_monitor()
    monitor.on(Pre.SetValueKey, under=registry.test_root, value="secret").block(NTSTATUS.ACCESS_DENIED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        secret, public = p.set_value(key, "secret", "x"), p.set_value(key, "public", "y")
        read = p.query_value(key, "secret")

    assert secret.status == NTSTATUS.ACCESS_DENIED
    assert public.status == NTSTATUS.SUCCESS
    assert read.status == NTSTATUS.OBJECT_NAME_NOT_FOUND


@behaviour("B-LAY-01", "B-LAY-03", "B-LAY-04", "B-LAY-05")
@versions(since="6.0")
def test_a_block_in_the_middle_is_seen_above_and_hidden_below(probe: Probe, registry: Registry) -> None:
    high, middle, low = probe.stack(*altitudes(3))
    middle.on(Pre.SetValueKey, under=registry.test_root, value="secret").block(NTSTATUS.ACCESS_DENIED)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "secret", "x")

    assert write.status == NTSTATUS.ACCESS_DENIED
    assert probe.trace.of(write).seen_by(high) == [Pre.SetValueKey, Post.SetValueKey]
    assert probe.trace.of(write).seen_by(middle) == [Pre.SetValueKey]
    assert probe.trace.of(write).seen_by(low) == []


@behaviour("B-NOT-09", "B-NOT-12")
@versions(since="6.0")
def test_a_filter_can_do_it_itself(probe: Probe, registry: Registry) -> None:
    """It writes another value and tells the system that all is done."""
    (filter_,) = probe.stack(*altitudes(1))
    filter_.on(Pre.SetValueKey, under=registry.test_root, value="asked").redirect("done")

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "asked", "x")
        asked, done = p.query_value(key, "asked"), p.query_value(key, "done")

    assert write.status == NTSTATUS.SUCCESS
    assert asked.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert done.text == "x"


@behaviour("B-NOT-20", "B-NOT-27")
@versions(since="6.0")
def test_a_filter_can_change_the_answer(probe: Probe, registry: Registry) -> None:
    """Output in post: the data of a partial value query begin at offset 12. And the status."""
    (filter_,) = probe.stack(*altitudes(1))
    filter_.on(Post.QueryValueKey, under=registry.test_root, value="n").edit_output(b"\x2a\0\0\0", 12)
    filter_.on(Post.DeleteValueKey, under=registry.test_root).override(NTSTATUS.SUCCESS)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "n", 7)
        read, delete = p.query_value(key, "n"), p.delete_value(key, "missing")

    assert read.dword == 42
    assert delete.status == NTSTATUS.SUCCESS


@behaviour("B-CTX-01", "B-CTX-03", "B-CTX-13", "B-CTX-14")
@versions(since="6.0")
def test_a_filter_can_remember(probe: Probe, registry: Registry) -> None:
    """From pre to post of one operation, and for the life of a key object until its cleanup."""
    (filter_,) = probe.stack(*altitudes(1))
    filter_.on(Post.CreateKeyEx, under=registry.test_root / "app").set_object_context(0x0B1EC7)
    filter_.on(Pre.SetValueKey, under=registry.test_root).set_call_context(0xCA11)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write, close = p.set_value(key, "v", "x"), p.close(key)

    pre, post = probe.trace.of(write)
    assert (pre.object_context, post.object_context) == (0x0B1EC7, 0x0B1EC7)
    assert post.call_context == 0xCA11
    assert probe.trace.of(close) == [Pre.KeyHandleClose, CLEANUP, Post.KeyHandleClose]


@behaviour("B-LAY-11", "B-LAY-14")
@versions(since="6.0")
def test_what_a_filter_does_is_seen_below_it_only(probe: Probe, registry: Registry) -> None:
    high, middle, low = probe.stack(*altitudes(3))
    inner = registry.test_root / "inner"
    middle.on(Pre.SetValueKey, under=registry.test_root).call(InnerCall.CREATE_KEY, inner)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        write = p.set_value(key, "v", "x")

    trace = probe.trace.of(write)
    assert trace.seen_by(high) == [Pre.SetValueKey, Post.SetValueKey]
    assert trace.seen_by(middle) == [Pre.SetValueKey, Post.SetValueKey]
    assert trace.seen_by(low).by(Pre.CreateKeyEx) == [Pre.CreateKeyEx]


@behaviour("B-INF-04", "B-INF-05")
@versions(since="6.0")
def test_a_filter_can_ask_which_key_it_is(probe: Probe, registry: Registry) -> None:
    (filter_,) = probe.stack(*altitudes(1))
    filter_.on(Pre.SetValueKey, under=registry.test_root).fetch_name()

    with registry.program() as p:
        key = p.create_key(p.create_key(p.test_root / "App") / "Child")
        write = p.set_value(key, "v", "x")

    (answer,) = probe.trace.of(write).actions
    assert same_path(answer.key_name, registry.test_root / "App" / "Child")


@behaviour("B-APP-01", "B-APP-02", "B-APP-12")
@versions(since="6.0")
@requires("app-hives")
def test_application_hives_are_no_exception(probe: Probe, registry: Registry) -> None:
    """A private hive, mounted where nobody can open it by name; its operations are reported like any other."""
    (monitor,) = probe.stack(*altitudes(1))

    with registry.program() as p:
        hive = p.load_app_key("app.dat")
        key = p.create_key(hive / "settings")
        write = p.set_value(key, "v", "x")
        read = p.query_value(key, "v")

    assert read.text == "x"
    seen = probe.trace.of(write).seen_by(monitor)
    assert seen == [Pre.SetValueKey, Post.SetValueKey]
    assert seen[0].key_name.upper().startswith("\\REGISTRY\\A\\")


@behaviour("B-VER-04", "B-HIV-18")
def test_newer_windows_tells_more(guest: Guest, probe: Probe, registry: Registry) -> None:
    """Asking for a key's full name is reported from Windows 10 on, flushing from Vista on."""
    probe.add_monitor()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        flush, name = p.flush_key(key), p.query_object_name(key)

    version = guest.info.version
    assert flush.status == name.status == NTSTATUS.SUCCESS
    assert (len(probe.trace.of(flush)) > 0) == (version.number >= (6, 0, 0))
    assert (len(probe.trace.of(name)) > 0) == (version.number >= (10, 0, 0))
