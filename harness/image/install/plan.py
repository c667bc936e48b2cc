"""Everything one install uses, worked out before anything is started: answers, files, discs.

`InstallPlan.discs` says what is on which disc; `harness.image.install.layout` makes machines of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.image.answer import (
    DRIVERS_FOLDER,
    AnswerFacts,
    AnswerFile,
    WinRmSetup,
)
from harness.image.install.medium import Medium
from harness.image.installspec import Delivery, Install, ProductKey
from harness.image.payload import port_name
from harness.image.recipe import AccessKind, Recipe
from harness.image.setupkeys import setup_key
from harness.image.templates import render, shared_folder
from harness.image.virtio import EARLY, VirtioDrivers, with_virtio
from harness.machine.describe.spec import ChannelPort, DiskBus, Firmware, Nic

__all__ = ["DiscContents", "Ingredients", "InstallPlan", "KeyOf", "plan_install"]

#: Where the first boot's files are on the disc, and where the answer file's first command looks for them.
FOLDER: Final = "harness"
FIRST_BOOT: Final = f"{FOLDER}/first-boot.cmd"
RUNNER: Final = f"{FOLDER}/regrun.exe"
CERTIFICATE: Final = f"{FOLDER}/harness.cer"
REACTOS_ANSWER: Final = "reactos/unattend.inf"


class KeyOf(StrEnum):
    """Whose product key setup gets."""

    OWNER = "its owner's"
    MICROSOFT = "published by Microsoft"  # `harness.image.setupkeys`
    NOBODY = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What an install needs besides recipe and medium. Secrets are in here: it is never printed.

    `openssh` are the files of a Win32-OpenSSH release with the keys (`ssh/...`), by path; empty: none.
    `certificate` is what drivers are signed with, DER. `drivers` are those of the virtio-win disc.
    """

    runner: bytes = field(repr=False)
    certificate: bytes = field(repr=False)
    password: str = field(repr=False)
    winrm: tuple[WinRmSetup, bytes] | None = field(default=None, repr=False)
    openssh: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    product_key: str = field(default="", repr=False)
    hibernation: bool = False
    drivers: VirtioDrivers | None = None


@dataclass(frozen=True, slots=True)
class DiscContents:
    """What goes on which disc, by path. `medium` is what is put into a copy of the medium; empty: no copy."""

    disc: Mapping[str, bytes] = field(default_factory=dict)
    floppy: Mapping[str, bytes] = field(default_factory=dict)
    medium: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InstallPlan:
    """One install. `answer` is the answer file's text, `script` the first boot's.

    The hardware of `recipe` is that with the drivers that were given.
    """

    recipe: Recipe
    install: Install
    medium: Medium
    answers: AnswerFacts = field(repr=False)
    answer: str = field(repr=False)
    script: str = field(repr=False)
    #: The first boot's files and drivers, by path on the disc.
    files: Mapping[str, bytes] = field(repr=False)
    drivers: VirtioDrivers | None = None
    product_key: KeyOf = KeyOf.NOBODY

    @property
    def switches_test_signing_later(self) -> bool:
        """Installed with Secure Boot on, run with it off: `harness.image.install.testsigning`."""
        run_with = self.recipe.hardware.firmware
        return (
            self.answers.has_bcd
            and not self.answers.switches_test_signing
            and run_with is not Firmware.UEFI_SECURE
        )

    @property
    def discs(self) -> DiscContents:
        """A second disc has a second answer file never: the first one found would win."""
        answer = {self.install.answer.value: self.answer.encode("utf-8")}
        match self.install.delivery:
            case Delivery.CD:
                return DiscContents(disc={**answer, **self.files})
            case Delivery.FLOPPY:
                return DiscContents(disc=self.files, floppy=answer)
            case Delivery.REBUILT_CD:
                return DiscContents(medium={REACTOS_ANSWER: answer[self.install.answer.value], **self.files})


def plan_install(recipe: Recipe, install: Install, medium: Medium, given: Ingredients) -> InstallPlan:
    """Work everything out.

    Raises `UsageError` where a product key or a driver is missing that the recipe can't do without.
    """
    drivers = given.drivers
    if drivers is not None:
        recipe = replace(recipe, hardware=with_virtio(recipe.hardware, drivers.names))
    _check_drivers(recipe, drivers)
    if install.product_key is ProductKey.REQUIRED and not given.product_key and not medium.is_stand_in:
        raise UsageError(
            f"setup of {recipe.title} stops without a product key: write yours into a file of your own "
            "(chmod 600) and give it with --product-key-file"
        )
    has_winrm = recipe.access(AccessKind.WINRM) is not None
    if has_winrm is (given.winrm is None):
        raise UsageError(
            f"{recipe.name}: a certificate for WinRM is given exactly where the recipe has WinRM"
        )
    published = setup_key(medium.image)
    answers = AnswerFacts(
        title=recipe.title,
        answer=install.answer,
        version=recipe.version,
        arch=recipe.arch,
        is_server=install.media.is_server,
        firmware=install.hardware(recipe.hardware).firmware,
        password=given.password,
        runner_port=port_name(recipe.hardware.channel).removeprefix("\\\\.\\"),
        image_index=medium.index,
        language=medium.language,
        product_key=given.product_key or published or _no_key(install),
        hibernation=given.hibernation,
        has_dump_disk=install.answer is not AnswerFile.REACTOS,
        winrm=given.winrm[0] if given.winrm is not None else None,
        openssh=bool(given.openssh),
        has_drivers=drivers is not None,
        early_services=tuple(name for name in drivers.names if name in EARLY) if drivers else (),
    )
    script = render("first-boot.cmd", answers)
    return InstallPlan(
        recipe=recipe,
        install=install,
        medium=medium,
        answers=answers,
        answer=render(install.answer.value, answers),
        script=script,
        files=_files(answers, script, given),
        drivers=drivers,
        product_key=KeyOf.OWNER if given.product_key else KeyOf.MICROSOFT if published else KeyOf.NOBODY,
    )


def _check_drivers(recipe: Recipe, drivers: VirtioDrivers | None) -> None:
    """A recipe of one's own may have hardware that no Windows knows by itself."""
    held = set(drivers.names) if drivers is not None else set()
    hardware = recipe.hardware
    for wanted, driver, what in (
        (hardware.disk_bus is DiskBus.VIRTIO, "viostor", "disk"),
        (hardware.nic is Nic.VIRTIO, "NetKVM", "network card"),
        (hardware.channel is ChannelPort.VIRTIO, "vioserial", "port of the runner"),
    ):
        if wanted and driver not in held:
            raise UsageError(
                f"the {what} of {recipe.name} is a virtio one, for which Windows has no driver: give a "
                f"virtio-win disc that has {driver} for it with --virtio-win"
            )


def _no_key(install: Install) -> str:
    """What a dry run shows where a key has to be: it is none, and a build refuses to go on without one."""
    return "XXXXX-XXXXX-XXXXX-XXXXX-XXXXX" if install.product_key is ProductKey.REQUIRED else ""


def _files(answers: AnswerFacts, script: str, given: Ingredients) -> dict[str, bytes]:
    files = {
        FIRST_BOOT: script.encode("ascii"),
        RUNNER: given.runner,
        CERTIFICATE: given.certificate,
    }
    if answers.has_dump_disk:
        files[f"{FOLDER}/dump-disk.txt"] = render("dump-disk.txt", answers).encode("ascii")
    if given.winrm is not None:
        files[f"{FOLDER}/winrm.pfx"] = given.winrm[1]
        files[f"{FOLDER}/private-network.ps1"] = _shared("private-network.ps1")
    if given.drivers is not None:
        files.update({f"{DRIVERS_FOLDER}/{path}": data for path, data in given.drivers.files.items()})
    if given.openssh:
        files[f"{FOLDER}/openssh.ps1"] = _shared("openssh.ps1")
        files.update({f"{FOLDER}/{name}": content for name, content in given.openssh.items()})
    return files


def _shared(name: str) -> bytes:
    """A script of the shared folder as Windows' programs want it, with CRLF."""
    text = Path(shared_folder(), name).read_text(encoding="ascii")
    return "".join(f"{line}\r\n" for line in text.splitlines()).encode("ascii")
