"""Boot the stand-in's image in a process of its own and print, as JSON, what was found there.

A process of its own, because libvirt's embedded driver keeps its first folder for as long as a process runs.

    python -m tests.image.stand_in_boot FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from harness.channel.access import SshAccess
from harness.channel.runner import RunnerClient
from harness.channel.serial import SerialChannel
from harness.channel.ssh import SshChannel
from harness.image.access import network_access
from harness.image.finding import find_recipe
from harness.image.images import ensure_image
from harness.machine.describe.spec import Disk, Forward, MachineSpec, SealedImage
from harness.machine.disk.disks import create_overlay
from harness.machine.hypervisor.events import EventKind
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine

ROOTS_COMMAND = "echo c > /proc/sysrq-trigger"


def machine_spec(image: SealedImage, folder: Path) -> MachineSpec:
    """A machine that writes to overlays."""
    disks = []
    for disk in image.disks:
        if not disk.read_only:
            overlay = folder / f"disk{disk.target}.qcow2"
            create_overlay(overlay, disk.path, disk.format)
            disk = Disk(overlay, target=disk.target, bus=disk.bus)
        disks.append(disk)
    return MachineSpec(
        name="stand-in-test",
        hardware=image.hardware,
        folder=folder / "m",
        disks=tuple(disks),
        removable=image.removable,
        boot=image.boot,
        boot_from_cd=image.boot_from_cd,
        forwards=tuple(Forward(port) for port in image.guest_ports),
    )


def look(folder: Path) -> dict[str, Any]:
    """What a boot shows, by the names that test_stand_in.py asks for."""
    recipe = find_recipe("stand-in")
    image = ensure_image(recipe)
    spec = machine_spec(image, folder)
    with Host.open(root=folder / "v") as host, host.start(spec) as machine:
        found: dict[str, Any] = {}
        with SerialChannel.connect(spec.channel_socket, timeout=recipe.boot_seconds) as channel:
            found["hello"] = repr(channel.hello)
            found["runner_arch"] = channel.hello.arch
            system = RunnerClient(channel).environment(timeout=300)
            found["version"] = f"{system.major}.{system.minor}.{system.build}"
            found["serial_exit"] = channel.execute(["cmd", "/c", "exit 7"], timeout=300).exit_code
            channel.put(r"C:\harness\from-serial.txt", b"over the port")
        # The port was closed by the host; the next connection finds the same runner.
        with SerialChannel.connect(spec.channel_socket, timeout=300) as channel:
            found["serial_again"] = channel.get(r"C:\harness\from-serial.txt").decode()
        (access,) = network_access(recipe, {22: machine.forwarded_port(22)})
        assert isinstance(access, SshAccess)
        found |= over_ssh(access)
        found["panic"] = panic(machine, access)
        found["console"] = spec.debug_log.read_text(errors="replace")[-20000:]
    return found


def over_ssh(access: SshAccess) -> dict[str, Any]:
    import paramiko

    from harness.channel.deadline import Deadline
    from harness.channel.ssh_connect import connect_ssh

    found: dict[str, Any] = {}
    client: paramiko.SSHClient = connect_ssh(access, Deadline.after(300))
    with client:
        for name, line in {
            "ssh_cd": "cd",
            "ssh_quotes": 'echo "a  b" %OS% ^& c',
            "ssh_both": "echo one&& echo two",
            "ssh_exit": "exit 5",
        }.items():
            _, stdout, _ = client.exec_command(line, timeout=300)
            text = stdout.read().decode()
            found[name] = {"exit": stdout.channel.recv_exit_status(), "text": text}
        with client.open_sftp() as sftp, sftp.open("/C:/harness/from-serial.txt") as file:
            found["sftp_read"] = file.read().decode()
    with SshChannel.connect(access) as channel:
        channel.put(r"C:\harness\deep\from-ssh.txt", b"over SSH")
        found["ssh_file"] = channel.get(r"C:\harness\deep\from-ssh.txt").decode()
        found["ssh_execute"] = channel.execute(["cmd", "/c", "exit 9"], timeout=300).exit_code
    return found


def panic(machine: Machine, access: SshAccess) -> str:
    """Make the kernel panic, as root; the event the host saw."""
    from dataclasses import replace

    from harness.channel.deadline import Deadline
    from harness.channel.ssh_connect import connect_ssh

    mark = machine.events_seen
    with connect_ssh(replace(access, user="root"), Deadline.after(300)) as client:
        client.exec_command(ROOTS_COMMAND, timeout=300)
        return str(machine.wait_for(EventKind.PANIC, timeout=300, since=mark).kind)


if __name__ == "__main__":
    print(json.dumps(look(Path(sys.argv[1]))))
