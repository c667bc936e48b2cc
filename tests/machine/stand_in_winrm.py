"""Use the stand-in by WinRM and print, as JSON, what came of it.

The stand-in has no WinRM service: the tests' endpoint speaks the protocol to the harness's channel, and runs
what it is told inside the machine, over SSH. A process of its own: libvirt's driver belongs to one.

    python -m tests.machine.stand_in_winrm FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import paramiko

from harness.channel.access import SshAccess, WinRmAccess
from harness.channel.deadline import Deadline
from harness.channel.runner import RunnerClient
from harness.channel.ssh_connect import connect_ssh
from harness.channel.winrm import WinRmChannel
from harness.driver import probe_image
from harness.guests import Guests, GuestSettings
from harness.image.access import network_access
from harness.image.finding import find_recipe
from harness.machine.guest import MachineGuest
from harness.probe import abi
from harness.targets import parse_target
from harness.workload import Opcode, Operation, Program
from tests.channel.winrm_endpoint import WinRmEndpoint
from tests.channel.winrm_service import Command

KEY = r"\REGISTRY\MACHINE\Software\ByWinRm"


class OverSsh:
    """Runs the endpoint's commands as OpenSSH for Windows would: the line goes to cmd.exe."""

    def __init__(self, client: paramiko.SSHClient) -> None:
        self._client = client

    def __call__(self, command: Command) -> int:
        transport = self._client.get_transport()
        assert transport is not None
        channel = transport.open_session()
        channel.exec_command(command.line)
        command.on_terminate(channel.close)
        threads = [
            threading.Thread(target=self._feed, args=(channel, command), daemon=True),
            threading.Thread(target=self._drain, args=(channel.recv_stderr, command.write_stderr)),
        ]
        for thread in threads:
            thread.start()
        self._drain(channel.recv, command.write_stdout)
        threads[1].join()
        code = channel.recv_exit_status()
        channel.close()
        return code & 0xFFFF_FFFF

    @staticmethod
    def _feed(channel: paramiko.Channel, command: Command) -> None:
        try:
            while data := command.read():
                channel.sendall(data)
            channel.shutdown_write()
        except OSError:
            pass  # the command has ended

    @staticmethod
    def _drain(receive: Any, write: Any) -> None:
        try:
            while data := receive(1 << 16):
                write(data)
        except BrokenPipeError:
            pass  # the client ended the command


def ssh_access(guest: MachineGuest) -> SshAccess:
    recipe = find_recipe("stand-in")
    ports = {port: guest.machine.forwarded_port(port) for port in recipe.guest_ports}
    return next(way for way in network_access(recipe, ports) if isinstance(way, SshAccess))


def use(channel: WinRmChannel) -> dict[str, Any]:
    """A command, a file, a program, and the signed driver with one request."""
    done = channel.execute(["cmd.exe", "/c", "echo by winrm& exit 5"])
    data = os.urandom(300_000)
    channel.put(r"C:\harness\winrm.bin", data)
    same = channel.get(r"C:\harness\winrm.bin") == data
    runner = RunnerClient(channel)
    program = Program.of(
        [
            Operation(opcode=Opcode.CREATE_KEY, out=0, name=KEY, access=0xF003F),
            Operation(opcode=Opcode.SET_VALUE, handle=0, value_name="v", type=4, data=b"\1\0\0\0"),
            Operation(opcode=Opcode.DELETE_KEY, handle=0),
        ]
    )
    statuses = [operation.status for operation in runner.run(program)]
    channel.put(r"C:\harness\winrm.sys", probe_image("x64"))
    runner.create_service("bywinrm", r"C:\harness\winrm.sys")
    started = runner.start_service("bywinrm")
    reply = abi.record("REGPROBE_INFO_REPLY")
    answer = runner.control_device(
        abi.DEVICE,
        abi.constant("IOCTL_REGPROBE_INFO"),
        abi.record("REGPROBE_HEADER").pack(),
        output=reply.size,
    )
    runner.stop_service("bywinrm")
    runner.delete_service("bywinrm")
    return {
        "exit_code": done.exit_code,
        "stdout": done.stdout.decode().strip(),
        "file": same,
        "statuses": statuses,
        "started": (started.status or started.win32 or 0) == 0,
        "abi": reply.unpack(answer.data)["abi_version"] == abi.constant("REGPROBE_ABI_VERSION"),
    }


def main(folder: Path) -> dict[str, Any]:
    secret = folder / "password"
    secret.touch(0o600)
    secret.write_text("WinRm-1")
    found: dict[str, Any] = {}
    with Guests(GuestSettings(channel="serial")) as guests, guests.boot(parse_target("vm:stand-in")) as guest:
        assert isinstance(guest, MachineGuest)
        client = connect_ssh(ssh_access(guest), Deadline.after(120))
        try:
            for https in (False, True):
                with WinRmEndpoint(OverSsh(client), "harness", "WinRm-1", https=https) as endpoint:
                    access = WinRmAccess(
                        "127.0.0.1",
                        "harness",
                        secret,
                        port=endpoint.port,
                        certificate=endpoint.certificate_sha256,
                    )
                    with WinRmChannel.connect(access) as channel:
                        found["https" if https else "http"] = use(channel)
        finally:
            client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
