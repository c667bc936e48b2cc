"""The recipes that install from media: all there, readable, none repeating its family; mistakes are named."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.driver import find_project_root
from harness.errors import UsageError
from harness.guest.base import Arch
from harness.image.digest import install_key
from harness.image.finding import find_recipe, find_recipes
from harness.image.images import ensure_image, is_built, verify
from harness.image.install.dryrun import dry_run
from harness.image.install.guide import refreshed
from harness.image.installspec import Delivery, Install
from harness.image.recipe import load_recipe
from harness.image.store import ImageStore
from harness.machine.describe.spec import Firmware
from harness.strict import ConfigError, load_based, load_toml
from tests.image.recipes import installs, write_install

VERSIONS = {
    "winxp-sp3": ("5.1.2600", "x86"),
    "ws2003r2-x86": ("5.2.3790", "x86"),
    "ws2003r2-x64": ("5.2.3790", "x64"),
    "winvista-sp2": ("6.0.6002", "x64"),
    "winvista-sp2-x86": ("6.0.6002", "x86"),
    "win7-sp1": ("6.1.7601", "x64"),
    "win7-sp1-x86": ("6.1.7601", "x86"),
    "win81": ("6.3.9600", "x64"),
    "win10-1507": ("10.0.10240", "x64"),
    "win10-1607": ("10.0.14393", "x64"),
    "win10-1809": ("10.0.17763", "x64"),
    "win10-21h2": ("10.0.19044", "x64"),
    "win10-22h2": ("10.0.19045", "x64"),
    "win11-21h2": ("10.0.22000", "x64"),
    "win11-22h2": ("10.0.22621", "x64"),
    "win11-23h2": ("10.0.22631", "x64"),
    "win11-24h2": ("10.0.26100", "x64"),
    "win11-25h2": ("10.0.26200", "x64"),
    "ws2008r2-sp1": ("6.1.7601", "x64"),
    "ws2012r2": ("6.3.9600", "x64"),
    "ws2016": ("10.0.14393", "x64"),
    "ws2019": ("10.0.17763", "x64"),
    "ws2022": ("10.0.20348", "x64"),
    "ws2025": ("10.0.26100", "x64"),
    "reactos-0.4.15": ("5.2.3790", "x86"),
}


def test_every_promised_version_has_a_recipe() -> None:
    found = {recipe.name: (recipe.version.triple, recipe.arch.value) for recipe in installs()}
    assert found == VERSIONS


@pytest.mark.parametrize("name", VERSIONS)
def test_a_recipe_says_only_what_its_family_does_not(name: str) -> None:
    """A value that stands in both is said twice."""
    file = find_recipe(name).file
    own = load_toml(file)
    family, _ = load_based(file.parent / str(own.pop("based_on")))

    def repeated(mine: dict[str, object], theirs: dict[str, object], where: str = "") -> list[str]:
        found = []
        for key, value in mine.items():
            other = theirs.get(key)
            if isinstance(value, dict) and isinstance(other, dict):
                found += repeated(value, other, f"{where}{key}.")
            elif value == other:
                found.append(f"{where}{key}")
        return found

    assert repeated(own, family) == []


def test_windows_11_is_installed_with_secure_boot_and_run_without() -> None:
    recipe = find_recipe("win11-24h2")
    assert isinstance(recipe.source, Install)
    assert recipe.hardware.firmware is Firmware.UEFI
    assert recipe.source.hardware(recipe.hardware).firmware is Firmware.UEFI_SECURE
    assert recipe.hardware.tpm
    assert recipe.guest_ports == (5986,)


@pytest.mark.parametrize("name", [name for name in VERSIONS if name.startswith("win11") or name == "ws2025"])
def test_the_checks_of_windows_11_pass_honestly(name: str, tmp_path: Path) -> None:
    """What "Windows 11 Specs and System Requirements" asks for is there, and nothing switches a check off."""
    recipe = find_recipe(name)
    assert isinstance(recipe.source, Install)
    machine = recipe.source.hardware(recipe.hardware)
    assert (machine.tpm, machine.firmware) == (True, Firmware.UEFI_SECURE)
    assert (machine.memory_mib >= 4096, machine.processors >= 2, recipe.source.disk_gib >= 64) == (True,) * 3
    dry_run(recipe, recipe.source, tmp_path / "out")
    answer = (tmp_path / "out" / "autounattend.xml").read_text()
    assert "LabConfig" not in answer
    assert "Bypass" not in answer
    assert 'model="tpm-crb"' in (tmp_path / "out" / "install.xml").read_text()


MISTAKES = {
    "another file": (
        'answer = "autounattend.xml"',
        'answer = "winnt.sif"',
        r"install\.answer: setup of nt6 reads",
    ),
    "no builds": ("builds = [7601]", "builds = []", r"install\.media: must name builds and editions"),
    "a family nobody knows": (
        'family = "nt6"',
        'family = "unknown"',
        r"install\.media\.family: must be one of xp",
    ),
    "stages elsewhere": ("debug_com = 1", "debug_com = 0", r"hardware\.debug_com: must be 1"),
    "no room": ("disk_gib = 1", "disk_gib = 0", r"install\.disk_gib: must be from 1"),
    "floppy on q35": ('delivery = "cd"', 'delivery = "floppy"', r"install\.delivery: q35 has no floppy"),
    "no place": ('where = "here"\n', "", r"install\.media\.where: is missing"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(tmp_path: Path, mistake: str) -> None:
    right, wrong, message = MISTAKES[mistake]
    file = write_install(tmp_path)
    if "floppy" in mistake:
        file.write_text(
            file.read_text().replace('machine = "pc"', 'machine = "q35"').replace('"ide"', '"sata"')
        )
    load_recipe(file)
    text = file.read_text()
    assert text.count(right) == 1
    file.write_text(text.replace(right, wrong))
    with pytest.raises(ConfigError, match=message):
        load_recipe(file)


def test_a_recipe_is_laid_over_what_it_is_based_on(tmp_path: Path) -> None:
    file = write_install(tmp_path)
    (tmp_path / "mine").mkdir()
    mine = tmp_path / "mine" / "recipe.toml"
    mine.write_text(
        'based_on = "../tiny/recipe.toml"\nname = "mine"\n[hardware]\nmemory_mib = 128\n'
        '[install.media]\nwhere = "there"\n'
    )
    recipe, base = load_recipe(mine), load_recipe(file)
    assert isinstance(recipe.source, Install)
    assert recipe.source.media.where == "there"
    assert recipe.source.media.builds == (7601,)
    assert (recipe.hardware.memory_mib, recipe.hardware.cpu) == (128, base.hardware.cpu)
    mine.write_text(mine.read_text().replace("memory_mib", "memory_mb"))
    with pytest.raises(ConfigError, match=rf"memory_mb: unknown key.*those of {re.escape(str(mine.parent))}"):
        load_recipe(mine)
    mine.write_text('based_on = "../gone.toml"\n')
    with pytest.raises(ConfigError, match=r"gone\.toml: can't be read"):
        load_recipe(mine)
    mine.write_text('based_on = "../mine/recipe.toml"\n')
    with pytest.raises(ConfigError, match="is based on this file itself"):
        load_recipe(mine)


def test_a_recipe_of_ones_own_is_based_on_one_of_the_projects(tmp_path: Path) -> None:
    theirs = find_recipe("win10-22h2")
    mine = tmp_path / "win10-german" / "recipe.toml"
    mine.parent.mkdir()
    mine.write_text(
        f'based_on = "{theirs.file}"\nname = "win10-german"\ntitle = "Mine"\n[hardware]\nmemory_mib = 8192\n'
    )
    recipe = load_recipe(mine)
    assert recipe.hardware == replace(theirs.hardware, memory_mib=8192)
    assert recipe.source == theirs.source


def test_an_image_that_is_not_installed_says_how_it_is(tmp_path: Path) -> None:
    recipe, store = find_recipe("winxp-sp3"), ImageStore(tmp_path)
    assert not is_built(recipe, store=store)
    for ask in (ensure_image, verify):
        with pytest.raises(UsageError, match="harness image build winxp-sp3 --media ISO"):
            ask(recipe, store=store)


def test_what_only_people_read_is_no_part_of_an_image(tmp_path: Path) -> None:
    file = write_install(tmp_path)

    def key() -> str:
        recipe = load_recipe(file)
        assert isinstance(recipe.source, Install)
        return install_key(recipe, recipe.source)

    before, text = key(), file.read_text()
    file.write_text(
        text.replace('where = "here"', 'where = "there"').replace(
            "expected_minutes = 1", "expected_minutes = 2"
        )
    )
    assert key() == before
    file.write_text(text.replace("disk_gib = 1", "disk_gib = 2"))
    assert key() != before


def test_installed_images_outlive_a_month_unused(tmp_path: Path) -> None:
    import os
    import time

    store = ImageStore(tmp_path)
    for name, keep in (("kept", True), ("gone", False)):

        def make(into: Path, keep: bool = keep) -> dict[str, bool]:
            (into / "x").write_bytes(b"x")
            return {"keep": keep}

        store.ensure(name, name * 20, make)
    for lock in tmp_path.glob("*.lock"):
        os.utime(lock, (time.time() - 40 * 86400,) * 2)
    assert [folder.name.partition("-")[0] for folder in store.remove_unused()] == ["gone"]
    assert [one.name for one in store.named("kept")] == ["kept"]


def test_every_recipe_is_found_by_name_and_pattern() -> None:
    from harness.targets import parse_target, resolve_targets

    assert parse_target("vm:win10-22h2").arch is Arch.X64
    names = {target.name for target in resolve_targets(["vm:win11-*"])}
    assert names == {f"vm:{name}" for name in VERSIONS if name.startswith("win11-")}
    assert set(find_recipes()) == {*VERSIONS, "stand-in"}


def test_floppies_are_for_systems_that_read_no_second_disc() -> None:
    floppies = {
        recipe.name
        for recipe in installs()
        if isinstance(recipe.source, Install) and recipe.source.delivery is Delivery.FLOPPY
    }
    assert floppies == {"winxp-sp3", "ws2003r2-x86", "ws2003r2-x64", "winvista-sp2", "winvista-sp2-x86"}


def test_the_page_about_images_says_what_the_recipes_say() -> None:
    page = find_project_root() / "docs" / "images.md"
    text = page.read_text(encoding="utf-8")
    assert refreshed(text) == text, f"run: python -m harness.image.install.guide {page}"
    for name in VERSIONS:
        assert f"`{name}`" in text


def test_the_page_has_a_part_that_nobody_knows() -> None:
    with pytest.raises(UsageError, match="asks for the part 'poems'"):
        refreshed("<!-- generated: poems -->\n<!-- end -->")
    assert "| `winxp-sp3` |" in refreshed("<!-- generated: media -->\nold\n<!-- end -->")
