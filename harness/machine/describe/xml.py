"""The domain XML of a machine: a pure function of its description.

The form is libvirt's (https://libvirt.org/formatdomain.html). What libvirt 9 has no element for goes to
QEMU's command line through the `qemu` namespace: RAM in a file, a restricted network, waiting for a clone's
state.
Devices and their places depend on the description alone, so that a template and its clones agree.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from uuid import UUID
from xml.etree.ElementTree import Element, SubElement, indent, register_namespace, tostring

from harness.errors import UsageError
from harness.machine.describe.cpu import cpu_element
from harness.machine.describe.drives import Drive, is_q35, lay_out
from harness.machine.describe.firmware import FirmwareFiles
from harness.machine.describe.spec import (
    RUNNER_PORT,
    Accelerator,
    ChannelPort,
    Firmware,
    Hardware,
    MachineSpec,
    Nic,
    PanicModel,
)

__all__ = ["domain_xml"]

_QEMU: Final = "http://libvirt.org/schemas/domain/qemu/1.0"
register_namespace("qemu", _QEMU)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MACHINE: Final = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_ARCHES: Final = frozenset({"x86_64", "i686"})
#: A socket's path must fit into sockaddr_un with its terminating zero: unix(7).
_SOCKET_LIMIT: Final = 107
#: Slots of devices that libvirt doesn't know of, beyond those it hands out from the bottom.
_NIC_SLOT: Final = "0x10"
_PANIC_SLOT: Final = "0x11"
#: Locally administered. Clones share it: nothing but their own host can reach them.
_MAC: Final = "52:54:00:72:65:67"


def domain_xml(spec: MachineSpec, firmware: FirmwareFiles | None = None, *, uuid: UUID | None = None) -> str:
    """The whole domain. `firmware` is this host's, for a machine with UEFI: `find_firmware(spec.hardware)`.

    `uuid` names this one run of the machine; None leaves the choice to libvirt.
    Raises `UsageError` for a description that no machine can be made of.
    """
    _check(spec, firmware)
    hardware = spec.hardware
    domain = Element("domain", type="kvm" if spec.accelerator is Accelerator.KVM else "qemu")
    SubElement(domain, "name").text = spec.name
    if uuid is not None:
        SubElement(domain, "uuid").text = str(uuid)
    SubElement(domain, "memory", unit="MiB").text = str(hardware.memory_mib)
    SubElement(domain, "vcpu", placement="static").text = str(hardware.processors)
    domain.append(_boot(spec, firmware))
    domain.append(_features(spec, firmware))
    domain.append(_processor(hardware))
    domain.append(_clock(hardware))
    SubElement(domain, "on_poweroff").text = "destroy"
    SubElement(domain, "on_reboot").text = "restart"
    SubElement(domain, "on_crash").text = "preserve"  # stays for the screenshot and the memory dump
    power = SubElement(domain, "pm")  # a guest that falls asleep looks like one that hangs
    SubElement(power, "suspend-to-mem", enabled="no")
    SubElement(power, "suspend-to-disk", enabled="yes" if hardware.hibernation else "no")
    domain.append(_devices(spec))
    SubElement(domain, "seclabel", type="none")
    domain.append(_command_line(spec))
    domain.append(_capabilities())
    indent(domain)
    return tostring(domain, encoding="unicode") + "\n"


def _boot(spec: MachineSpec, firmware: FirmwareFiles | None) -> Element:
    os = Element("os")
    SubElement(os, "type", arch=spec.hardware.arch, machine=spec.hardware.machine).text = "hvm"
    if firmware is not None and spec.firmware_variables is not None:
        loader = {"readonly": "yes", "secure": "yes" if firmware.smm else "no", "type": "pflash"}
        SubElement(os, "loader", loader).text = str(firmware.code)
        SubElement(os, "nvram").text = str(spec.firmware_variables)
    if spec.boot is not None:
        SubElement(os, "kernel").text = str(spec.boot.kernel)
        if spec.boot.initrd is not None:
            SubElement(os, "initrd").text = str(spec.boot.initrd)
        if spec.boot.command_line:
            SubElement(os, "cmdline").text = spec.boot.command_line
    return os


def _features(spec: MachineSpec, firmware: FirmwareFiles | None) -> Element:
    features = Element("features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    SubElement(features, "pae")
    if spec.hardware.hyperv:
        features.append(_enlightenments(kvm=spec.accelerator is Accelerator.KVM))
    if firmware is not None and firmware.smm:
        SubElement(features, "smm", state="on")
    # Where a Windows guest tells QEMU how to make a dump its debugger can read.
    SubElement(features, "vmcoreinfo", state="on")
    return features


def _enlightenments(*, kvm: bool) -> Element:
    """QEMU's docs/system/i386/hyperv.rst. The synthetic timer needs vpindex, which QEMU refuses under TCG."""
    hyperv = Element("hyperv", mode="custom")
    SubElement(hyperv, "relaxed", state="on")
    SubElement(hyperv, "vapic", state="on")
    SubElement(hyperv, "spinlocks", state="on", retries="8191")
    if kvm:
        for name in ("vpindex", "synic", "stimer"):
            SubElement(hyperv, name, state="on")
    return hyperv


def _processor(hardware: Hardware) -> Element:
    cpu = cpu_element(hardware.cpu)
    if hardware.processors > 1:
        # Windows 11 asks for two cores on one processor ("Windows 11 Specs and System Requirements").
        topology = {"sockets": "1", "cores": str(hardware.processors), "threads": "1"}
        SubElement(cpu, "topology", topology)
    return cpu


def _clock(hardware: Hardware) -> Element:
    clock = Element("clock", offset=hardware.clock)
    if hardware.hyperv:
        SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
        SubElement(clock, "timer", name="hpet", present="no")
        SubElement(clock, "timer", name="hypervclock", present="yes")
    return clock


def _devices(spec: MachineSpec) -> Element:
    hardware = spec.hardware
    devices = Element("devices")
    devices.extend(_drive(drive) for drive in lay_out(spec))
    SubElement(devices, "controller", type="usb", model="none")
    if hardware.channel is ChannelPort.VIRTIO:
        SubElement(devices, "controller", type="virtio-serial", index="0")
    devices.extend(_serial_ports(spec))
    if hardware.channel is ChannelPort.VIRTIO:
        channel = SubElement(devices, "channel", type="unix")
        SubElement(channel, "source", mode="bind", path=str(spec.channel_socket))
        SubElement(channel, "target", type="virtio", name=RUNNER_PORT)
    if hardware.tpm:
        tpm = SubElement(devices, "tpm", model="tpm-crb")
        backend = SubElement(tpm, "backend", type="external")
        SubElement(backend, "source", type="unix", mode="connect", path=str(spec.tpm_socket))
    video = SubElement(devices, "video")
    SubElement(video, "model", type=hardware.video)
    for model in hardware.panic:
        if model is not PanicModel.PCI:  # libvirt knows that one from 9.1 on
            SubElement(devices, "panic", model=model)
    SubElement(devices, "memballoon", model="none")  # would write into a template's RAM file
    return devices


def _drive(drive: Drive) -> Element:
    disk = Element("disk", type="file", device=drive.kind)
    driver = SubElement(disk, "driver", name="qemu", type=drive.format)
    if not drive.read_only:
        driver.set("cache", "unsafe")  # thrown away after a crash of the host: nothing to keep safe
    if drive.path is not None:
        SubElement(disk, "source", file=str(drive.path))
    SubElement(disk, "target", dev=drive.target, bus=drive.bus)
    if drive.read_only:
        SubElement(disk, "readonly")
    if drive.boot_order is not None:
        SubElement(disk, "boot", order=str(drive.boot_order))
    return disk


def _serial_ports(spec: MachineSpec) -> list[Element]:
    """COM ports by number: the runner's, and the debug port with its log."""
    hardware = spec.hardware
    ports: dict[int, Element] = {}
    if hardware.channel is not ChannelPort.VIRTIO:
        number = 1 if hardware.channel is ChannelPort.COM1 else 2
        ports[number] = _serial(number, spec.channel_socket)
    if hardware.debug_com:
        if hardware.debug_com in ports:
            raise UsageError(f"{spec.name}: COM{hardware.debug_com} is both the runner's and the debug port")
        ports[hardware.debug_com] = _serial(hardware.debug_com, spec.debug_socket, log=spec.debug_log)
    return [ports[number] for number in sorted(ports)]


def _serial(number: int, socket: Path, *, log: Path | None = None) -> Element:
    serial = Element("serial", type="unix")
    SubElement(serial, "source", mode="bind", path=str(socket))
    if log is not None:
        SubElement(serial, "log", file=str(log), append="off")
    target = SubElement(serial, "target", type="isa-serial", port=str(number - 1))
    SubElement(target, "model", name="isa-serial")
    return serial


def _command_line(spec: MachineSpec) -> Element:
    hardware = spec.hardware
    bus = "pcie.0" if is_q35(hardware) else "pci.0"
    arguments: list[str] = []
    if spec.memory is not None:
        share = "on" if spec.memory.shared else "off"
        backend = f"id=tmpl,size={hardware.memory_mib}M,mem-path={_escaped(spec.memory.path)},share={share}"
        arguments += ["-object", f"memory-backend-file,{backend}", "-machine", "memory-backend=tmpl"]
    if spec.incoming:
        arguments += ["-incoming", "defer"]
    if hardware.nic is not Nic.NONE:
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{f.host_port}-:{f.guest_port}" for f in spec.forwards)
        # restrict=on: the guest reaches nothing, not even the host; only the forwards lead in.
        arguments += ["-netdev", f"user,id=net0,restrict=on{forwards}"]
        device = "virtio-net-pci" if hardware.nic is Nic.VIRTIO else hardware.nic
        arguments += ["-device", f"{device},id=nic0,netdev=net0,mac={_MAC},bus={bus},addr={_NIC_SLOT}"]
    if PanicModel.PCI in hardware.panic:
        arguments += ["-device", f"pvpanic-pci,bus={bus},addr={_PANIC_SLOT}"]
    if spec.gdb is not None:
        arguments += ["-gdb", f"unix:{_escaped(spec.gdb)},server=on,wait=off"]
    command_line = Element(f"{{{_QEMU}}}commandline")
    for argument in arguments:
        SubElement(command_line, f"{{{_QEMU}}}arg", value=argument)
    return command_line


def _capabilities() -> Element:
    """Have libvirt ask for the guest's processor in two questions instead of four hundred, one a flag.

    They are three quarters of the time that a clone takes to start. Without the newer way of asking libvirt
    falls back on the older one (qemuProcessFetchGuestCPU in its qemu_process.c); nothing here needs either.
    """
    capabilities = Element(f"{{{_QEMU}}}capabilities")
    SubElement(capabilities, f"{{{_QEMU}}}del", capability="cpu-unavailable-features")
    return capabilities


def _escaped(path: Path) -> str:
    """A path as the value of a QEMU option, where a comma ends the value unless it is doubled."""
    return str(path).replace(",", ",,")


def _check(spec: MachineSpec, firmware: FirmwareFiles | None) -> None:
    hardware = spec.hardware
    if not _NAME.fullmatch(spec.name):
        raise UsageError(f"machine name {spec.name!r}: letters, digits, '.', '_', '-', up to 63, no more")
    if not _MACHINE.fullmatch(hardware.machine):
        raise UsageError(
            f"{spec.name}: machine type {hardware.machine!r}; see `qemu-system-x86_64 -machine help`"
        )
    if hardware.arch not in _ARCHES:
        raise UsageError(
            f"{spec.name}: architecture {hardware.arch!r} is none of {', '.join(sorted(_ARCHES))}"
        )
    if hardware.clock not in {"utc", "localtime"}:
        raise UsageError(f"{spec.name}: clock {hardware.clock!r} is neither 'utc' nor 'localtime'")
    if not 1 <= hardware.processors <= 64 or not 1 <= hardware.memory_mib <= 1 << 20:
        raise UsageError(
            f"{spec.name}: {hardware.processors} processors, {hardware.memory_mib} MiB: out of range"
        )
    if hardware.debug_com not in {0, 1, 2, 3, 4}:
        raise UsageError(f"{spec.name}: COM{hardware.debug_com}: a PC has COM1 to COM4")
    if len(set(hardware.panic)) != len(hardware.panic):
        raise UsageError(f"{spec.name}: a panic device is listed twice")
    _check_firmware(spec, firmware)
    _check_network(spec)
    _check_paths(spec)


def _check_firmware(spec: MachineSpec, firmware: FirmwareFiles | None) -> None:
    hardware = spec.hardware
    uefi = hardware.firmware is not Firmware.BIOS
    if uefi != (firmware is not None) or uefi != (spec.firmware_variables is not None):
        raise UsageError(
            f"{spec.name}: a machine with UEFI needs the host's firmware and its own copy of the variables"
            f" (firmware_variables), one with a BIOS neither"
        )
    if firmware is not None and firmware.smm and not is_q35(hardware):
        raise UsageError(f"{spec.name}: secure boot needs a q35 machine, not {hardware.machine!r}")


def _check_network(spec: MachineSpec) -> None:
    if spec.forwards and spec.hardware.nic is Nic.NONE:
        raise UsageError(f"{spec.name}: port forwards without a network card; set the hardware's nic")
    for forward in spec.forwards:
        if not 1 <= forward.guest_port <= 65535 or not 0 <= forward.host_port <= 65535:
            raise UsageError(
                f"{spec.name}: forward {forward.host_port} to {forward.guest_port}: no such port"
            )


def _check_paths(spec: MachineSpec) -> None:
    sockets = [spec.channel_socket, spec.debug_socket, spec.tpm_socket, *([spec.gdb] if spec.gdb else [])]
    for socket in sockets:
        if len(bytes(socket)) > _SOCKET_LIMIT:
            raise UsageError(
                f"{spec.name}: the socket path {socket} has {len(bytes(socket))} bytes, the system takes "
                f"{_SOCKET_LIMIT}; put the machine's folder somewhere shorter"
            )
    paths: list[Path | None] = [spec.folder, spec.firmware_variables, *(d.path for d in spec.disks)]
    paths += [r.path for r in spec.removable]
    paths += [spec.memory.path if spec.memory else None, spec.gdb]
    if spec.boot is not None:
        paths += [spec.boot.kernel, spec.boot.initrd]
        if not spec.boot.command_line.isprintable():
            raise UsageError(
                f"{spec.name}: the kernel's command line {spec.boot.command_line!r} is not printable"
            )
    for path in paths:
        if path is not None and (not path.is_absolute() or not str(path).isprintable()):
            raise UsageError(f"{spec.name}: {str(path)!r} must be an absolute path of printable characters")
