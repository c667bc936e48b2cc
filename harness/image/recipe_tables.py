"""The tables of a recipe: how one talks to the guest, and where its disk comes from.

`[install]` is in `harness.image.installspec`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from harness.machine.describe.spec import DiskFormat

__all__ = ["Access", "AccessKind", "Adopt", "Builder", "DebianBuild", "Payload"]


class AccessKind(StrEnum):
    """The ways in, as `harness.channel.base.ChannelKind` names them."""

    SERIAL = "serial"
    SSH = "ssh"
    WINRM = "winrm"


class Builder(StrEnum):
    """What makes an image from packages."""

    DEBIAN_WINE = "debian-wine"


@dataclass(frozen=True, slots=True)
class Access:
    """One way into the guest; the first is preferred.

    Keys and passwords are files that only their owner can read. `host_key` is the line or the fingerprint of
    the SSH server's key, `certificate` the SHA-256 of the WinRM service's. Images that the harness built need
    neither: their keys were made with them.
    """

    kind: AccessKind
    user: str = ""
    port: int = 0  # 0: 22 for SSH; 5985 for WinRM, 5986 with a certificate
    key_file: Path | None = None
    password_file: Path | None = None
    host_key: str = ""
    certificate: str = ""
    #: Where the runner is in the guest; empty: where the harness puts it.
    runner: str = ""

    @property
    def guest_port(self) -> int:
        """The port of the guest that has to be reached; 0 for none."""
        usual = {AccessKind.SSH: 22, AccessKind.WINRM: 5986 if self.certificate else 5985}
        return self.port or usual.get(self.kind, 0)


@dataclass(frozen=True, slots=True)
class DebianBuild:
    """Debian or Ubuntu with Wine, from packages. `suite` names a release; empty: the one this host runs."""

    builder: Builder
    packages: tuple[str, ...]
    suite: str = ""
    size_mib: int = 3072


@dataclass(frozen=True, slots=True)
class Payload:
    """The FAT disk an adopted guest finds the runner on; see docs of `harness.image.payload`.

    `folder` holds the runner, the drivers and the command file. `drivers` are images to carry along.
    """

    folder: str = "\\rt"
    command_file: str = "start.cmd"
    drivers: tuple[Path, ...] = ()
    size_mib: int = 64


@dataclass(frozen=True, slots=True)
class Adopt:
    """A disk or a live CD that is there already. Neither is ever written: machines use overlays.

    `firmware_variables` are those of a UEFI system, as QEMU keeps them (OVMF_VARS, raw): its boot entries and
    keys. Without them a machine starts from the host's fresh ones.
    """

    disk: Path | None = None
    format: DiskFormat = DiskFormat.QCOW2
    firmware_variables: Path | None = None
    cd: Path | None = None
    payload: Payload | None = None
