"""What the answer files and first-boot scripts of unattended installs ask about the Windows they are for.

`AnswerFacts` says what differs between versions of Windows, each difference as a named question with its
source; the templates (`harness.image.templates`) ask and hold no version numbers.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from harness.errors import UsageError
from harness.guest.base import Arch
from harness.machine.describe.spec import Firmware
from harness.registry.version import VISTA, WIN7, WIN8, WIN10, WIN10_1809, WIN11_24H2, WindowsVersion

__all__ = [
    "COMPUTER",
    "DRIVERS_FOLDER",
    "USER",
    "AnswerFacts",
    "AnswerFile",
    "Partition",
    "WinRmSetup",
]

#: The administrator's account, and the computer's name: it must not equal a user's.
USER: Final = "harness"
COMPUTER: Final = "REGFILTER"
#: The disk after the system's, for crash dumps alone.
DUMP_DRIVE: Final = "X:"
#: Letters the disc with the first boot's files may have: after the system's, and before the dump disk's.
DISC_LETTERS: Final = "D E F G H I J"
#: Drivers from the virtio-win disc are there on the disc with the first boot's files.
DRIVERS_FOLDER: Final = "drivers"
#: The host reads this port only; stages of the install are lines on it.
STAGE_PORT: Final = "COM1"


class AnswerFile(StrEnum):
    """Which answer file setup reads; the name it must have."""

    AUTOUNATTEND = "autounattend.xml"  # Vista and later
    WINNT = "winnt.sif"  # XP, Server 2003
    REACTOS = "unattend.inf"


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of the system disk, in the terms of DiskConfiguration. `size_mib` 0: the rest."""

    number: int
    type: str  # "Primary", "EFI", "MSR"
    size_mib: int = 0
    format: str = ""  # empty: not formatted
    label: str = ""
    letter: str = ""
    active: bool = False


@dataclass(frozen=True, slots=True)
class WinRmSetup:
    """The HTTPS listener's certificate: known to the host beforehand, so that it can be pinned."""

    pfx_password: str
    thumbprint: str  # SHA-1 of the certificate in hex, as the listener wants it


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFacts:
    """One install: what is chosen, and what follows from the version."""

    title: str
    answer: AnswerFile
    version: WindowsVersion
    arch: Arch
    is_server: bool
    firmware: Firmware
    password: str
    runner_port: str = "COM2"
    image_index: int = 1
    language: str = "en-US"
    product_key: str = ""
    hibernation: bool = False
    has_dump_disk: bool = True
    winrm: WinRmSetup | None = None
    openssh: bool = False
    has_drivers: bool = False  # on the disc, for setup to take
    #: Services of drivers among them that are to start early.
    early_services: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Answer files of NT 5 have no way to quote these; setup would stop and ask.
        if not self.password.isascii() or set(self.password) & set("\"%\\'&<>|^"):
            raise UsageError("the administrator's password may hold letters, digits and - _ . only")

    user = USER
    computer = COMPUTER
    dump_drive = DUMP_DRIVE
    stage_port = STAGE_PORT

    # -- what follows from the version -------------------------------------------------------------------

    @property
    def processor_architecture(self) -> str:
        """Of boot.wim: a component with another is skipped without a word."""
        return "amd64" if self.arch is Arch.X64 else "x86"

    @property
    def is_nt6(self) -> bool:
        """Vista and later: setup takes an XML answer file, there is a boot configuration store."""
        return self.version >= VISTA

    @property
    def time_zone(self) -> str:
        """One without summer time at 0; UTC has that name from Windows 7 on, and did not come with Vista."""
        return "UTC" if self.version >= WIN7 else "Greenwich Standard Time"

    @property
    def has_dynamic_update(self) -> bool:
        """DynamicUpdate/Enable; from Vista on."""
        return self.is_nt6

    @property
    def has_offline_servicing(self) -> bool:
        """EnableLUA in offlineServicing: Windows 7 and later, as dockur/windows has it."""
        return self.version >= WIN7

    @property
    def activation_component(self) -> str:
        """Where SkipAutoActivation lives; Vista has it elsewhere."""
        if self.version >= WIN7:
            return "Microsoft-Windows-Security-SPP-UX"
        return "Microsoft-Windows-Security-Licensing-SLC-UX"

    @property
    def has_initial_configuration_tasks(self) -> bool:
        """The window of Server 2008 R2 that Server Manager's setting does not keep away."""
        return self.is_server and (self.version.major, self.version.minor) <= (6, 1)

    @property
    def has_online_accounts(self) -> bool:
        """OOBE pages about accounts: 8.1 and later."""
        return self.version >= WIN8

    @property
    def has_wireless_page(self) -> bool:
        """OOBE page about wireless networks: Windows 7 and later."""
        return self.version >= WIN7

    @property
    def has_privacy_page(self) -> bool:
        """Asked of a user who logs on for the first time (policy-csp-privacy, DisablePrivacyExperience)."""
        return self.version >= WIN10_1809

    @property
    def skips_user_oobe(self) -> bool:
        """Vista and 7 need it to reach the desktop unattended; later versions do without."""
        return self.version < WIN8

    @property
    def encrypts_devices(self) -> bool:
        """24H2 and Server 2025 encrypt the disk by themselves where there is a TPM
        (windows-hardware/design/device-experiences/oem-bitlocker, which names the registry value too).
        """
        return self.version >= WIN11_24H2

    @property
    def has_bcd(self) -> bool:
        """bcdedit and certutil -addstore; test signing exists from Vista on."""
        return self.is_nt6

    @property
    def switches_test_signing(self) -> bool:
        """By the first boot. Windows refuses that while Secure Boot is on."""
        return self.has_bcd and self.firmware is not Firmware.UEFI_SECURE

    @property
    def has_dedicated_dump(self) -> bool:
        """DedicatedDumpFile: Windows 7 and later without an update."""
        return self.version >= WIN7

    @property
    def diskpart_formats(self) -> bool:
        """diskpart has `format` from Vista on."""
        return self.is_nt6

    @property
    def diskpart_has_online(self) -> bool:
        """`online disk` and `attributes disk`: servers may keep a new disk offline (their SAN policy)."""
        return self.version >= WIN7

    @property
    def lacks_tls12(self) -> bool:
        """Windows 7 and Server 2008 R2 (windows/win32/secauthn/protocols-in-tls-ssl--schannel-ssp-)."""
        return WIN7 <= self.version < WIN8

    @property
    def has_image_state(self) -> bool:
        return self.is_nt6

    @property
    def has_delivery_optimisation(self) -> bool:
        """Updates from other computers: Windows 10 and later."""
        return self.version >= WIN10

    @property
    def has_powercfg_x(self) -> bool:
        """powercfg -x and -h: Vista and later."""
        return self.is_nt6

    @property
    def has_powercfg(self) -> bool:
        """powercfg by number of a scheme: XP and 2003 (KB 324347, "How to use Powercfg.exe")."""
        return not self.is_nt6 and self.answer is AnswerFile.WINNT

    @property
    def has_defender_preferences(self) -> bool:
        """Add-MpPreference: 8.1 and later, where Defender is there."""
        return self.version >= WIN8

    @property
    def second_disc_prompt(self) -> bool:
        """2003 R2 asks for its second disc at the desktop."""
        return self.answer is AnswerFile.WINNT and self.is_server

    @property
    def shutdown_command(self) -> str:
        return "shutdown -s -f -t 0"

    # -- what the answer file asks for -------------------------------------------------------------------

    @property
    def partitions(self) -> tuple[Partition, ...]:
        """The layout the firmware starts from: MBR for BIOS, GPT for UEFI. The other one fails setup."""
        if self.firmware is not Firmware.BIOS:
            return (
                Partition(1, "EFI", 260, "FAT32", "System"),  # 260: enough with sectors of 4 KB too
                Partition(2, "MSR", 16),
                Partition(3, "Primary", 0, "NTFS", "Windows", "C"),
            )
        if self.version < WIN7:
            return (Partition(1, "Primary", 0, "NTFS", "Windows", "C", active=True),)
        system = 100 if self.version < WIN8 else 350
        return (
            Partition(1, "Primary", system, "NTFS", "System", active=True),
            Partition(2, "Primary", 0, "NTFS", "Windows", "C"),
        )

    @property
    def install_partition(self) -> int:
        """The number of the partition that Windows goes to."""
        return self.partitions[-1].number

    def encoded_password(self, element: str) -> str:
        """The form of PlainText=false: hidden from a glance, no secret to anybody else."""
        return base64.b64encode(f"{self.password}{element}".encode("utf-16-le")).decode("ascii")

    @property
    def setup_commands(self) -> tuple[str, ...]:
        """Run in Windows PE, before the disk is touched."""
        return (_told("echo HARNESS-STAGE windows-setup"),)

    @property
    def specialize_commands(self) -> tuple[str, ...]:
        """Run as SYSTEM before the first user exists."""
        network = r"HKLM\SYSTEM\CurrentControlSet\Control\Network\NewNetworkWindowOff"
        signature = r"HKLM\SOFTWARE\Policies\Microsoft\Windows NT\CurrentVersion\NetworkList\Signatures"
        encryption = r"HKLM\SYSTEM\CurrentControlSet\Control\BitLocker"
        commands: tuple[str, ...] = (
            _told("echo HARNESS-STAGE specialize"),
            _told("ver"),  # here already it can be seen that it is another Windows
            f'reg add "{network}" /f',
            f'reg add "{signature}\\FirstNetwork" /v Category /t REG_DWORD /d 1 /f',
        )
        if self.has_privacy_page:
            policy = r"HKLM\SOFTWARE\Policies\Microsoft\Windows\OOBE"
            commands += (f'reg add "{policy}" /v DisablePrivacyExperience /t REG_DWORD /d 1 /f',)
        if self.encrypts_devices:
            commands += (f'reg add "{encryption}" /v PreventDeviceEncryption /t REG_DWORD /d 1 /f',)
        return commands

    @property
    def driver_paths(self) -> tuple[str, ...]:
        """Where setup looks for drivers: which letter the disc has there is not known beforehand.

        Those that it finds it loads at once and copies to the driver store of the system
        (microsoft-windows-pnpcustomizationswinpe-driverpaths).
        """
        if not self.has_drivers:
            return ()
        return tuple(f"{letter}:\\{DRIVERS_FOLDER}" for letter in f"C {DISC_LETTERS}".split())

    @property
    def first_logon_commands(self) -> tuple[str, ...]:
        """Find the disc with the first boot's files, whatever letter it has, and start the script on it.

        The answer files that are INI take one command for each letter: between two per cent signs they look
        for a string's name. The script does its work once, however often it is started.
        """
        if self.answer is AnswerFile.AUTOUNATTEND:
            return (
                f"cmd /c for %i in ({DISC_LETTERS}) do if exist %i:\\harness\\first-boot.cmd "
                "call %i:\\harness\\first-boot.cmd %i:",
            )
        return tuple(
            f"cmd /c if exist {letter}:\\harness\\first-boot.cmd {letter}:\\harness\\first-boot.cmd {letter}:"
            for letter in DISC_LETTERS.split()
        )


def _told(command: str) -> str:
    """A command whose words go to the stage port, and which is no failure where there is no such port.

    Windows PE need not have a driver for it; setup may stop at a command that fails.
    """
    return f"cmd /c {command} >{STAGE_PORT} & exit 0"
