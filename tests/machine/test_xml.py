"""Domain XML from a description: whole documents, libvirt's schema, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.machine.describe.firmware import FirmwareFiles
from harness.machine.describe.schema import validate
from harness.machine.describe.spec import (
    ChannelPort,
    Disk,
    DiskBus,
    DiskFormat,
    Forward,
    Hardware,
    MachineSpec,
    Nic,
    PanicModel,
    Removable,
)
from harness.machine.describe.xml import domain_xml
from tests.machine.descriptions import ALL, OVMF, OVMF_SECURE, STAND_IN, UEFI, WINDOWS_11, XP

GOLDEN = Path(__file__).parent / "golden"
each_description = pytest.mark.parametrize("name", sorted(ALL))


def made(name: str) -> str:
    spec, firmware = ALL[name]
    return domain_xml(spec, firmware)


@each_description
def test_the_whole_domain_is_as_reviewed(name: str) -> None:
    """A change here is a change of virtual hardware: templates made before no longer fit."""
    assert made(name) == (GOLDEN / f"{name}.xml").read_text()


@each_description
def test_libvirts_own_schema_takes_it(name: str) -> None:
    validate(made(name))


def test_the_schema_check_refuses_what_libvirt_would() -> None:
    broken = made("xp").replace("<vcpu", "<vcpux").replace("</vcpu", "</vcpux")
    with pytest.raises(InfrastructureError, match="vcpux"):
        validate(broken)


def arguments(spec: MachineSpec, firmware: FirmwareFiles | None = None) -> list[str]:
    root = ElementTree.fromstring(domain_xml(spec, firmware))
    return [str(a.get("value")) for a in root.iter("{http://libvirt.org/schemas/domain/qemu/1.0}arg")]


def test_template_and_clone_differ_in_nothing_a_guest_sees() -> None:
    template, clone = made("windows-11").splitlines(), made("windows-11-clone").splitlines()
    names = ("type=", "<name>", "share=", "-incoming", "defer", "-gdb", "unix:", "vpindex", "synic", "stimer")
    visible = [line for line in template if not any(name in line for name in names)]
    assert visible == [line for line in clone if not any(name in line for name in names)]
    assert len(visible) < len(template)


def test_no_network_leads_out_and_forwards_are_on_loopback() -> None:
    (netdev,) = [a for a in arguments(STAND_IN) if a.startswith("user,")]
    assert netdev == "user,id=net0,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"


def test_nothing_listens_for_a_display_and_no_balloon_writes_into_ram() -> None:
    for name in ALL:
        devices = ElementTree.fromstring(made(name)).find("devices")
        assert devices is not None
        assert devices.find("graphics") is None
        balloon, video = devices.find("memballoon"), devices.find("video/model")
        assert balloon is not None
        assert balloon.get("model") == "none"
        assert video is not None  # screenshots


def test_a_path_is_text_and_never_markup_or_an_option() -> None:
    nasty = replace(XP, removable=(Removable(Path('/x/\'/><disk type="block">&.iso')),))
    source = ElementTree.fromstring(domain_xml(nasty)).find("devices/disk[@device='cdrom']/source")
    assert source is not None
    assert source.get("file") == '/x/\'/><disk type="block">&.iso'
    assert any("mem-path=/dev/shm/a,,b,share=on" in a for a in arguments(WINDOWS_11, OVMF_SECURE))


def test_a_run_has_the_identity_it_is_given() -> None:
    uuid = UUID("00000000-0000-4000-8000-000000000001")
    assert ElementTree.fromstring(domain_xml(XP, uuid=uuid)).findtext("uuid") == str(uuid)


@pytest.mark.parametrize(
    ("cpu", "expected"),
    [
        ("qemu64", ["qemu64"]),
        ("max,-smap", ["maximum", "disable smap"]),
        ("Nehalem,+popcnt,lm=off,pae=on", ["Nehalem", "require popcnt", "disable lm", "require pae"]),
    ],
)
def test_a_cpu_with_flags_becomes_libvirts_element(cpu: str, expected: list[str]) -> None:
    spec = replace(XP, hardware=replace(XP.hardware, cpu=cpu))
    element = ElementTree.fromstring(domain_xml(spec)).find("cpu")
    assert element is not None
    model = element.findtext("model") or element.get("mode")
    assert [model, *(f"{f.get('policy')} {f.get('name')}" for f in element.iter("feature"))] == expected


def changed(**changes: object) -> Hardware:
    return replace(XP.hardware, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spec", "firmware", "said"),
    [
        (replace(XP, name="../x"), None, "name"),
        (replace(XP, name=""), None, "name"),
        (replace(XP, name="a\nb"), None, "name"),
        (replace(XP, hardware=changed(cpu="host")), None, "depends on the host"),
        (replace(XP, hardware=changed(cpu="max,smap")), None, "write \\+"),
        (replace(XP, hardware=changed(cpu="max,+a b")), None, "no feature"),
        (replace(XP, hardware=changed(machine="pc,accel=kvm")), None, "machine type"),
        (replace(XP, hardware=changed(arch="sparc")), None, "architecture"),
        (replace(XP, hardware=changed(clock="mars")), None, "clock"),
        (replace(XP, hardware=changed(debug_com=5)), None, "COM5"),
        (replace(XP, hardware=changed(debug_com=2)), None, "both the runner's and the debug port"),
        (replace(XP, hardware=changed(processors=0)), None, "out of range"),
        (replace(XP, hardware=changed(panic=(PanicModel.ISA, PanicModel.ISA))), None, "twice"),
        (
            replace(XP, hardware=changed(nic=Nic.NONE), forwards=(Forward(22),)),
            None,
            "without a network card",
        ),
        (replace(XP, forwards=(Forward(70000),)), None, "no such port"),
        (replace(XP, disks=(Disk(Path("/a")), Disk(Path("/b")))), None, "both want ide place 0"),
        (replace(XP, disks=(Disk(Path("/a"), target=4),)), None, "has 4 places"),
        (replace(XP, disks=(Disk(Path("/a"), DiskFormat.VHDX),)), None, "convert it"),
        (replace(XP, disks=(Disk(Path("a.qcow2")),)), None, "absolute"),
        (replace(XP, disks=(Disk(Path("/a\nb")),)), None, "printable"),
        (replace(XP, removable=(Removable(None),) * 4), None, "no place on ide left"),
        (replace(XP, removable=(Removable(None, floppy=True),) * 3), None, "two floppy drives"),
        (replace(XP, folder=Path("/" + "x" * 100)), None, "somewhere shorter"),
        (UEFI, None, "UEFI needs"),
        (replace(UEFI, firmware_variables=None), OVMF, "UEFI needs"),
        (XP, OVMF, "one with a BIOS neither"),
        (
            replace(WINDOWS_11, hardware=replace(WINDOWS_11.hardware, machine="pc")),
            OVMF_SECURE,
            "needs a q35",
        ),
    ],
)
def test_what_no_machine_can_be_made_of_is_refused(
    spec: MachineSpec, firmware: FirmwareFiles | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        domain_xml(spec, firmware)


def test_a_cd_sits_where_old_systems_look_whatever_the_number_of_disks() -> None:
    for disks in ((), (Disk(Path("/a")),), (Disk(Path("/a")), Disk(Path("/b"), target=1))):
        spec = replace(XP, disks=disks)
        target = ElementTree.fromstring(domain_xml(spec)).find("devices/disk[@device='cdrom']/target")
        assert target is not None
        assert target.attrib == {"dev": "hdc", "bus": "ide"}


def test_the_runner_has_the_port_the_description_names() -> None:
    for port, found in ((ChannelPort.COM1, "0"), (ChannelPort.COM2, "1")):
        spec = replace(XP, hardware=changed(channel=port, debug_com=0, disk_bus=DiskBus.IDE))
        serial = ElementTree.fromstring(domain_xml(spec)).findall("devices/serial")
        assert len(serial) == 1
        source, target = serial[0].find("source"), serial[0].find("target")
        assert source is not None
        assert target is not None
        assert (source.get("mode"), source.get("path")) == ("bind", str(spec.channel_socket))
        assert target.get("port") == found
