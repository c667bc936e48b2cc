"""Whether a plan falls into a trap of `harness.image.install.traps`: a check for each, saying what is wrong.

None says anything of a plan that is sound.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from harness.driver.authenticode import SignatureDigest
from harness.guest.base import Arch
from harness.image.answer import DRIVERS_FOLDER, AnswerFile
from harness.image.answer_schema import check_autounattend
from harness.image.install.plan import CERTIFICATE, InstallPlan
from harness.image.installspec import Delivery, ProductKey
from harness.image.scripts import check_cmd
from harness.machine.describe.drives import DriveKind, is_q35, lay_out
from harness.machine.describe.firmware import find_firmware
from harness.machine.describe.spec import DiskBus, Firmware, MachineSpec, Nic
from harness.registry.version import VISTA, WIN8, WIN10

__all__ = [
    "Check",
    "Subject",
    "components",
    "dumps",
    "first_logon",
    "floppy",
    "index",
    "key",
    "layout",
    "locale",
    "long_mode",
    "loops",
    "network",
    "old_hardware",
    "one_answer",
    "processor",
    "prompt",
    "seven_on_uefi",
    "sha2",
    "signing",
    "uuid",
    "winrm_last",
]

_NS: Final = "{urn:schemas-microsoft-com:unattend}"
#: The first build whose kernel needs SSE4.2 and POPCNT (the first previews of 24H2).
_SSE42_BUILD: Final = 26080
#: QEMU's models with SSE4.2 and POPCNT, by the beginning of their names.
_MODERN: Final = ("Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", "Broadwell", "Skylake")
_MODERN_MORE: Final = ("Cascadelake", "Cooperlake", "Icelake", "SapphireRapids", "EPYC", "Opteron_G4", "max")
#: A kernel dump holds what the kernel uses, and never more than RAM; with room for the file system.
_DUMP_ROOM_MIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: the plan, the machine of the install, the machine of the template."""

    plan: InstallPlan
    machine: MachineSpec
    template: MachineSpec
    dump_disk_mib: int

    @property
    def is_nt5(self) -> bool:
        return self.plan.install.answer is AnswerFile.WINNT

    @property
    def is_nt6(self) -> bool:
        return self.plan.install.answer is AnswerFile.AUTOUNATTEND

    @property
    def uefi(self) -> bool:
        return self.machine.hardware.firmware is not Firmware.BIOS

    def values(self, path: str) -> list[str]:
        """Texts of the answer file's elements at `path` ("InstallTo/DiskID"); empty where it is no XML."""
        if not self.is_nt6:
            return []
        root = ElementTree.fromstring(self.plan.answer.encode("utf-8"))
        below = "/".join(f"{_NS}{part}" for part in path.split("/"))
        return [node.text or "" for node in root.iterfind(f".//{below}")]


Check = Callable[[Subject], Iterator[str]]


def prompt(subject: Subject) -> Iterator[str]:
    drives = lay_out(subject.machine)
    first = min((d for d in drives if d.boot_order), key=lambda d: d.boot_order or 0)
    if first.kind is not DriveKind.DISK:
        yield "the CD starts before the disk, so its prompt comes again after every restart"


def key(subject: Subject) -> Iterator[str]:
    keys = subject.values("ProductKey/Key")
    if any(not key.strip() for key in keys):
        yield "an empty product key, at which setup stops"
    needs = subject.plan.install.product_key is ProductKey.REQUIRED
    if needs and "ProductKey=" not in subject.plan.answer:
        yield "no product key for a setup that stops without one"


def index(subject: Subject) -> Iterator[str]:
    if not subject.is_nt6:
        return
    if subject.values("MetaData/Key") != ["/IMAGE/INDEX"]:
        yield "the image is not chosen by /IMAGE/INDEX alone"
    if subject.values("MetaData/Value") != [str(subject.plan.medium.index)]:
        yield "the image's index is not the one that was found on the medium"


def processor(subject: Subject) -> Iterator[str]:
    model = subject.machine.hardware.cpu.split(",")[0]
    if subject.plan.recipe.version.build >= _SSE42_BUILD and not model.startswith(_MODERN + _MODERN_MORE):
        yield f"{model} has no SSE4.2 and POPCNT, without which the machine resets at its logo"


def floppy(subject: Subject) -> Iterator[str]:
    if not subject.is_nt5:
        return
    if subject.plan.install.delivery is not Delivery.FLOPPY or not any(
        each.floppy for each in subject.machine.removable
    ):
        yield "winnt.sif is read from a floppy only, and this machine has none"
    if is_q35(subject.machine.hardware):
        yield "q35 has no floppy"


def old_hardware(subject: Subject) -> Iterator[str]:
    hardware = subject.machine.hardware
    old = subject.is_nt5 or subject.plan.install.answer is AnswerFile.REACTOS
    if old and (is_q35(hardware) or hardware.disk_bus is not DiskBus.IDE):
        yield f"{hardware.machine} with {hardware.disk_bus} stops setup with 0x7B or 0xA5: pc, ide are wanted"
    if old and hardware.nic is not Nic.RTL8139:
        yield f"{hardware.nic} has no driver there: rtl8139 is wanted"


def long_mode(subject: Subject) -> Iterator[str]:
    flags = subject.machine.hardware.cpu.split(",")[1:]
    nt6_x86 = subject.plan.recipe.arch is Arch.X86 and subject.is_nt6
    if (nt6_x86 or (subject.is_nt5 and subject.plan.recipe.arch is Arch.X86)) and not {"-lm", "lm=off"} & {
        *flags
    }:
        yield "a 32-bit system with long mode: the firmware may place devices above 4 GiB"
    if subject.plan.recipe.version >= WIN8 and {"-nx", "nx=off"} & {*flags}:
        yield "NX is off, and Windows 8 and later do not start without it"


def seven_on_uefi(subject: Subject) -> Iterator[str]:
    if subject.uefi and subject.plan.recipe.version < WIN8:
        yield "UEFI: Windows 7 and earlier hang at their logo without a legacy video BIOS"


def uuid(subject: Subject) -> Iterator[str]:
    version = subject.plan.recipe.version
    if (version.major, version.minor) == (6, 3) and is_q35(subject.machine.hardware):
        yield "q35: 2012 R2 was seen to crash there when the machine has a UUID, and libvirt always gives one"


def layout(subject: Subject) -> Iterator[str]:
    drives = lay_out(subject.machine)
    if drives[0].kind is not DriveKind.DISK or drives[0].path != subject.machine.disks[0].path:
        yield "the system's disk is not the first drive, and disk 0 is another one for setup"
    if subject.machine.hardware.disk_bus is DiskBus.VIRTIO and not any(
        path.startswith(f"{DRIVERS_FOLDER}/viostor/") for path in subject.plan.discs.disc
    ):
        yield "a virtio disk, and no driver for it: setup finds no disk at all"
    if any(disk.bus not in (None, subject.machine.hardware.disk_bus) for disk in subject.machine.disks):
        yield "a disk on another bus: which one is disk 0 is not known"
    if not subject.is_nt6:
        return
    if {*subject.values("Disk/DiskID"), *subject.values("InstallTo/DiskID")} != {"0"}:
        yield "the answer file installs to another disk than disk 0"
    types = subject.values("CreatePartition/Type")
    if ("EFI" in types) is not subject.uefi:
        yield f"partitions {', '.join(types)} on {subject.machine.hardware.firmware}: setup can't create them"
    if subject.values("InstallTo/PartitionID") != [str(len(types))]:
        yield "the system does not go to the last partition"


def components(subject: Subject) -> Iterator[str]:
    if subject.is_nt6:
        plan = subject.plan
        yield from check_autounattend(plan.answer, plan.answers.processor_architecture, plan.recipe.version)
    yield from check_cmd(subject.plan.script)


def locale(subject: Subject) -> Iterator[str]:
    if not subject.is_nt6:
        return
    for element in ("InputLocale", "SystemLocale", "UserLocale", "UILanguage"):
        if not subject.values(f"component/{element}"):
            yield f"{element} is missing: setup stops at its language page"
    language = subject.plan.medium.language
    if {*subject.values("UILanguage")} != {language}:
        yield f"UILanguage is not {language}, the medium's"


def one_answer(subject: Subject) -> Iterator[str]:
    discs = subject.plan.discs
    answers = [
        path
        for contents in (discs.disc, discs.floppy, discs.medium)
        for path in contents
        if path.rpartition("/")[2].lower() in {*map(str, AnswerFile), "unattend.xml"}
    ]
    if len(answers) != 1:
        yield f"{len(answers)} answer files on the discs: the first one found wins"
    entries = subject.plan.medium.facts.entries if subject.plan.medium.facts is not None else ()
    if any(entry.lower() in ("autounattend.xml", "unattend.xml") for entry in entries):
        yield "the medium has an answer file of its own"


def signing(subject: Subject) -> Iterator[str]:
    answers, script = subject.plan.answers, subject.plan.script
    switched = "testsigning on" in script
    if subject.template.hardware.firmware is Firmware.UEFI_SECURE and answers.has_bcd:
        yield "Secure Boot is on where tests run: test signing can't be switched on"
    if subject.machine.hardware.firmware is Firmware.UEFI_SECURE and switched:
        yield "the first boot switches test signing on with Secure Boot on, which is refused"
    if "nointegritychecks" in script:
        yield "nointegritychecks is ignored by Windows 7 and 8"
    if answers.has_bcd and not switched and not subject.plan.switches_test_signing_later:
        yield "test signing is not switched on"
    installed, tested = (find_firmware(each.hardware) for each in (subject.machine, subject.template))
    if installed is not None and tested is not None:
        sizes = {each.variables.stat().st_size for each in (installed, tested)}
        if len(sizes) != 1:
            yield "the firmware of the install and that of the tests keep variables of different sizes"


def network(subject: Subject) -> Iterator[str]:
    if subject.plan.answers.winrm is None:
        return
    if not any(path.endswith("private-network.ps1") for path in subject.plan.files):
        yield "nothing takes the network out of the Public profile, where WinRM is refused"
    script = subject.plan.script
    if not 0 <= script.find("private-network.ps1") < script.find("winrm quickconfig"):
        yield "WinRM is configured before the network is private"


def winrm_last(subject: Subject) -> Iterator[str]:
    script = subject.plan.script
    if subject.plan.answers.winrm is not None and not 0 <= script.find("call :settled") < script.find(
        "winrm"
    ):
        yield "WinRM opens before setup says that it is over"
    if subject.plan.answers.has_image_state and "IMAGE_STATE_COMPLETE" not in script:
        yield "nothing asks whether setup is over"


def first_logon(subject: Subject) -> Iterator[str]:
    commands = subject.values("SynchronousCommand/CommandLine") if subject.is_nt6 else [subject.plan.answer]
    if not any("first-boot.cmd" in command for command in commands):
        yield "the first logon does not start first-boot.cmd"
    if any("SetupComplete" in path for path in subject.plan.files):
        yield "SetupComplete.cmd is not run with OEM keys"


def dumps(subject: Subject) -> Iterator[str]:
    script, answers = subject.plan.script, subject.plan.answers
    for name, value in (("AutoReboot", 0), ("CrashDumpEnabled", 2)):
        if f'/v {name} /t REG_DWORD /d "{value}"' not in script:
            yield f"{name} is not set to {value}"
    if answers.has_dedicated_dump and "AlwaysKeepMemoryDump" not in script:
        yield "clients outside a domain delete the dump of a volume with under 25 GB free"
    if answers.has_dump_disk:
        if len(subject.template.disks) < 2:
            yield "there is no disk for dumps"
        wanted = subject.template.hardware.memory_mib + _DUMP_ROOM_MIB
        if subject.dump_disk_mib < wanted:
            yield f"the disk for dumps has {subject.dump_disk_mib} MiB, a dump may need {wanted}"


def sha2(subject: Subject) -> Iterator[str]:
    from cryptography import x509

    version = subject.plan.recipe.version
    wanted = SignatureDigest.for_version(version)
    signed = x509.load_der_x509_certificate(subject.plan.files[CERTIFICATE]).signature_hash_algorithm
    if signed is None or signed.name != wanted:
        yield f"the certificate of drivers is not signed with {wanted}, which is what this system checks"
    if version >= VISTA and not version.checks_sha2 and "sha2" not in subject.plan.install.differs:
        yield "the recipe does not say that this system checks SHA-256 only after an update"


def loops(subject: Subject) -> Iterator[str]:
    yield from prompt(subject)
    if 'QuickEdit /t REG_DWORD /d "0"' not in subject.plan.script:
        yield "a click into the console stops the first boot's script"
    if subject.is_nt5 and subject.plan.answers.is_server and "cd2chain" not in subject.plan.script:
        yield "2003 R2 asks for its second disc at the desktop"
    if (
        subject.plan.recipe.version >= WIN10
        and subject.is_nt6
        and "Add-MpPreference" not in subject.plan.script
    ):
        yield "Defender looks at everything the tests do"
