"""Save, restore, replace, load and unload with their parameters (B-HIV-05..15, 24..26)."""

from __future__ import annotations

import pytest

from harness.guest import Guest
from harness.plugin.fixtures import Recorder
from harness.probe import Probe
from harness.registry.notify import Post, Pre
from harness.registry.options import LoadFlags, SaveFormat
from harness.registry.paths import same_path
from harness.registry.status import NTSTATUS, nt_success
from harness.workload import Registry
from suites.scene import Scene
from suites.support import MIDDLE, behaviour, requires, shown, versions
from suites.workloads import named

pytestmark = versions(since="6.0")


@behaviour("B-HIV-05")
def test_a_load_names_file_and_mount_point(scene: Scene, probe: Probe) -> None:
    workload = named("load")
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    (pre,) = probe.trace.of(step).by(Pre.LoadKey)
    assert step.status == NTSTATUS.SUCCESS
    assert pre.name.rpartition("\\")[2].lower() == scene.place.mount.name.lower()
    assert pre.second_name.lower().endswith("saved.dat")


@behaviour("B-HIV-05")
def test_a_load_with_an_event(scene: Scene, probe: Probe, registry: Registry) -> None:
    scene.prepare(named("load"))
    probe.add(MIDDLE)

    with registry.program() as p:
        event = p.create_event()
        step = p.load_key(scene.place.mount, scene.place.saved, event=event)
        loaded = p.wait(event, milliseconds=0)
        unload = p.unload_key(scene.place.mount)
        unloaded = p.wait(event)
        without = p.load_key(scene.place.mount, scene.place.saved)

    assert [each.status for each in (step, unload, without)] == [NTSTATUS.SUCCESS] * 3
    assert loaded.status == NTSTATUS.TIMEOUT
    assert unloaded.status == NTSTATUS.SUCCESS, "signalled when the hive is unloaded"
    events = [probe.trace.of(each).by(Pre.LoadKey)[0]["UserEvent"] for each in (step, without)]
    assert [each != 0 for each in events] == [True, False]


@behaviour("B-HIV-06")
def test_the_version_slot_of_a_load(scene: Scene, probe: Probe, record: Recorder) -> None:
    workload = named("load")
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    (pre,) = probe.trace.of(step).by(Pre.LoadKey)
    assert step.status == NTSTATUS.SUCCESS
    slot = "Version" if "Version" in pre.scalars else "Reserved"
    record("B-HIV-06 slot after ObjectContext", pre[slot])


@behaviour("B-HIV-05", "B-NOT-18")
def test_loading_a_broken_file_is_reported_with_its_failure(
    scene: Scene, guest: Guest, probe: Probe, registry: Registry
) -> None:
    guest.put(registry.file("broken.dat"), b"not a hive" * 1000)
    probe.add(MIDDLE)

    with registry.program() as p:
        step = p.load_key(scene.place.mount, "broken.dat")

    assert not nt_success(step.status)
    (post,) = probe.trace.of(step).by(Post.LoadKey)
    assert post.status == step.status


@behaviour("B-HIV-07", "B-HIV-08")
def test_an_unload_is_reported_with_the_root_of_the_hive(
    scene: Scene, probe: Probe, record: Recorder
) -> None:
    workload = named("unload")
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    trace = probe.trace.of(step)
    (pre,) = trace.by(Pre.UnLoadKey)
    assert step.status == NTSTATUS.SUCCESS
    assert same_path(pre.key_name, scene.place.mount)
    record("B-HIV-08 notifications of an unload", shown(trace))


@behaviour("B-HIV-07")
def test_a_handle_in_the_hive_keeps_it(
    scene: Scene, probe: Probe, registry: Registry, record: Recorder
) -> None:
    scene.prepare(named("unload"))
    probe.add(MIDDLE)

    with registry.program() as p:
        p.open_key(scene.place.mount)
        step = p.unload_key(scene.place.mount)

    assert probe.trace.of(step).by(Pre.UnLoadKey) == [Pre.UnLoadKey]
    record("B-HIV-07 unload while a key is open", step.status_name)


@behaviour("B-HIV-10")
@versions(since="6.0.6002")
@pytest.mark.parametrize("flags", [0, LoadFlags.FORCE_RESTORE], ids=str)
def test_flags_of_a_restore(scene: Scene, probe: Probe, registry: Registry, flags: int) -> None:
    scene.prepare(named("restore"))
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.open_key(scene.place.app)
        step = p.restore_key(key, scene.place.saved, flags=flags)

    (pre,) = probe.trace.of(step).by(Pre.RestoreKey)
    assert pre["Flags"] == flags
    assert step.status == NTSTATUS.SUCCESS


@behaviour("B-HIV-25")
@versions(since="6.0.6002")
@pytest.mark.parametrize("force", [False, True], ids=["plain", "forced"])
def test_a_restore_while_a_subkey_is_open(scene: Scene, registry: Registry, force: bool) -> None:
    scene.prepare(named("restore"))

    with registry.program() as p:
        key = p.open_key(scene.place.app)
        p.open_key(scene.place.app / "child")
        step = p.restore_key(key, scene.place.saved, flags=LoadFlags.FORCE_RESTORE if force else 0)

    assert nt_success(step.status) == force


@behaviour("B-HIV-25")
@versions(since="6.0.6002")
def test_a_volatile_restore_is_for_the_roots_only(scene: Scene, registry: Registry) -> None:
    scene.prepare(named("restore"))

    with registry.program() as p:
        key = p.open_key(scene.place.app)
        step = p.restore_key(key, scene.place.saved, flags=LoadFlags.WHOLE_HIVE_VOLATILE)

    assert not nt_success(step.status)


@behaviour("B-HIV-11")
@versions(since="6.0.6002")
@pytest.mark.parametrize("format_", [SaveFormat.STANDARD, SaveFormat.LATEST], ids=lambda f: f.name.lower())
def test_format_of_a_save(scene: Scene, probe: Probe, registry: Registry, format_: SaveFormat) -> None:
    scene.prepare(named("save"))
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.open_key(scene.place.app)
        step = p.save_key(key, scene.place.target, format=format_)

    (pre,) = probe.trace.of(step).by(Pre.SaveKey)
    assert pre["Format"] == format_
    assert step.status == NTSTATUS.SUCCESS


@behaviour("B-HIV-11")
@versions(since="6.0.6002")
def test_saving_without_compression_needs_a_hive_root(
    scene: Scene, probe: Probe, registry: Registry, record: Recorder
) -> None:
    scene.prepare(named("save"))
    probe.add(MIDDLE)

    with registry.program() as p:
        key = p.open_key(scene.place.app)
        below = p.save_key(key, scene.place.target, format=SaveFormat.NO_COMPRESSION)
        both = p.save_key(key, scene.place.backup, format=SaveFormat.STANDARD | SaveFormat.LATEST)

    assert below.status == both.status == NTSTATUS.INVALID_PARAMETER
    assert Pre.SaveKey in probe.trace.of(below).classes
    record("B-HIV-11 notified", shown(probe.trace.of(below)))


@behaviour("B-HIV-12", "B-HIV-14")
@versions(since="6.0.6002")
def test_format_and_file_of_a_plain_save(scene: Scene, probe: Probe, record: Recorder) -> None:
    workload = named("save")
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    (pre,) = probe.trace.of(step).by(Pre.SaveKey)
    assert step.status == NTSTATUS.SUCCESS
    assert pre["FileHandle"], "a file is named by its handle"
    record("B-HIV-12 Format of NtSaveKey", pre["Format"])
    record("B-HIV-14 FileHandle looks like a kernel handle", pre["FileHandle"] > 0x7FFF_FFFF)


@behaviour("B-HIV-13")
@versions(since="6.0.6002")
@requires("disposable")
def test_a_replace_names_both_files(scene: Scene, probe: Probe) -> None:
    workload = named("replace")
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    (pre,) = probe.trace.of(step).by(Pre.ReplaceKey)
    assert step.status == NTSTATUS.SUCCESS
    assert pre.name.lower().endswith("backup.dat")
    assert pre.second_name.lower().endswith("target.dat")


@behaviour("B-HIV-15")
@versions(since="10.0.10240")
@pytest.mark.parametrize("same", [False, True], ids=["two trees", "one key twice"])
def test_merged_saves(
    scene: Scene, guest: Guest, probe: Probe, registry: Registry, record: Recorder, same: bool
) -> None:
    scene.prepare(named("save-merged"))
    probe.add(MIDDLE)

    with registry.program() as p:
        high = p.open_key(scene.place.app)
        low = high if same else p.open_key(scene.place.app / "child")
        step = p.save_merged(high, low, scene.place.target)

    seen = probe.trace.of(step).by(Pre.SaveMergedKey, Post.SaveMergedKey)
    if guest.info.version.number >= (10, 0, 20348) and not same:
        assert seen == [Pre.SaveMergedKey, Post.SaveMergedKey]
        assert seen[1].status == step.status
    record(f"B-HIV-15 {step.status_name}", shown(seen))


@behaviour("B-HIV-09")
@versions(until="6.0.6001")
@pytest.mark.parametrize("name", ["save", "restore"])
def test_vista_before_sp2_says_nothing_of_save_and_restore(scene: Scene, probe: Probe, name: str) -> None:
    workload = named(name)
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    assert step.status == NTSTATUS.SUCCESS
    assert probe.trace.of(step) == []


@behaviour("B-HIV-26")
@versions(since="6.0.6002")
@pytest.mark.parametrize("name", ["save", "restore"])
def test_what_save_and_restore_cause_beside_themselves(
    scene: Scene, probe: Probe, record: Recorder, name: str
) -> None:
    workload = named(name)
    scene.prepare(workload)
    probe.add(MIDDLE)

    step = scene.perform(workload)

    own = (workload.pre, workload.post)
    assert probe.trace.of(step).by(*own) == [*own]
    others = shown(probe.trace.of(step).where(lambda e: e.notify_class not in own))
    record(f"B-HIV-26 {name}: other notifications", others)


@behaviour("B-HIV-24")
@versions(since="6.0.6002")
def test_a_blocked_save_writes_nothing(scene: Scene, probe: Probe, registry: Registry) -> None:
    """What is in the file can't be loaded as a hive."""
    workload = named("save")
    scene.prepare(workload)
    probe.add(MIDDLE).on(Pre.SaveKey, **scene.scope(workload)).block()

    step = scene.perform(workload)

    assert step.status == NTSTATUS.ACCESS_DENIED
    probe.reset()
    with registry.program() as p:
        load = p.load_key(scene.place.mount, scene.place.target)
        listed = p.query_value(p.open_key(scene.place.mount), "v")
    assert not nt_success(load.status) or not nt_success(listed.status)
