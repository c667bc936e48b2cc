"""Dry runs of every recipe, and every trap: found when a plan falls into it, silent when it does not."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.channel.disc import make_disc
from harness.cli import app
from harness.errors import UsageError
from harness.image.finding import find_recipe
from harness.image.install.discs import (
    floppy_problems,
    list_disc,
    list_floppy,
    make_floppy,
    rebuild_disc,
)
from harness.image.install.dryrun import dry_run, dump_disk_mib, template_machine
from harness.image.install.ingredients import InstallRequest, throwaway
from harness.image.install.layout import InstallFiles, install_machine
from harness.image.install.medium import look_at_medium, stand_in_medium
from harness.image.install.plan import CERTIFICATE, plan_install
from harness.image.install.trapchecks import Subject
from harness.image.install.traps import TRAPS
from harness.image.installspec import Install
from harness.image.media import MediaError
from harness.image.recipe import Recipe
from harness.machine.describe.spec import Accelerator, Disk, DiskBus, Firmware, Nic, Removable
from tests.image.discs import disc, edition, wim
from tests.image.recipes import installs

pytestmark = pytest.mark.filterwarnings("error")
RECIPES = installs()
IDS = [recipe.name for recipe in RECIPES]


def install_of(recipe: Recipe) -> Install:
    assert isinstance(recipe.source, Install)
    return recipe.source


@pytest.mark.parametrize("recipe", RECIPES, ids=IDS)
def test_everything_an_install_would_use_is_sound(recipe: Recipe, tmp_path: Path) -> None:
    result = dry_run(recipe, install_of(recipe), tmp_path / "out")
    assert [check for check in result.checks if not check.ok] == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(result.files)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["ok"] is True
    assert "stand in" in report["medium"]
    assert len([check for check in report["checks"] if check["what"].startswith("trap ")]) == 20
    for name in result.files:
        if not name.endswith((".xml", ".json")):  # what holds passwords or keys
            assert stat.S_IMODE((tmp_path / "out" / name).stat().st_mode) == 0o600, name


def test_a_medium_is_looked_at_and_its_index_and_language_used(tmp_path: Path) -> None:
    recipe = find_recipe("win10-22h2")
    german = {**edition("Pro", 19045, edition_id="Professional"), "WINDOWS/LANGUAGES/DEFAULT": "de-DE"}
    files = {
        "sources/install.wim": wim(edition("Home", 19045, edition_id="Core"), german),
        "efi/bootmgr": b"x",
    }
    medium = disc(tmp_path / "w.iso", files)
    dry_run(recipe, install_of(recipe), tmp_path / "out", medium=medium)
    text = (tmp_path / "out" / "autounattend.xml").read_text()
    assert "<Value>2</Value>" in text
    assert text.count("<UILanguage>de-DE</UILanguage>") == 3
    assert f'file="{medium}"' in (tmp_path / "out" / "install.xml").read_text()


def test_a_medium_that_uefi_can_not_start_is_refused(tmp_path: Path) -> None:
    recipe = find_recipe("win10-22h2")
    medium = disc(tmp_path / "w.iso", {"sources/install.wim": wim(edition("Enterprise", 19045))})
    with pytest.raises(MediaError, match="can't be started by UEFI"):
        look_at_medium(medium, recipe, install_of(recipe))


def test_a_medium_with_an_answer_file_of_its_own_is_refused(tmp_path: Path) -> None:
    recipe = find_recipe("win7-sp1")
    files = {
        "sources/install.wim": wim({**edition("Ultimate", 7601), "WINDOWS/VERSION/SPLEVEL": "1"}),
        "Autounattend.xml": b"<x/>",
    }
    with pytest.raises(MediaError, match=r"answer file of its own, Autounattend\.xml"):
        look_at_medium(disc(tmp_path / "w.iso", files), recipe, install_of(recipe))


# -- traps -------------------------------------------------------------------------------------------------


def subject(name: str, folder: Path) -> Subject:
    recipe = find_recipe(name)
    with throwaway(recipe, InstallRequest()) as given:
        plan = plan_install(recipe, install_of(recipe), stand_in_medium(), given)
    files = InstallFiles(folder)
    machine = install_machine(plan, files, name="m", folder=folder, accelerator=Accelerator.TCG)
    memory = recipe.hardware.memory_mib
    return Subject(plan, machine, template_machine(plan, files), dump_disk_mib(memory))


def hardware(found: Subject, **changes: Any) -> Subject:
    changed = replace(found.machine, hardware=replace(found.machine.hardware, **changes))
    return replace(found, machine=changed)


def answer(found: Subject, old: str, new: str) -> Subject:
    assert old in found.plan.answer
    return replace(found, plan=replace(found.plan, answer=found.plan.answer.replace(old, new)))


def script(found: Subject, old: str, new: str = "") -> Subject:
    assert old in found.plan.script
    return replace(found, plan=replace(found.plan, script=found.plan.script.replace(old, new)))


def cd_first(found: Subject) -> Subject:
    return replace(found, machine=replace(found.machine, boot_from_cd=True))


def another_certificate(name: str) -> Callable[[Subject], Subject]:
    """As if drivers were signed as for the recipe `name`."""

    def fall(found: Subject) -> Subject:
        theirs = subject(name, found.machine.folder).plan.files[CERTIFICATE]
        return replace(found, plan=replace(found.plan, files={**found.plan.files, CERTIFICATE: theirs}))

    return fall


def without_word_of_sha2(found: Subject) -> Subject:
    return replace(found, plan=replace(found.plan, install=replace(found.plan.install, differs={})))


def one_more_answer(found: Subject) -> Subject:
    return replace(found, plan=replace(found.plan, files={**found.plan.files, "unattend.xml": b""}))


def secure_template(found: Subject) -> Subject:
    secure = replace(found.template.hardware, firmware=Firmware.UEFI_SECURE)
    return replace(found, template=replace(found.template, hardware=secure))


def public_network(found: Subject) -> Subject:
    files = {path: data for path, data in found.plan.files.items() if "private-network" not in path}
    return replace(found, plan=replace(found.plan, files=files))


def no_floppy(found: Subject) -> Subject:
    kept = tuple(each for each in found.machine.removable if not each.floppy)
    return replace(found, machine=replace(found.machine, removable=kept))


def disk_on_usb(found: Subject) -> Subject:
    first, dumps = found.machine.disks
    return replace(found, machine=replace(found.machine, disks=(replace(first, bus=DiskBus.VIRTIO), dumps)))


#: trap: a recipe, how its plan falls into it, what is said.
FALLS: dict[int, list[tuple[str, Callable[[Subject], Subject], str]]] = {
    1: [("win11-24h2", cd_first, "the CD starts before the disk")],
    2: [
        (
            "win11-24h2",
            lambda s: answer(s, "<ProductKey>", "<ProductKey><Key></Key>"),
            "an empty product key",
        ),
        ("winxp-sp3", lambda s: answer(s, "ProductKey=", "Key="), "no product key"),
    ],
    3: [("win10-1507", lambda s: answer(s, "/IMAGE/INDEX", "/IMAGE/NAME"), "not chosen by /IMAGE/INDEX")],
    4: [("ws2025", lambda s: hardware(s, cpu="qemu64"), "qemu64 has no SSE4.2")],
    5: [("ws2003r2-x64", no_floppy, "winnt.sif is read from a floppy only")],
    6: [
        ("winxp-sp3", lambda s: hardware(s, machine="q35", disk_bus=DiskBus.SATA), "0x7B or 0xA5"),
        ("winxp-sp3", lambda s: hardware(s, nic=Nic.E1000E), "rtl8139 is wanted"),
    ],
    7: [
        ("win7-sp1-x86", lambda s: hardware(s, cpu="Nehalem"), "with long mode"),
        ("win81", lambda s: hardware(s, cpu="Nehalem,nx=off"), "NX is off"),
    ],
    8: [("ws2008r2-sp1", lambda s: hardware(s, firmware=Firmware.UEFI), "hang at their logo")],
    9: [("ws2012r2", lambda s: hardware(s, machine="q35"), "has a UUID")],
    10: [
        ("win10-22h2", lambda s: hardware(s, firmware=Firmware.BIOS), "setup can't create them"),
        (
            "win10-22h2",
            lambda s: answer(s, "<DiskID>0</DiskID>", "<DiskID>1</DiskID>"),
            "another disk than disk 0",
        ),
        ("win10-22h2", disk_on_usb, "a disk on another bus"),
    ],
    11: [
        ("win7-sp1-x86", lambda s: answer(s, '"x86"', '"amd64"'), "skips it without a word"),
        ("win10-1809", lambda s: answer(s, 'pass="windowsPE"', 'pass="generalize"'), "no windowsPE pass"),
    ],
    12: [
        ("win11-23h2", lambda s: answer(s, "SystemLocale", "Locale"), "SystemLocale is missing"),
        (
            "win11-23h2",
            lambda s: answer(s, "<UILanguage>en-US", "<UILanguage>fr-FR"),
            "UILanguage is not en-US",
        ),
    ],
    13: [("win11-25h2", one_more_answer, "2 answer files")],
    14: [
        ("win11-24h2", secure_template, "test signing can't be switched on"),
        ("win7-sp1", lambda s: script(s, "testsigning on", "nointegritychecks on"), "ignored by Windows 7"),
        ("ws2025", lambda s: script(s, "recoveryenabled no", "testsigning on"), "which is refused"),
        ("win10-22h2", lambda s: script(s, "testsigning on"), "test signing is not switched on"),
    ],
    15: [("win7-sp1", public_network, "out of the Public profile")],
    16: [("ws2022", lambda s: script(s, "call :settled"), "WinRM opens before")],
    17: [
        ("winvista-sp2", lambda s: answer(s, "first-boot.cmd", "other.cmd"), "does not start first-boot.cmd")
    ],
    18: [
        ("win10-1607", lambda s: script(s, "AlwaysKeepMemoryDump", "X"), "under 25 GB free"),
        ("win10-1607", lambda s: replace(s, dump_disk_mib=100), "the disk for dumps has 100 MiB"),
        ("winxp-sp3", lambda s: script(s, 'AutoReboot /t REG_DWORD /d "0"', "X"), "AutoReboot is not set"),
    ],
    19: [
        ("winvista-sp2", without_word_of_sha2, "SHA-256"),
        ("ws2008r2-sp1", another_certificate("ws2022"), "not signed with sha1"),
        ("win81", another_certificate("win7-sp1"), "not signed with sha256"),
    ],
    20: [
        ("win10-21h2", cd_first, "the CD starts before the disk"),
        ("ws2003r2-x86", lambda s: script(s, "cd2chain", "x"), "asks for its second disc"),
        ("win81", lambda s: script(s, "QuickEdit", "x"), "a click into the console"),
    ],
}


def test_every_trap_has_a_check_and_a_case() -> None:
    assert [trap.number for trap in TRAPS] == list(range(1, 21))
    assert set(FALLS) == {trap.number for trap in TRAPS}


@pytest.mark.parametrize(
    ("number", "name", "fall", "says"),
    [(number, *case) for number, cases in FALLS.items() for case in cases],
    ids=[f"{number}-{case[0]}-{i}" for number, cases in FALLS.items() for i, case in enumerate(cases)],
)
def test_a_trap_is_seen(
    number: int, name: str, fall: Callable[[Subject], Subject], says: str, tmp_path: Path
) -> None:
    trap = TRAPS[number - 1]
    found = subject(name, tmp_path)
    assert list(trap.check(found)) == []
    assert any(says in problem for problem in trap.check(fall(found)))


# -- discs ---------------------------------------------------------------------------------------------------


def test_a_floppy_is_as_one_that_a_pc_formatted(tmp_path: Path) -> None:
    image = tmp_path / "a.img"
    make_floppy(image, {"winnt.sif": b"[Data]\r\n", "b.txt": b"x" * 600})
    assert floppy_problems(image) == ()
    assert list_floppy(image) == {"winnt.sif": b"[Data]\r\n", "b.txt": b"x" * 600}
    raw = bytearray(image.read_bytes())
    for offset, value, says in ((21, 0xF8, "media byte"), (17, 0x70, "root entries"), (24, 9, "in a track")):
        image.write_bytes(bytes(raw[:offset]) + bytes([value]) + bytes(raw[offset + 1 :]))
        assert any(says in problem for problem in floppy_problems(image))
    with pytest.raises(UsageError, match="don't fit on a floppy"):
        make_floppy(image, {"x": bytes(1_500_000)})


def test_a_rebuilt_disc_replaces_and_adds_and_keeps_the_rest(tmp_path: Path) -> None:
    old = {"REACTOS/unattend.inf": b"old", "REACTOS/system32/k.exe": b"k", "x": b"y"}
    make_disc(old, "OLD", tmp_path / "d.iso")
    rebuild_disc(tmp_path / "d.iso", tmp_path / "r.iso", {"reactos/unattend.inf": b"new", "harness/a": b"b"})
    assert list_disc(tmp_path / "r.iso") == {
        "REACTOS/unattend.inf": b"new",
        "REACTOS/system32/k.exe": b"k",
        "x": b"y",
        "harness/a": b"b",
    }


# -- the command ---------------------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote_and_assumed(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["image", "build", "winxp-sp3", "--dry-run", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "winnt.sif" in done.output
    assert "assumed: no medium" in done.output
    assert "XXXXX stands for yours" in done.output
    assert (out / "answers.img").is_file()


def test_a_recipe_that_is_not_installed_has_no_dry_run() -> None:
    done = CliRunner().invoke(app, ["image", "build", "stand-in", "--dry-run"])
    assert isinstance(done.exception, UsageError)
    assert "not installed from a medium" in str(done.exception)


def test_an_unused_disc_and_removable_are_told_apart(tmp_path: Path) -> None:
    """XP: the medium, a disc with the first boot's files, the floppy; no answer file on the disc."""
    found = subject("winxp-sp3", tmp_path)
    assert found.machine.removable == (
        Removable(tmp_path / "no-medium.iso"),
        Removable(tmp_path / "harness.iso"),
        Removable(tmp_path / "answers.img", floppy=True),
    )
    assert found.machine.disks[0] == Disk(tmp_path / "disk.qcow2")
    assert set(found.plan.discs.floppy) == {"winnt.sif"}
    assert not [path for path in found.plan.discs.disc if path.endswith((".sif", ".xml"))]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["stand-in", "--media", "x.iso"], "not installed from a medium; leave --media out"),
        (["win11-24h2", "--media", "gone.iso"], "there is no such file"),
        (["win11-24h2", "--media", "https://example.invalid/a.iso"], "a medium from a URL needs its hash"),
        (["win11-24h2", "--media", "gone.iso", "--sha256", "00" * 32], "there is no such file"),
        (["win11-24h2"], "with its install medium"),
    ],
)
def test_a_build_that_can_not_begin_says_why(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    done = CliRunner().invoke(app, ["image", "build", *arguments])
    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)


@pytest.mark.parametrize(
    ("arguments", "drills"),
    [
        (["win11-24h2", "--media", "x.iso"], ["win11-24h2"]),
        (["win11-24h2", "--media", "x.iso", "--no-drill"], []),
        (["stand-in"], []),
        (["stand-in", "--drill"], ["stand-in"]),
    ],
)
def test_what_was_installed_is_drilled_at_once(
    arguments: list[str], drills: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drilled: list[str] = []
    image = SimpleNamespace(digest="ab" * 32, disks=())
    monkeypatch.setattr("harness.cli.image_install.install_command", lambda recipe, **more: None)
    monkeypatch.setattr("harness.image.images.ensure_image", lambda recipe, **more: image)
    monkeypatch.setattr("harness.cli.drill.drill", lambda name, recipes: drilled.append(name))
    done = CliRunner().invoke(app, ["image", "build", *arguments])
    assert done.exit_code == 0, done.output
    assert drilled == drills


def test_a_setup_that_needs_a_key_is_not_started_without(tmp_path: Path) -> None:
    recipe = find_recipe("winxp-sp3")
    files = {"I386": b"", "WIN51IP": b"", "WIN51IP.SP3": b""}
    medium = look_at_medium(disc(tmp_path / "xp.iso", files, udf=False), recipe, install_of(recipe))
    with throwaway(recipe, InstallRequest()) as given, pytest.raises(UsageError, match="--product-key-file"):
        plan_install(recipe, install_of(recipe), medium, given)


def test_secrets_show_nowhere_but_where_setup_reads_them(tmp_path: Path) -> None:
    recipe = find_recipe("win10-22h2")
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("ABCDE-12345-FGHIJ-67890-KLMNO\n")
    request = InstallRequest(product_key_file=key)
    with throwaway(recipe, request) as given:
        plan = plan_install(recipe, install_of(recipe), stand_in_medium(), given)
        shown = f"{given!r} {plan!r}"
        assert given.password not in shown
    assert "ABCDE" not in shown
    assert "<Key>ABCDE-12345-FGHIJ-67890-KLMNO</Key>" in plan.answer
    dry_run(recipe, install_of(recipe), tmp_path / "out", request=request)
    holding = {p.name for p in (tmp_path / "out").iterdir() if b"ABCDE-12345" in p.read_bytes()}
    assert holding == {"autounattend.xml", "harness.iso"}
