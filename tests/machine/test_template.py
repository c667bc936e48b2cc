"""A template is whole or absent, made once, and made again when anything it depends on has changed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.machine.clones import template as template_module
from harness.machine.clones.clone import Clone
from harness.machine.clones.template import Template
from harness.machine.describe.spec import DiskBus, SealedImage
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.keep.clean import LeftoverKind, find_leftovers, remove
from harness.machine.keep.places import Places
from harness.machine.keep.session import Session
from harness.machine.keep.store import IDLE_SECONDS, Manifest, StoredTemplate, TemplateStore, Way
from tests.machine.tinyguest import TinyLine, tiny_hardware

Images = Callable[..., SealedImage]
Opener = Callable[..., AbstractContextManager[Template]]


class Ready:
    """Waits for the guest and leaves a mark in its RAM and on its disk; counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, machine: Machine) -> None:
        self.calls += 1
        with TinyLine(machine.spec.channel_socket) as line:
            assert line.ask("add 7") == "sum 7"
            line.ask("write 3 template")


@pytest.fixture
def ready() -> Ready:
    return Ready()


@pytest.fixture
def open_template(machine_session: Session, host: Host, ready: Ready) -> Opener:
    """``open_template(image, best=...)``."""

    def make(image: SealedImage, **options: object) -> AbstractContextManager[Template]:
        settings: dict[str, object] = {"session": machine_session, "host": host, "ready": ready, **options}
        return Template.open(image, **settings)  # type: ignore[arg-type]

    return make


@pytest.fixture(autouse=True)
def nothing_half_made(places: Places, machine_session: Session) -> Iterator[None]:
    """After every test: no half template, no RAM file without one, no entry in the ledger."""
    yield
    assert [path.name for path in places.templates.glob(".making-*")] == []
    stored = TemplateStore(places).stored()
    owned = {found.manifest.ram for found in stored if found.manifest is not None}
    assert places.memory is None or set(places.memory.glob("*.ram")) <= owned
    assert machine_session.ledger.entries() == ()


def answers(template: Template) -> tuple[str, str]:
    """What a new clone has in RAM and on its disk."""
    with Clone.start(template) as clone, TinyLine(clone.resume().spec.channel_socket) as line:
        return line.ask("ping"), line.ask("read 3")


@pytest.mark.parametrize("way", list(Way))
def test_clones_begin_where_the_template_was_frozen(
    tiny_image: Images, open_template: Opener, ready: Ready, way: Way
) -> None:
    with open_template(tiny_image(f"way-{way.name}"), best=way) as template:
        assert template.way is way
        assert answers(template) == ("pong 7", "read template")
        assert answers(template) == ("pong 7", "read template")
    assert ready.calls == (2 if way is Way.COLD_BOOT else 1)


def test_a_template_is_made_once_and_kept(tiny_image: Images, open_template: Opener, ready: Ready) -> None:
    image = tiny_image("kept")
    with open_template(image) as template:
        template.verify()
    with open_template(image) as template:
        assert answers(template) == ("pong 7", "read template")
        template.verify()
    assert ready.calls == 1


def test_clones_share_the_templates_ram(tiny_image: Images, open_template: Opener) -> None:
    """No copy of it: what a clone has for itself is what it wrote."""
    with open_template(tiny_image("ram")) as template, Clone.start(template) as clone:
        assert template.manifest.ram is not None
        maps = Path(f"/proc/{clone.machine.pid}/maps").read_text().splitlines()
        mapped = [line.split()[1] for line in maps if line.endswith(str(template.manifest.ram))]
        assert mapped
        assert all(mode.endswith("p") for mode in mapped)  # private
        assert stat.S_IMODE(template.manifest.ram.stat().st_mode) == 0o600


def test_threads_that_need_the_same_template_wait_for_one(
    tiny_image: Images, open_template: Opener, ready: Ready
) -> None:
    image = tiny_image("parallel")
    together = threading.Barrier(3)
    seen: list[Path] = []

    def use() -> None:
        try:
            with open_template(image) as template:
                seen.append(template.folder)
                together.wait(600)  # all have it open at once
        except Exception:
            together.abort()  # the others would wait for this one
            raise

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert len(set(seen)) == 1
    assert len(seen) == 3
    assert ready.calls == 1


@pytest.mark.parametrize(
    "change",
    [
        {"hardware": tiny_hardware(disk_bus=DiskBus.IDE, memory_mib=80)},
        {"hardware": tiny_hardware(disk_bus=DiskBus.IDE, cpu="Nehalem")},
        {"digest": "0" * 64},
    ],
    ids=["memory", "cpu", "digest"],
)
def test_another_machine_needs_another_template(
    tiny_image: Images, open_template: Opener, ready: Ready, change: dict[str, object]
) -> None:
    image = tiny_image("changed")
    with open_template(image):
        before = ready.calls
    with open_template(dataclasses.replace(image, **change)) as template:  # type: ignore[arg-type]
        assert answers(template) == ("pong 7", "read template")
    assert ready.calls == before + 1


def test_another_qemu_makes_the_template_again_and_says_so(
    tiny_image: Images,
    open_template: Opener,
    ready: Ready,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = tiny_image("upgraded")
    with open_template(image):
        pass
    real = template_module.environment_of
    monkeypatch.setattr(
        template_module,
        "environment_of",
        lambda *arguments: dataclasses.replace(real(*arguments), emulator="99.0"),
    )
    with open_template(image):
        pass
    assert ready.calls == 2
    assert "made again: emulator" in caplog.text
    assert "is now 99.0" in caplog.text


@pytest.mark.parametrize("part", ["state", "disk0.qcow2", "ram", "manifest.json"])
@pytest.mark.parametrize("harm", ["lost", "written"])
def test_a_damaged_template_is_made_again(
    tiny_image: Images, open_template: Opener, ready: Ready, part: str, harm: str
) -> None:
    image = tiny_image("damaged")
    with open_template(image) as template:
        before = ready.calls
        path = template.manifest.ram if part == "ram" else template.folder / part
        assert path is not None
    if harm == "lost":
        path.unlink()
    else:
        with path.open("r+b") as file:
            file.write(b"damage")
    with open_template(image) as template:
        assert answers(template) == ("pong 7", "read template")
    assert ready.calls == before + 1


def test_damage_while_it_is_open_is_said(tiny_image: Images, open_template: Opener) -> None:
    with open_template(tiny_image("worn")) as template:
        state = template.folder / "state"
        with state.open("ab") as file:
            file.write(b"x")
        with pytest.raises(InfrastructureError, match=r"damaged: .*state was changed; run `harness clean`"):
            Clone.start(template)


def test_content_that_changed_behind_its_time_is_found_by_verify(
    tiny_image: Images, open_template: Opener
) -> None:
    """A clone has the RAM file open for writing; memory mapped writes need not show in its times."""
    with open_template(tiny_image("sneaky")) as template:
        ram = template.manifest.ram
        assert ram is not None
        times = ram.stat()
        with ram.open("r+b") as file:
            file.seek(4096 * 40)
            file.write(b"changed")
        os.utime(ram, ns=(times.st_atime_ns, times.st_mtime_ns))
        template.check()
        with pytest.raises(InfrastructureError, match="has another content"):
            template.verify()


def test_a_guest_that_does_not_come_up_leaves_no_template(
    tiny_image: Images, open_template: Opener, places: Places, machine_session: Session
) -> None:
    def never(machine: Machine) -> None:
        raise InfrastructureError("the runner does not answer")

    image = tiny_image("stillborn")
    with pytest.raises(InfrastructureError, match="does not answer"), open_template(image, ready=never):
        pass
    assert not TemplateStore(places).folder(image.digest).exists()
    assert list((machine_session.folder / "m").iterdir()) == []


def test_without_shared_ram_clones_are_restored_and_the_log_says_why(
    tiny_image: Images,
    open_template: Opener,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(machine: Machine) -> None:
        machine.qmp("migrate-set-capabilities", capabilities=[{"capability": "x-nothing", "state": True}])

    monkeypatch.setattr(template_module, "ignore_shared", refuse)
    with open_template(tiny_image("old-qemu")) as template:
        assert template.way is Way.RESTORED
        assert answers(template) == ("pong 7", "read template")
    assert "can't be cloned here, trying the next way" in caplog.text
    assert "x-nothing" in caplog.text


def test_a_device_that_cannot_be_saved_means_booting(
    tiny_image: Images,
    open_template: Opener,
    ready: Ready,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(machine: Machine, path: Path, *, timeout: float) -> None:
        path.write_bytes(b"half")
        raise InfrastructureError("State blocked by non-migratable device")

    monkeypatch.setattr(template_module, "save_state", refuse)
    with open_template(tiny_image("blocked")) as template:
        assert template.way is Way.COLD_BOOT
        assert answers(template) == ("pong 7", "read template")
    assert "can't be restored here" in caplog.text


def test_ram_stays_in_the_cache_when_memory_is_short(
    tiny_image: Images, open_template: Opener, monkeypatch: pytest.MonkeyPatch, places: Places
) -> None:
    monkeypatch.setattr("harness.machine.keep.places.available_memory", lambda: 0)
    with open_template(tiny_image("on-disk")) as template:
        assert template.way is Way.CLONED
        assert template.manifest.ram == template.folder / "ram"
        assert answers(template) == ("pong 7", "read template")
        template.verify()


def test_a_disk_too_full_is_said_before_the_boot(
    tiny_image: Images, open_template: Opener, ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.machine.keep.places.free_space", lambda path: 1 << 20)
    with (
        pytest.raises(InfrastructureError, match="making the template of full needs"),
        open_template(tiny_image("full")),
    ):
        pass
    assert ready.calls == 0


def test_the_tpms_state_belongs_to_the_unit(tiny_image: Images, open_template: Opener) -> None:
    """Each clone gets its own copy, as it was when the template was frozen."""
    if shutil.which("swtpm") is None:
        pytest.skip("swtpm is not installed: apt-get install swtpm")
    hardware = tiny_hardware(disk_bus=DiskBus.IDE, tpm=True)
    with open_template(tiny_image("tpm", hardware=hardware)) as template:
        assert template.manifest.tpm == "tpm"
        assert answers(template) == ("pong 7", "read template")
        with Clone.start(template) as one, Clone.start(template) as other:
            states = {clone.machine.spec.tpm_state for clone in (one, other)}
            assert len(states) == 2
            assert all(state is not None and any(state.iterdir()) for state in states)
            assert template.folder / "tpm" not in states
        template.verify()


class TestCleaning:
    """`harness clean` gives templates' room back, but never from under a user."""

    def test_a_template_in_use_stays(self, tiny_image: Images, open_template: Opener, places: Places) -> None:
        with open_template(tiny_image("busy")) as template:
            assert not any(
                template.folder in found.paths for found in find_leftovers(places, everything=True)
            )
            assert TemplateStore.discard(template.folder, [template.manifest.ram]) == []
            assert answers(template) == ("pong 7", "read template")

    def test_all_removes_it_with_its_ram(
        self, tiny_image: Images, open_template: Opener, places: Places
    ) -> None:
        with open_template(tiny_image("old")) as template:
            folder, ram = template.folder, template.manifest.ram
        assert ram is not None
        assert not any(folder in found.paths for found in find_leftovers(places))
        everything = find_leftovers(places, everything=True)
        (found,) = (each for each in everything if folder in each.paths)
        assert found.kind is LeftoverKind.TEMPLATE
        assert found.size > 100_000
        remove([found])
        assert not folder.exists()
        assert not ram.exists()

    def test_the_last_used_are_kept(self, tiny_image: Images, open_template: Opener, places: Places) -> None:
        for name in ("one", "two"):
            with open_template(tiny_image(name)) as template:
                last = template.folder
        count = len(TemplateStore(places).stored())
        found = find_leftovers(places, everything=True, keep=1)
        assert sum(each.kind is LeftoverKind.TEMPLATE for each in found) == count - 1
        assert not any(last in each.paths for each in found)

    def test_memory_is_not_held_for_ever(
        self, tiny_image: Images, open_template: Opener, places: Places
    ) -> None:
        with open_template(tiny_image("idle")) as template:
            folder = template.folder
        long_ago = time.time() - IDLE_SECONDS - 60
        os.utime(folder, (long_ago, long_ago))
        stored = StoredTemplate(folder, Manifest.read(folder))
        assert "its RAM is in memory" in (stored.unusable() or "")
        (found,) = (each for each in find_leftovers(places) if folder in each.paths)
        remove([found])
        assert not folder.exists()
