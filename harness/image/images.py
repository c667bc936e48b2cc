"""From a recipe to an image that machines can be made of: built or installed once and kept, or adopted.

An install takes a medium and an hour, so it is not done by the way: `harness.image.install.builder` does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import UsageError
from harness.guest.base import Arch
from harness.image.debian import DISK, EPOCH, INITRD, KERNEL, build_system
from harness.image.digest import adopted_digest, digest_of, system_key
from harness.image.fat import make_fat_disk
from harness.image.install.installed import find_installed, installed_image, not_installed
from harness.image.installspec import Install
from harness.image.keys import GuestKeys, guest_keys
from harness.image.payload import payload_files
from harness.image.recipe import Adopt, DebianBuild, Payload, Recipe
from harness.image.stand_in import COMMAND_LINE, PAYLOAD, make_stand_in_payload
from harness.image.store import ImageStore, Stored
from harness.image.tools import Progress, find_tool, quiet, run
from harness.machine.describe.firmware import find_firmware
from harness.machine.describe.spec import DirectBoot, Disk, DiskFormat, Removable, SealedImage
from harness.machine.disk.disks import inspect_disk
from harness.machine.disk.seal import file_digest

__all__ = ["Check", "built_image", "ensure_image", "image_keys", "is_built", "verify"]

_FAT: Final = "payload.raw"


def ensure_image(
    recipe: Recipe, *, store: ImageStore | None = None, progress: Progress = quiet
) -> SealedImage:
    """The recipe's image, built or checked first when needed.

    Building takes minutes and needs the network for packages; what was built is kept and used again while
    nothing that it depends on changes. Raises `ConfigError` and `UsageError` for what the recipe's author can
    mend and for an image that has to be installed first, `ToolMissingError` and `InfrastructureError` for
    this host.
    """
    where = store or ImageStore()
    if isinstance(recipe.source, Adopt):
        return _adopted(recipe, recipe.source, where, progress)
    if isinstance(recipe.source, Install):
        stored = find_installed(recipe, recipe.source, where)
        if stored is None:
            raise not_installed(recipe, recipe.source, where)
        return installed_image(recipe, stored)
    return _built(recipe, recipe.source, where, progress)


def is_built(recipe: Recipe, *, store: ImageStore | None = None) -> bool:
    """Whether `ensure_image` would build nothing that takes long."""
    if isinstance(recipe.source, Adopt):
        return True
    if isinstance(recipe.source, Install):
        return find_installed(recipe, recipe.source, store or ImageStore()) is not None
    return (store or ImageStore()).find(recipe.name, system_key(recipe, recipe.source)) is not None


# -- built -------------------------------------------------------------------------------------------------


def _built(recipe: Recipe, build: DebianBuild, store: ImageStore, progress: Progress) -> SealedImage:
    system = _system(recipe, build, store, progress)
    return built_image(recipe, system, _stand_in_payload(recipe, store, progress))


def built_image(recipe: Recipe, system: Stored, payload: Stored) -> SealedImage:
    """The image of a built system with a payload disk."""
    boot = DirectBoot(system.path(KERNEL), system.path(INITRD), COMMAND_LINE)
    return SealedImage(
        name=recipe.name,
        # By content: built again from the same recipe it is another disk, and templates must not fit it.
        digest=digest_of([system.files, payload.files, asdict(recipe.hardware), COMMAND_LINE]),
        hardware=recipe.hardware,
        disks=(
            Disk(system.path(DISK), DiskFormat.QCOW2),
            Disk(payload.path(PAYLOAD), DiskFormat.RAW, target=1, read_only=True),
        ),
        boot=boot,
        guest_ports=recipe.guest_ports,
        boot_seconds=recipe.boot_seconds,
    )


def _system(recipe: Recipe, build: DebianBuild, store: ImageStore, progress: Progress) -> Stored:
    def make(into: Path) -> Mapping[str, Any]:
        built = build_system(recipe, build, into, progress=progress)
        return {"recipe": recipe.name, "release": str(built.release), "packages": list(built.packages)}

    return store.ensure(recipe.name, system_key(recipe, build), make, progress=progress)


def _stand_in_payload(recipe: Recipe, store: ImageStore, progress: Progress) -> Stored:
    from harness.driver.program import build_program, program_spec, runner_image

    progress("runner and keys")
    keys = image_keys(recipe, store=store)
    runner = runner_image(recipe.arch)
    session = build_program(
        program_spec(recipe.folder / "session", "session"), recipe.arch
    ).image.read_bytes()

    def make(into: Path) -> Mapping[str, Any]:
        make_stand_in_payload(into, runner=runner, session=session, keys=keys)
        return {"recipe": recipe.name, "host_key": keys.host_public}

    key = digest_of(["payload", runner, session, keys.host_public, keys.client_public])
    return store.ensure(f"{recipe.name}-payload", key, make, progress=progress)


def image_keys(recipe: Recipe, *, store: ImageStore | None = None) -> GuestKeys:
    """The keys of a built image's guests, made on first use."""
    where = store or ImageStore()
    with where.locked(f"{recipe.name}-keys"):
        return guest_keys(where.folder / "keys" / recipe.name)


# -- adopted -----------------------------------------------------------------------------------------------


def _adopted(recipe: Recipe, adopt: Adopt, store: ImageStore, progress: Progress) -> SealedImage:
    disks: list[Disk] = []
    content: list[str] = []
    if adopt.disk is not None:
        progress(f"checking {adopt.disk.name}")
        inspect_disk(adopt.disk, adopt.format)
        content.append(adopted_digest(adopt.disk, store))
        disks.append(_usable_disk(recipe, adopt.disk, adopt.format, content[0], store, progress))
    if adopt.cd is not None:
        progress(f"checking {adopt.cd.name}")
        content.append(adopted_digest(adopt.cd, store))
    if adopt.payload is not None:
        stored = _adopted_payload(recipe, adopt.payload, store, progress)
        disks.append(Disk(stored.path(_FAT), DiskFormat.RAW, target=len(disks)))
        content.append(stored.files[_FAT])
    variables = _firmware_variables(recipe, adopt)
    if variables is not None:
        content.append(file_digest(variables))
    return SealedImage(
        name=recipe.name,
        digest=digest_of(["adopted", content, asdict(recipe.hardware)]),
        hardware=recipe.hardware,
        disks=tuple(disks),
        removable=(Removable(adopt.cd),) if adopt.cd is not None else (),
        boot_from_cd=adopt.cd is not None and adopt.disk is None,
        firmware_variables=variables,
        guest_ports=recipe.guest_ports,
        boot_seconds=recipe.boot_seconds,
    )


def _usable_disk(
    recipe: Recipe, disk: Path, format: DiskFormat, digest: str, store: ImageStore, progress: Progress
) -> Disk:
    """The disk itself; of one in a format that libvirt does not know (VHDX) a converted copy, kept."""
    if format is not DiskFormat.VHDX:
        return Disk(disk, format)

    def make(into: Path) -> Mapping[str, Any]:
        progress(f"converting {disk.name}")
        target = into / DISK
        target.touch(mode=0o600)
        run([find_tool("qemu-img"), "convert", "-f", format.value, "-O", "qcow2", str(disk), str(target)])
        return {"recipe": recipe.name, "of": str(disk)}

    stored = store.ensure(f"{recipe.name}-disk", digest_of(["converted", digest]), make, progress=progress)
    return Disk(stored.path(DISK), DiskFormat.QCOW2)


def _firmware_variables(recipe: Recipe, adopt: Adopt) -> Path | None:
    """The UEFI variables that machines start from: the adopted system's, or the host's fresh ones."""
    firmware = find_firmware(recipe.hardware)
    if firmware is None or adopt.firmware_variables is None:
        return firmware.variables if firmware is not None else None
    found, fits = adopt.firmware_variables.stat().st_size, firmware.variables.stat().st_size
    if found != fits:
        raise UsageError(
            f"{adopt.firmware_variables} has {found} bytes, and variables of this host's firmware "
            f"({firmware.code}) {fits}: they are another firmware's; leave them out to start from fresh ones"
        )
    return adopt.firmware_variables


def _adopted_payload(recipe: Recipe, payload: Payload, store: ImageStore, progress: Progress) -> Stored:
    from harness.driver.program import runner_image

    progress("payload disk")
    files = payload_files(payload, recipe.hardware.channel, runner=runner_image(Arch(recipe.arch)))

    def make(into: Path) -> Mapping[str, Any]:
        make_fat_disk(into / _FAT, files, size_mib=payload.size_mib, epoch=EPOCH)
        return {"recipe": recipe.name, "paths": sorted(files)}

    key = digest_of(["fat", dict(files), payload.size_mib])
    return store.ensure(f"{recipe.name}-payload", key, make, progress=progress)


# -- looking at what is there ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `problems` is empty where all is as it should be."""

    what: str
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def verify(
    recipe: Recipe, *, store: ImageStore | None = None, progress: Progress = quiet
) -> tuple[Check, ...]:
    """Work out every digest of the recipe's image again and compare.

    Raises `UsageError` when it isn't built yet.
    """
    where = store or ImageStore()
    if isinstance(recipe.source, Adopt):
        return _verify_adopted(recipe, recipe.source, where, progress)
    if isinstance(recipe.source, Install):
        stored = find_installed(recipe, recipe.source, where)
        if stored is None:
            raise not_installed(recipe, recipe.source, where)
        progress("working out digests")
        return (Check(str(stored.folder), tuple(where.problems(stored))),)
    system = where.find(recipe.name, system_key(recipe, recipe.source))
    if system is None:
        raise UsageError(f"{recipe.name} isn't built; run: harness image build {recipe.name}")
    progress("working out digests")
    payload = _stand_in_payload(recipe, where, progress)
    return tuple(Check(str(stored.folder), tuple(where.problems(stored))) for stored in (system, payload))


def _verify_adopted(recipe: Recipe, adopt: Adopt, store: ImageStore, progress: Progress) -> tuple[Check, ...]:
    """What is adopted belongs to the user and may change: only that it can be used is looked at."""
    checks = []
    if adopt.disk is not None:
        try:
            inspect_disk(adopt.disk, adopt.format)
        except UsageError as error:
            checks.append(Check(str(adopt.disk), (str(error),)))
        else:
            checks.append(Check(str(adopt.disk), ()))
    if adopt.payload is not None:
        stored = _adopted_payload(recipe, adopt.payload, store, progress)
        checks.append(Check(str(stored.folder), tuple(store.problems(stored))))
    return tuple(checks)
