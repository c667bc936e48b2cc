"""Flush, security and name queries (B-HIV-01, 03, 16..21, 23)."""

from __future__ import annotations

import pytest

from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.access import SecurityInformation
from harness.registry.infoclasses import KeyInformationClass
from harness.registry.notify import Post, Pre
from harness.registry.paths import same_path
from harness.registry.status import NTSTATUS, nt_success
from harness.workload import Registry
from suites.support import MIDDLE, behaviour, shown, versions

pytestmark = versions(since="6.0")


@behaviour("B-HIV-01")
@pytest.mark.parametrize("dirty", [True, False])
def test_a_flush_is_reported(probe: Probe, registry: Registry, dirty: bool) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        if not dirty:
            p.flush_key(key)
        step = p.flush_key(key)

    assert step.status == NTSTATUS.SUCCESS
    assert probe.trace.of(step) == [Pre.FlushKey, Post.FlushKey]


@behaviour("B-HIV-03")
def test_a_blocked_flush_loses_nothing(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE).on(Pre.FlushKey, under=registry.test_root).block()

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "v", "x")
        flush = p.flush_key(key)
        read = p.query_value(key, "v")

    assert flush.status == NTSTATUS.ACCESS_DENIED
    assert read.text == "x"


@behaviour("B-HIV-16")
def test_security_is_reported_and_changed(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        before = p.query_security(key, SecurityInformation.DACL)
        change = p.set_security(key, SecurityInformation.DACL, sddl="D:P(A;;KA;;;WD)")
        after = p.query_security(key, SecurityInformation.DACL)

    for step, pre, post in (
        (before, Pre.QueryKeySecurity, Post.QueryKeySecurity),
        (change, Pre.SetKeySecurity, Post.SetKeySecurity),
        (after, Pre.QueryKeySecurity, Post.QueryKeySecurity),
    ):
        assert step.status == NTSTATUS.SUCCESS
        assert probe.trace.of(step) == [pre, post]
    assert before.output != after.output


@behaviour("B-HIV-16")
@pytest.mark.parametrize(
    "part", [SecurityInformation.OWNER, SecurityInformation.DACL], ids=lambda p: p.name.lower()
)
def test_which_part_is_asked_for(probe: Probe, registry: Registry, part: SecurityInformation) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.query_security(p.create_key(p.test_root / "app"), part)

    (pre,) = probe.trace.of(step).by(Pre.QueryKeySecurity)
    security_information = pre["SecurityInformation"]
    assert security_information != 0, "a pointer to the mask"


@behaviour("B-HIV-17")
def test_a_short_buffer_gives_the_needed_length(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        short = p.query_security(key, SecurityInformation.DACL, length=4)
        whole = p.query_security(key, SecurityInformation.DACL)

    assert short.status == NTSTATUS.BUFFER_TOO_SMALL
    (post,) = probe.trace.of(short).by(Post.QueryKeySecurity)
    assert post.status == NTSTATUS.BUFFER_TOO_SMALL
    assert whole.status == NTSTATUS.SUCCESS
    assert short.result_length == len(whole.output)
    assert post.result_length == short.result_length, "Length points at the length"


@behaviour("B-HIV-18")
@versions(since="10.0.10240")
def test_a_name_query_is_reported(probe: Probe, registry: Registry, record: Recorder) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.query_object_name(p.create_key(p.test_root / "app"))

    record("B-HIV-18 classes of a name query", shown(probe.trace.of(step)))
    assert step.status == NTSTATUS.SUCCESS
    assert same_path(step.name, registry.test_root / "app")
    assert Pre.QueryKeyName in probe.trace.of(step).classes


@behaviour("B-HIV-18", "B-VER-04")
@versions(until="6.3")
def test_a_name_query_goes_unnoticed_before_windows_10(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.query_object_name(p.create_key(p.test_root / "app"))

    assert step.status == NTSTATUS.SUCCESS
    assert probe.trace.of(step) == []


@behaviour("B-HIV-20")
@versions(since="10.0.10240")
@pytest.mark.parametrize("length", [0, 16])
def test_a_name_query_with_a_short_buffer(
    probe: Probe, registry: Registry, record: Recorder, length: int
) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.query_object_name(p.create_key(p.test_root / "app"), length=length)

    assert probe.trace.of(step).pre == [Pre.QueryKeyName]
    posts = [hex(e.status) for e in probe.trace.of(step).by(Post.QueryKeyName)]
    record(f"B-HIV-20 {length} bytes: caller and posts", (step.status_name, step.result_length, posts))
    assert step.result_length is None or step.result_length > length


@behaviour("B-HIV-21")
@versions(since="6.0")
def test_key_name_information_is_a_query_of_the_key(
    probe: Probe, registry: Registry, record: Recorder
) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.query_key(p.create_key(p.test_root / "app"), KeyInformationClass.NAME)

    seen = probe.trace.of(step)
    record("B-HIV-21 classes of NtQueryKey(KeyNameInformation)", shown(seen))
    assert step.status == NTSTATUS.SUCCESS
    assert same_path(step.name, registry.test_root / "app")


@behaviour("B-HIV-23")
def test_a_change_notification_has_no_class(probe: Probe, registry: Registry) -> None:
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        event = p.create_event()
        step = p.notify_change_key(key, event)
        change = p.set_value(key, "v", "x")
        told = p.wait(event)

    assert nt_success(step.status)
    assert told.status == NTSTATUS.SUCCESS, "the change was told"
    assert probe.trace.of(step) == []
    assert probe.trace.of(told) == []
    assert probe.trace.of(change) == [Pre.SetValueKey, Post.SetValueKey]


@behaviour("B-HIV-19")
@versions(since="10.0.10240")
def test_completing_a_name_query(probe: Probe, registry: Registry, record: Recorder) -> None:
    """The filter gives the text; the probe puts the UNICODE_STRING in front of it."""
    filter_ = probe.add(MIDDLE)
    rule = filter_.on(Pre.QueryKeyName, under=registry.test_root)
    rule.bypass_output("\\REGISTRY\\FORGED".encode("utf-16-le"))

    with registry.program() as p:
        step = p.query_object_name(p.create_key(p.test_root / "app"))

    record("B-HIV-19 status and returned length", (step.status_name, step.result_length))
    assert probe.trace.of(step).seen_by(filter_) == [Pre.QueryKeyName]
    if step.succeeded:
        assert step.name == "\\REGISTRY\\FORGED"
