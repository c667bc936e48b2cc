"""Machines as recipes describe them, for tests of what is made of a description."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.machine.describe.firmware import FirmwareFiles
from harness.machine.describe.spec import (
    Accelerator,
    ChannelPort,
    DirectBoot,
    Disk,
    DiskBus,
    DiskFormat,
    Firmware,
    Forward,
    Hardware,
    MachineSpec,
    Memory,
    Nic,
    PanicModel,
    Removable,
    Video,
)

_FOLDER: Final = Path("/run/user/1000/m1")
_CACHE: Final = Path("/home/u/.cache")

OVMF: Final = FirmwareFiles(
    Path("/usr/share/OVMF/CODE.fd"), Path("/usr/share/OVMF/VARS.fd"), secure=False, smm=False
)
OVMF_SECURE: Final = replace(OVMF, code=Path("/usr/share/OVMF/CODE.ms.fd"), secure=True, smm=True)

XP: Final = MachineSpec(
    name="xp-sp3",
    hardware=Hardware(
        machine="pc",
        arch="i686",
        cpu="pentium3",
        memory_mib=512,
        disk_bus=DiskBus.IDE,
        nic=Nic.RTL8139,
        channel=ChannelPort.COM2,
        debug_com=1,
        clock="localtime",
        video=Video.CIRRUS,
    ),
    folder=_FOLDER,
    disks=(
        Disk(_FOLDER / "disk.qcow2"),
        Disk(_CACHE / "payload.img", DiskFormat.RAW, target=1, read_only=True),
    ),
    removable=(Removable(_CACHE / "xp & tools.iso"), Removable(_CACHE / "answers.img", floppy=True)),
    boot_from_cd=True,
)

WINDOWS_11: Final = MachineSpec(
    name="win11-24h2",
    hardware=Hardware(
        machine="q35",
        cpu="Nehalem,+popcnt,-vmx",
        processors=2,
        memory_mib=4096,
        firmware=Firmware.UEFI_SECURE,
        tpm=True,
        disk_bus=DiskBus.SATA,
        nic=Nic.E1000E,
        panic=(PanicModel.HYPERV, PanicModel.ISA),
        hyperv=True,
        clock="localtime",
        debug_com=1,
    ),
    folder=_FOLDER,
    disks=(Disk(_FOLDER / "disk.qcow2"),),
    removable=(Removable(None),),
    forwards=(Forward(22), Forward(5986, 45986)),
    firmware_variables=_FOLDER / "vars.fd",
    memory=Memory(Path("/dev/shm/a,b"), shared=True),
)

#: The same machine as a clone: private RAM from the template's file, waiting for its state, on KVM.
WINDOWS_11_CLONE: Final = replace(
    WINDOWS_11,
    name="c1",
    memory=Memory(Path("/dev/shm/a,b"), shared=False),
    incoming=True,
    accelerator=Accelerator.KVM,
    gdb=_FOLDER / "gdb.sock",
)

STAND_IN: Final = MachineSpec(
    name="stand-in",
    hardware=Hardware(
        machine="q35",
        cpu="max,-smap",
        memory_mib=1024,
        disk_bus=DiskBus.VIRTIO,
        nic=Nic.VIRTIO,
        panic=(PanicModel.PCI,),
        debug_com=1,
    ),
    folder=_FOLDER,
    disks=(Disk(_FOLDER / "disk.qcow2"),),
    boot=DirectBoot(_CACHE / "vmlinuz", _CACHE / "initrd", "root=/dev/vda console=ttyS0"),
    forwards=(Forward(22),),
)

UEFI: Final = MachineSpec(
    name="server",
    hardware=Hardware(machine="pc-q35-7.2", firmware=Firmware.UEFI, processors=4, video=Video.VGA),
    folder=_FOLDER,
    disks=(Disk(_FOLDER / "disk.img", DiskFormat.RAW),),
    firmware_variables=_FOLDER / "vars.fd",
)

#: With the firmware of the host that each one needs.
ALL: Final = {
    "xp": (XP, None),
    "windows-11": (WINDOWS_11, OVMF_SECURE),
    "windows-11-clone": (WINDOWS_11_CLONE, OVMF_SECURE),
    "stand-in": (STAND_IN, None),
    "uefi": (UEFI, OVMF),
}
