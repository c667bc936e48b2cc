"""The ``[install]`` table of a recipe: how a system is installed from its own media, and which it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.image.answer import AnswerFile
from harness.image.media import MediaFamily
from harness.image.mediacheck import MediaWanted
from harness.machine.describe.spec import Firmware, Hardware
from harness.strict import mistake

if TYPE_CHECKING:
    from harness.guest.base import Arch

__all__ = ["Delivery", "Install", "InstallMedia", "ProductKey", "check_install"]


class Delivery(StrEnum):
    """How setup gets its answer file."""

    CD = "cd"  # a second disc beside the medium
    FLOPPY = "floppy"  # the answer file alone; everything else on a second disc
    REBUILT_CD = "rebuilt-cd"  # inside a copy of the medium


class ProductKey(StrEnum):
    REQUIRED = "required"  # setup stops without one
    OPTIONAL = "optional"


@dataclass(frozen=True, slots=True)
class InstallMedia:
    """Which media a recipe takes, as `MediaWanted` means it, and `where` they are officially found."""

    family: MediaFamily
    where: str
    builds: tuple[int, ...] = ()
    editions: tuple[str, ...] = ()
    installation_type: str = ""
    service_pack: int = 0
    sha256: tuple[str, ...] = ()

    def wanted(self, arch: Arch) -> MediaWanted:
        return MediaWanted(
            family=self.family,
            arch=arch.value,
            builds=self.builds,
            editions=self.editions,
            installation_type=self.installation_type,
            service_pack=self.service_pack,
            sha256=self.sha256,
        )

    @property
    def is_server(self) -> bool:
        return self.family is MediaFamily.SERVER_2003 or self.installation_type.startswith("Server")


@dataclass(frozen=True, slots=True)
class Install:
    """An unattended install.

    `firmware` is that of the install where it is not the template's: Windows 11 is installed with secure boot
    on and tested with it off. `expected_minutes` are for KVM on a present machine: an estimate, since no
    project that was read measured it. `differs` are sentences for people, by a name each, about what is known
    to be different with this version.
    """

    answer: AnswerFile
    delivery: Delivery
    disk_gib: int
    expected_minutes: int
    media: InstallMedia
    product_key: ProductKey = ProductKey.OPTIONAL
    firmware: Firmware | None = None
    differs: Mapping[str, str] = field(default_factory=dict)

    def hardware(self, template: Hardware) -> Hardware:
        """The machine it is installed on: the template's but for its firmware."""
        return replace(template, firmware=self.firmware or template.firmware)


#: What setup of each family reads.
_ANSWERS: Final[Mapping[MediaFamily, AnswerFile]] = {
    MediaFamily.XP: AnswerFile.WINNT,
    MediaFamily.XP_X64: AnswerFile.WINNT,
    MediaFamily.SERVER_2003: AnswerFile.WINNT,
    MediaFamily.NT6: AnswerFile.AUTOUNATTEND,
    MediaFamily.REACTOS: AnswerFile.REACTOS,
}
_LARGEST_DISK: Final = 2048  # GiB; beyond it an MBR can't count
_LONGEST: Final = 24 * 60


def check_install(install: Install, hardware: Hardware, file: Path) -> None:
    """Raise `ConfigError` for an install that can't work, whatever the medium."""
    for key, value, most in (
        ("disk_gib", install.disk_gib, _LARGEST_DISK),
        ("expected_minutes", install.expected_minutes, _LONGEST),
    ):
        if not 1 <= value <= most:
            raise mistake(file, f"install.{key}", f"must be from 1 to {most}, not {value}")
    media = install.media
    if media.family is MediaFamily.UNKNOWN:
        known = ", ".join(family for family in MediaFamily if family is not MediaFamily.UNKNOWN)
        raise mistake(file, "install.media.family", f"must be one of {known}")
    if install.answer is not _ANSWERS[media.family]:
        raise mistake(
            file,
            "install.answer",
            f"setup of {media.family} reads {_ANSWERS[media.family]}, not {install.answer}",
        )
    if media.family is MediaFamily.NT6 and not (media.builds and media.editions):
        raise mistake(
            file, "install.media", "must name builds and editions: media of several systems look alike"
        )
    for name, why in install.differs.items():
        if not isinstance(why, str) or not why.strip():
            raise mistake(file, f"install.differs.{name}", "must be a sentence for people")
    if hardware.debug_com != 1:
        raise mistake(file, "hardware.debug_com", "must be 1: an install tells its stages on COM1")
    if "q35" in hardware.machine and install.delivery is Delivery.FLOPPY:
        raise mistake(file, "install.delivery", "q35 has no floppy; use a cd, or the machine pc")
