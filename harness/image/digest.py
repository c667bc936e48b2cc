"""What an image depends on, as one hash: the same hash, the same image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from harness.image.debian import wanted_release
from harness.image.ext4 import tree_files
from harness.image.installspec import Install
from harness.image.recipe import DebianBuild, Recipe
from harness.image.store import ImageStore
from harness.image.templates import shared_folder
from harness.machine.disk.seal import file_digest
from harness.machine.keep.places import private_folder

__all__ = ["adopted_digest", "digest_of", "install_key", "recipe_digest", "system_key"]

#: Raise when the builder makes another image of the same recipe.
_BUILDER_VERSION: Final = 1
#: Raise when an install of the same recipe and medium gives another disk.
_INSTALLER_VERSION: Final = 1
_REMEMBERED: Final = "known-disks"


def digest_of(value: Any) -> str:
    """SHA-256 of plain data; paths, bytes and enums as text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)


def recipe_digest(recipe: Recipe) -> str:
    """What a recipe's image depends on, hardware included; not the runner, which belongs to the checkout."""
    hardware = asdict(recipe.hardware)
    if isinstance(recipe.source, DebianBuild):
        return digest_of([system_key(recipe, recipe.source), hardware])
    if isinstance(recipe.source, Install):
        return digest_of([install_key(recipe, recipe.source), hardware])
    store = ImageStore()
    content = [adopted_digest(path, store) for path in (recipe.source.disk, recipe.source.cd) if path]
    payload = recipe.source.payload
    drivers = [driver.read_bytes() for driver in payload.drivers] if payload else []
    return digest_of([content, asdict(payload) if payload else None, drivers, hardware])


def system_key(recipe: Recipe, build: DebianBuild) -> str:
    """What a built system's disk depends on: packages, release, the files laid over it, the setup script.

    Not the versions of the packages: these are as of the day it was built, and recorded in the image.
    """
    release = wanted_release(build)
    files: Mapping[str, Any] = {
        file.path: [file.mode, file.content] for file in tree_files(recipe.folder / "root")
    }
    return digest_of(
        {
            "builder": [build.builder, _BUILDER_VERSION],
            "name": recipe.name,
            "build": asdict(build),
            "release": [str(release), release.kernel],
            "root": files,
            "setup": (recipe.folder / "setup.sh").read_bytes(),
        }
    )


def install_key(recipe: Recipe, install: Install) -> str:
    """What an installed disk depends on besides its medium: the recipe and the shared templates.

    Not the runner, which belongs to the checkout, and nothing that is only told to people.
    """
    told = {"expected_minutes", "differs", "media"}
    return digest_of(
        {
            "installer": _INSTALLER_VERSION,
            "name": recipe.name,
            "system": [recipe.version.triple, recipe.arch],
            "hardware": asdict(recipe.hardware),
            "install": {key: value for key, value in asdict(install).items() if key not in told},
            "editions": install.media.editions,
            "channels": [asdict(access) for access in recipe.channels],
            "templates": {file.name: file.read_bytes() for file in sorted(shared_folder().iterdir())},
        }
    )


def adopted_digest(path: Path, store: ImageStore) -> str:
    """The SHA-256 of a disk or CD, worked out again only when the file was changed."""
    return file_digest(path, cache=private_folder(store.folder) / _REMEMBERED)
