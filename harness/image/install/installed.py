"""Installed images in the store: which one a recipe means, and the machine it makes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from harness.errors import UsageError
from harness.image.digest import digest_of, install_key
from harness.image.installspec import Install
from harness.image.recipe import Recipe
from harness.image.store import ImageStore, Stored
from harness.image.virtio import with_virtio
from harness.machine.describe.spec import Disk, DiskFormat, Firmware, SealedImage

__all__ = [
    "DRIVERS_FACT",
    "DUMP_DISK",
    "RECIPE_FACT",
    "SYSTEM_DISK",
    "VARIABLES",
    "find_installed",
    "installed_image",
    "not_installed",
]

SYSTEM_DISK: Final = "disk.qcow2"
DUMP_DISK: Final = "dumps.qcow2"
VARIABLES: Final = "variables.fd"
TPM: Final = "tpm"
#: What of an image's facts says which recipe made it: `install_key`.
RECIPE_FACT: Final = "recipe_key"
#: Names of the virtio drivers it was installed with.
DRIVERS_FACT: Final = "virtio"


def find_installed(recipe: Recipe, install: Install, store: ImageStore) -> Stored | None:
    """The image installed last by the recipe as it is now, from whatever medium."""
    key = install_key(recipe, install)
    return next((one for one in store.named(recipe.name) if one.facts.get(RECIPE_FACT) == key), None)


def not_installed(recipe: Recipe, install: Install, store: ImageStore) -> UsageError:
    """Says what to do, and why an image that is there does not count."""
    changed = "its recipe or its templates changed since it was installed" if store.named(recipe.name) else ""
    return UsageError(
        f"{recipe.name} is not installed{f' ({changed})' if changed else ''}; with its install medium "
        f"({install.media.where}) run: harness image build {recipe.name} --media ISO"
    )


def installed_image(recipe: Recipe, stored: Stored) -> SealedImage:
    """The machine of an installed image: its disk, the disk for dumps, what firmware and TPM kept.

    Its hardware is the recipe's with the virtio devices that it was installed with drivers for.
    """
    hardware = with_virtio(recipe.hardware, map(str, stored.facts.get(DRIVERS_FACT, ())))
    variables = stored.path(VARIABLES) if hardware.firmware is not Firmware.BIOS else None
    content: list[Any] = [dict(stored.files), asdict(hardware)]
    return SealedImage(
        name=recipe.name,
        digest=digest_of(content),
        hardware=hardware,
        disks=(
            Disk(stored.path(SYSTEM_DISK), DiskFormat.QCOW2),
            Disk(stored.path(DUMP_DISK), DiskFormat.QCOW2, target=1),
        ),
        firmware_variables=variables,
        tpm_state=stored.path(TPM) if hardware.tpm else None,
        guest_ports=recipe.guest_ports,
        boot_seconds=recipe.boot_seconds,
    )
