"""What a create or open says about the request: access, options, attributes, mode (B-CRE-06..12, 19)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Base, InnerCall, Probe, Subject
from harness.registry.access import (
    GENERIC_READ,
    KEY_ALL_ACCESS,
    KEY_READ,
    KEY_WOW64_32KEY,
    KEY_WOW64_64KEY,
    MAXIMUM_ALLOWED,
    ObjectAttributes,
)
from harness.registry.notify import Post, Pre
from harness.registry.options import KeyOptions
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from suites.support import MIDDLE, behaviour, locked, shown, versions

pytestmark = versions(since="6.0")

INSENSITIVE = ObjectAttributes.CASE_INSENSITIVE


@behaviour("B-CRE-12")
@pytest.mark.parametrize("access", [KEY_READ, KEY_ALL_ACCESS, 0x0002_0002], ids=hex)
@pytest.mark.parametrize("call", ["create", "open"])
def test_desired_access_is_the_mask_that_was_passed(
    probe: Probe, registry: Registry, call: str, access: int
) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    with registry.program() as p:
        path = p.test_root / "app"
        step = p.create_key(path, access=access) if call == "create" else p.open_key(path, access=access)

    (pre,) = probe.trace.of(step).pre
    assert pre["DesiredAccess"] == access


@behaviour("B-CRE-12")
@pytest.mark.parametrize("access", [MAXIMUM_ALLOWED, GENERIC_READ], ids=["maximum", "generic"])
def test_desired_access_of_masks_that_need_mapping(
    probe: Probe, registry: Registry, record: Recorder, access: int
) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.open_key(p.test_root / "app", access=access)

    (pre,) = probe.trace.of(step).pre
    assert step.status == NTSTATUS.SUCCESS
    assert pre["DesiredAccess"], "an access was asked for"
    record(f"B-CRE-12 {access:#x} is shown as", hex(pre["DesiredAccess"]))


@behaviour("B-CRE-19")
@pytest.mark.parametrize(
    "options",
    [0, KeyOptions.VOLATILE, KeyOptions.BACKUP_RESTORE, KeyOptions.CREATE_LINK | KeyOptions.VOLATILE],
    ids=str,
)  # fmt: skip
def test_options_of_a_create(probe: Probe, registry: Registry, options: int) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.create_key(p.test_root / "app", options=options)

    (pre,) = probe.trace.of(step).by(Pre.CreateKeyEx)
    member = "Options" if "Options" in pre.scalars else "CreateOptions"
    assert pre[member] == options


@behaviour("B-CRE-19", "B-CRE-21")
@versions(since="6.1")
@pytest.mark.parametrize("options", [KeyOptions.OPEN_LINK, KeyOptions.BACKUP_RESTORE], ids=str)
def test_options_of_an_open(probe: Probe, registry: Registry, options: int) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.open_key(p.test_root / "app", access=KEY_READ, options=options)

    (pre,) = probe.trace.of(step).by(Pre.OpenKeyEx)
    assert pre["Options"] == options


@behaviour("B-CRE-07")
@versions(since="6.1")
@pytest.mark.parametrize("flag", [0, ObjectAttributes.OPENLINK, ObjectAttributes.FORCE_ACCESS_CHECK], ids=str)
def test_attributes_show_the_flags_of_the_request(
    probe: Probe, registry: Registry, record: Recorder, flag: int
) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.open_key(p.test_root / "app", access=KEY_READ, attributes=INSENSITIVE | flag)

    (pre,) = probe.trace.of(step).by(Pre.OpenKeyEx)
    if flag:
        assert pre["Attributes"] & flag
    record("B-CRE-07 OBJ_CASE_INSENSITIVE is shown", bool(pre["Attributes"] & INSENSITIVE))


@behaviour("B-CRE-07", "B-CRE-08")
@versions(since="6.1")
@pytest.mark.parametrize("forced", [False, True], ids=["plain", "forced"])
def test_a_drivers_request(probe: Probe, registry: Registry, record: Recorder, forced: bool) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    call = probe.kernel_call.open_key(registry.test_root / "app", force_access_check=forced)

    (pre,) = probe.trace.of(call).by(Pre.OpenKeyEx)
    assert pre["Attributes"] & ObjectAttributes.KERNEL_HANDLE
    assert bool(pre["Attributes"] & ObjectAttributes.FORCE_ACCESS_CHECK) == forced
    record(f"B-CRE-08 CheckAccessMode of a driver, forced check {forced}", pre["CheckAccessMode"])


@behaviour("B-CRE-08")
@versions(since="6.1")
def test_check_access_mode_of_a_user(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.create_key(p.test_root / "app")

    (pre,) = probe.trace.of(step).by(Pre.CreateKeyEx)
    record("B-CRE-08 CheckAccessMode of a user-mode request", pre["CheckAccessMode"])
    assert pre["CheckAccessMode"] in (0, 1)


@behaviour("B-CRE-09")
@versions(since="6.1")
@pytest.mark.arch("x64")
@pytest.mark.parametrize("flag", [0, KEY_WOW64_32KEY, KEY_WOW64_64KEY], ids=hex)
def test_wow64_flags_are_those_of_the_mask(probe: Probe, registry: Registry, flag: int) -> None:
    with registry.program() as p:
        p.create_key(p.test_root / "app")
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.create_key(p.test_root / "app", access=KEY_READ | flag)

    (pre,) = probe.trace.of(step).by(Pre.CreateKeyEx)
    assert pre["Wow64Flags"] == flag


@behaviour("B-CRE-11")
@versions(since="6.1")
@pytest.mark.arch("x64")
def test_both_views_at_once(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.open_key(p.test_root, access=KEY_READ | KEY_WOW64_32KEY | KEY_WOW64_64KEY)

    trace = probe.trace.of(step)
    record("B-CRE-11 status", step.status_name)
    record("B-CRE-11 notifications", shown(trace))
    if trace:  # whatever it is, the callback is told what the requester gets
        assert [post.status for post in trace.by(Post.OpenKeyEx)] == [step.status]
    else:
        assert not step.succeeded, "an open that succeeds is reported"


@behaviour("B-CRE-28")
def test_a_denied_open_is_reported_with_its_status(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.open_key(locked(p), access=KEY_ALL_ACCESS)

    pre, post = probe.trace.of(step)
    assert step.status == NTSTATUS.ACCESS_DENIED
    assert post.status == step.status
    assert pre["DesiredAccess"] == KEY_ALL_ACCESS


@behaviour("B-CRE-06")
@versions(since="6.1")
def test_replaying_an_open_relative_to_its_root(probe: Probe, registry: Registry) -> None:
    """RootObject as the root directory and RemainingName as the name lead to the same key."""
    with registry.program() as p:
        p.set_value(p.create_key(p.create_key(p.test_root / "app") / "child"), "v", "x")
    rule = probe.add(MIDDLE).on(Pre.OpenKeyEx, key=registry.test_root / "app" / "child")
    rule.call(InnerCall.QUERY_VALUE, "child", base=Base.SUBJECT, subject=Subject.ROOT_OBJECT, value="v")

    with registry.program() as p:
        step = p.open_key(p.open_key(p.test_root / "app") / "child")

    (pre,) = probe.trace.of(step).pre
    (action,) = probe.trace.of(step).actions
    assert pre.second_name == "child"
    assert action.status == NTSTATUS.SUCCESS


@behaviour("B-CRE-06")
@pytest.mark.parametrize("forced", [False, True], ids=["trusted", "forced check"])
def test_a_forced_access_check_decides_a_drivers_open(probe: Probe, registry: Registry, forced: bool) -> None:
    """Why a replay has to keep the flag: without it a driver may do what its requester may not."""
    with registry.program() as p:
        path = locked(p)
    probe.add(MIDDLE)

    call = probe.kernel_call.open_key(path, force_access_check=forced)

    assert call.open_status == (NTSTATUS.ACCESS_DENIED if forced else NTSTATUS.SUCCESS)


@behaviour("B-CRE-28", "B-NOT-33")
def test_a_thread_that_impersonates_is_denied_and_reported_alike(probe: Probe, registry: Registry) -> None:
    """Its process may do all of it; what counts is who the thread asks for."""
    probe.add(MIDDLE)

    with registry.program() as p:
        p.create_key(p.test_root / "app", sddl="O:BAG:BAD:P(A;;KA;;;BA)(A;;KA;;;SY)(A;;KR;;;WD)")
        with p.on(thread=1):
            taken = p.impersonate()
            denied = p.open_key(p.test_root / "app", access=KEY_ALL_ACCESS)
            create = p.create_key(p.test_root / "app" / "child")
            reading = p.open_key(p.test_root / "app", access=KEY_READ)
            p.revert()
            again = p.open_key(p.test_root / "app", access=KEY_ALL_ACCESS)

    assert taken.status == NTSTATUS.SUCCESS
    assert [step.status for step in (denied, create)] == [NTSTATUS.ACCESS_DENIED] * 2
    assert [step.status for step in (reading, again)] == [NTSTATUS.SUCCESS] * 2
    for step in (denied, create, reading, again):
        pre, post = probe.trace.of(step)
        assert pre.process_id == denied.process_id
        assert post.status == step.status


@behaviour("B-CRE-28")
def test_what_needs_a_privilege_that_the_thread_lacks(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    """Save and load as a user without SeBackup and SeRestore; whether they are reported is on no page."""
    probe.add(MIDDLE)
    mount = f"\\REGISTRY\\MACHINE\\RegFilterHarness-{registry.test_root.name}"

    with registry.program() as p:
        p.save_key(p.create_key(p.test_root / "app"), "there.dat")
        with p.on(thread=1):
            p.impersonate()
            key = p.open_key(p.test_root / "app", access=KEY_READ)
            save = p.save_key(key, "saved.dat")
            load = p.load_key(mount, "there.dat")

    assert key.status == NTSTATUS.SUCCESS
    for step, what in ((save, "save"), (load, "load")):
        assert not step.succeeded
        record(f"a {what} without the privilege", (step.status_name, shown(probe.trace.of(step))))
