"""What an image is known by: everything that determines it, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.image.digest import system_key
from harness.image.finding import find_recipe
from harness.image.recipe import DebianBuild, load_recipe


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The stand-in's recipe, to be changed."""
    folder = tmp_path / "stand-in"
    shutil.copytree(find_recipe("stand-in").folder, folder)
    return folder


def key(folder: Path) -> str:
    recipe = load_recipe(folder / "recipe.toml")
    assert isinstance(recipe.source, DebianBuild)
    return system_key(recipe, recipe.source)


def test_the_place_of_a_recipe_is_no_part_of_its_image(copy: Path) -> None:
    assert key(copy) == key(find_recipe("stand-in").folder)


CHANGES = {
    "a package": ("recipe.toml", '"wine64",', '"wine64",\n    "strace",'),
    "the size": ("recipe.toml", "size_mib = 3072", "size_mib = 4096"),
    "the setup": ("setup.sh", "set -eu", "set -eux"),
    "a file of the system": ("root/etc/fstab", "noatime", "relatime"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_goes_into_the_system_changes_its_key(copy: Path, change: str) -> None:
    name, old, new = CHANGES[change]
    before = key(copy)
    file = copy / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert key(copy) != before


def test_a_files_right_to_be_executed_changes_the_key(copy: Path) -> None:
    before = key(copy)
    (copy / "root/usr/local/bin/windows-shell").chmod(0o644)
    assert key(copy) != before


def test_another_release_is_another_image(copy: Path) -> None:
    before = key(copy)
    file = copy / "recipe.toml"
    file.write_text(file.read_text().replace("size_mib", 'suite = "trixie"\nsize_mib'))
    assert key(copy) != before


@pytest.mark.parametrize(
    ("old", "new"), [("Debian with Wine:", "Words:"), ("memory_mib = 1024", "memory_mib = 2048")]
)
def test_words_and_hardware_need_no_new_system(copy: Path, old: str, new: str) -> None:
    before, whole = key(copy), load_recipe(copy / "recipe.toml").digest
    file = copy / "recipe.toml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    assert key(copy) == before
    # The machine is another one all the same when its hardware is.
    assert (load_recipe(file).digest != whole) is old.startswith("memory")
