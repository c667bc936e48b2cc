"""Hardware of every family starts on this host's libvirt and QEMU, and a guest answers on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import InfrastructureError, ToolMissingError
from harness.machine.describe.schema import validate
from harness.machine.describe.spec import (
    ChannelPort,
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
from harness.machine.disk.disks import create_overlay
from harness.machine.hypervisor.capabilities import learn_capabilities
from tests.machine.tinyguest import TinyLine, tiny_hardware

if TYPE_CHECKING:
    from harness.machine.hypervisor.host import Host

EVERY_PANIC = (PanicModel.HYPERV, PanicModel.ISA, PanicModel.PCI)

FAMILIES = {
    "XP": tiny_hardware(
        arch="i686",
        cpu="pentium3",
        disk_bus=DiskBus.IDE,
        nic=Nic.RTL8139,
        video=Video.CIRRUS,
        clock="localtime",
    ),
    "Windows 7": tiny_hardware(
        machine="q35", nic=Nic.E1000, cpu="Nehalem", processors=2, panic=(PanicModel.ISA,)
    ),
    "Windows 10": tiny_hardware(
        machine="q35", nic=Nic.E1000E, cpu="max,-smap", hyperv=True, panic=EVERY_PANIC, clock="localtime"
    ),
    "Linux": tiny_hardware(machine="q35", nic=Nic.VIRTIO, disk_bus=DiskBus.VIRTIO, panic=(PanicModel.PCI,)),
}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_guest_answers_on_hardware_of_every_family(
    host: Host, tiny: Callable[..., MachineSpec], tmp_path: Path, family: str
) -> None:
    hardware: Hardware = FAMILIES[family]
    base, overlay = tmp_path / "base.img", tmp_path / "disk, with a comma.qcow2"
    base.write_bytes(bytes(1 << 20))
    create_overlay(overlay, base, DiskFormat.RAW)
    spec = tiny(
        hardware=hardware,
        disks=(Disk(overlay),),
        removable=(Removable(None),),
        forwards=(Forward(22),),
        memory=Memory(tmp_path / "ram, too", shared=True),
    )
    spec = replace(spec, gdb=spec.folder / "gdb.sock")
    with host.start(spec) as machine, TinyLine(spec.channel_socket) as line:
        assert line.ask("ping") == "pong 0"
        assert machine.forwarded_port(22)
        assert spec.gdb
        assert spec.gdb.is_socket()
        validate(machine.xml)  # what libvirt made of it
    assert base.read_bytes() == bytes(1 << 20)
    assert spec.memory
    assert spec.memory.path.stat().st_size == hardware.memory_mib << 20


@pytest.mark.skipif(not shutil.which("swtpm"), reason="swtpm is missing: apt-get install swtpm")
def test_windows_11s_hardware_starts(host: Host, tiny: Callable[..., MachineSpec]) -> None:
    hardware = Hardware(
        cpu="Nehalem",
        processors=2,
        memory_mib=256,
        firmware=Firmware.UEFI_SECURE,
        tpm=True,
        nic=Nic.E1000E,
        channel=ChannelPort.VIRTIO,
        panic=EVERY_PANIC,
        hyperv=True,
    )
    spec = replace(tiny(hardware=hardware), boot=None)
    spec = replace(spec, firmware_variables=spec.folder / "vars.fd")
    with host.start(spec) as machine:
        assert machine.qmp("qom-get", path="/machine", property="smm") == "on"
        assert [tpm["model"] for tpm in machine.qmp("query-tpm")] == ["tpm-crb"]
        assert {c["label"] for c in machine.qmp("query-chardev")} >= {"charchannel0", "chrtpm"}
        loader = machine.qmp("qom-get", path="/machine", property="pflash0")
        assert loader


def test_an_emulator_that_is_not_there_is_named(host: Host) -> None:
    with pytest.raises(InfrastructureError, match="QEMU for vax"):
        learn_capabilities(host.root, "vax")


def test_a_missing_schema_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="apt-get install libvirt0"):
        validate("<domain/>", tmp_path / "domain.rng")
