"""What a machine is made of, typed: the description that domain XML, templates and clones are made from.

Plain frozen data, no libvirt. `Hardware` is what a recipe says and what a template and its clones share;
`MachineSpec` is one domain: hardware, disks, sockets, memory file. `describe.xml` turns it into XML.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

__all__ = [
    "RUNNER_PORT",
    "Accelerator",
    "ChannelPort",
    "DirectBoot",
    "Disk",
    "DiskBus",
    "DiskFormat",
    "Firmware",
    "Forward",
    "Hardware",
    "MachineSpec",
    "Memory",
    "Nic",
    "PanicModel",
    "Removable",
    "SealedImage",
    "Video",
]

#: The virtio-serial port's name, which the runner looks for inside the guest.
RUNNER_PORT: Final = "org.regfilter.runner.0"


class Accelerator(StrEnum):
    KVM = "kvm"  # only where a guest really boots on it: harness.machine.hypervisor.accelerator
    TCG = "tcg"


class Firmware(StrEnum):
    BIOS = "bios"
    UEFI = "uefi"
    UEFI_SECURE = "uefi-secure"  # secure boot on, Microsoft's keys enrolled


class DiskBus(StrEnum):
    IDE = "ide"
    SATA = "sata"
    VIRTIO = "virtio"


class DiskFormat(StrEnum):
    QCOW2 = "qcow2"
    RAW = "raw"
    VHDX = "vhdx"  # to adopt from; machines run on what it is converted to


class Nic(StrEnum):
    NONE = "none"
    RTL8139 = "rtl8139"
    E1000 = "e1000"
    E1000E = "e1000e"
    VIRTIO = "virtio"


class ChannelPort(StrEnum):
    """Where the runner listens."""

    VIRTIO = "virtio"  # a virtio-serial port
    COM1 = "com1"
    COM2 = "com2"


class PanicModel(StrEnum):
    HYPERV = "hyperv"  # the crash MSRs: bugcheck code and four parameters
    ISA = "isa"  # pvpanic: that it panicked
    PCI = "pci"


class Video(StrEnum):
    """The display device. Nobody looks at it but screenshots: no VNC, no window."""

    VGA = "vga"
    CIRRUS = "cirrus"  # what Windows before Vista has a driver for


@dataclass(frozen=True, slots=True)
class Hardware:
    """The virtual hardware of an image; a template and its clones have exactly the same."""

    machine: str = "q35"  # QEMU machine type: "q35", "pc", a versioned one
    arch: str = "x86_64"  # the emulator: "x86_64" or "i686"
    cpu: str = "qemu64"  # a QEMU CPU model with its flags, "Nehalem", "max,-smap"; never "host"
    processors: int = 1
    memory_mib: int = 1024
    firmware: Firmware = Firmware.BIOS
    tpm: bool = False  # TPM 2.0, emulated by swtpm
    disk_bus: DiskBus = DiskBus.SATA
    nic: Nic = Nic.NONE
    channel: ChannelPort = ChannelPort.VIRTIO
    #: A further COM port that only the host reads: the kernel debugger's or the kernel's console. 0: none.
    debug_com: int = 0
    panic: tuple[PanicModel, ...] = ()
    hyperv: bool = False  # Hyper-V enlightenments
    #: Passed to <clock offset=...>: Windows keeps local time in the clock chip unless told otherwise.
    clock: str = "utc"  # or "localtime"
    video: Video = Video.VGA
    hibernation: bool = False  # the firmware offers the sleep state S4
    disc_drive: bool = True  # an empty CD drive, for files that come on a disc: inside.delivery


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk. `target` is its place on the hardware's bus: 0 is the first."""

    path: Path
    format: DiskFormat = DiskFormat.QCOW2
    target: int = 0
    read_only: bool = False
    bus: DiskBus | None = None  # None: the hardware's


@dataclass(frozen=True, slots=True)
class Removable:
    """A CD (ISO image) or a floppy; `path` None is an empty drive."""

    path: Path | None
    floppy: bool = False


@dataclass(frozen=True, slots=True)
class DirectBoot:
    """A Linux or multiboot kernel started without a boot loader (the stand-in)."""

    kernel: Path
    initrd: Path | None = None
    command_line: str = ""


@dataclass(frozen=True, slots=True)
class Forward:
    """A port of 127.0.0.1 that reaches a port of the guest; `host_port` 0 is chosen when it starts."""

    guest_port: int
    host_port: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """The file behind the guest's RAM: shared while a template is made, private in its clones."""

    path: Path
    shared: bool


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One domain. `folder` holds its sockets, serial logs and screenshots; nobody else can read it."""

    name: str
    hardware: Hardware
    folder: Path
    disks: tuple[Disk, ...] = ()
    removable: tuple[Removable, ...] = ()
    boot: DirectBoot | None = None  # None: from its disks
    boot_from_cd: bool = False
    forwards: tuple[Forward, ...] = ()
    memory: Memory | None = None  # None: anonymous, no template can be made of it
    firmware_variables: Path | None = None  # this machine's own copy
    #: This machine's own TPM state; None: "tpm" in `folder`. swtpm runs on it as long as the machine does.
    tpm_state: Path | None = None
    incoming: bool = False  # waits for a migration: a clone
    accelerator: Accelerator = Accelerator.TCG
    #: gdb stub on this unix socket; None: none.
    gdb: Path | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def disk_folder(self) -> Path:
        """Where further large files of it go: beside its overlays."""
        return next((disk.path.parent for disk in self.disks if not disk.read_only), self.folder)

    @property
    def channel_socket(self) -> Path:
        """Where the host reaches the runner's port."""
        return self.folder / "channel.sock"

    @property
    def debug_socket(self) -> Path:
        """Where the host reaches the debug port, for a kernel debugger or a person."""
        return self.folder / "debug.sock"

    @property
    def debug_log(self) -> Path:
        """What the guest wrote to its debug port."""
        return self.folder / "debug.log"

    @property
    def tpm_folder(self) -> Path:
        """Where swtpm keeps the TPM's state."""
        return self.tpm_state or self.folder / "tpm"

    @property
    def tpm_socket(self) -> Path:
        """swtpm's control socket."""
        return self.folder / "tpm.sock"


@dataclass(frozen=True, slots=True)
class SealedImage:
    """An installed system, never written again: what templates are made from.

    `disks` become the backing files of overlays. `digest` identifies content and hardware together: two
    images with the same digest are interchangeable, and templates are kept by it.
    """

    name: str
    digest: str
    hardware: Hardware
    disks: tuple[Disk, ...]
    removable: tuple[Removable, ...] = ()
    boot: DirectBoot | None = None
    boot_from_cd: bool = False
    firmware_variables: Path | None = None
    tpm_state: Path | None = None
    #: Ports of the guest that channels need (22 for SSH, 5985 and 5986 for WinRM).
    guest_ports: tuple[int, ...] = ()
    #: How long a cold boot to an answering runner may take, in seconds.
    boot_seconds: float = 600.0
