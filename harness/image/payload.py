"""What an adopted guest finds on its payload disk: runner, drivers, and the command files that start it.

How it starts differs by system, because an adopted disk is never written:
- a live CD that looks for a command file on the first hard disk (drive C:) runs the one in the recipe's
  `folder` at every boot, and nothing else is needed;
- an installed system runs it when it is told to, once: ``install.cmd`` on the payload disk copies the runner
  to the system's disk and makes it a service that starts at boot. Do that before adopting the disk, or boot
  the disk yourself with the payload disk attached.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from harness.image.recipe import Adopt, Payload
from harness.machine.describe.spec import RUNNER_PORT, ChannelPort

__all__ = ["how_it_starts", "payload_files", "port_name"]

_INSTALL: Final = "install.cmd"


def port_name(channel: ChannelPort) -> str:
    """The port's name inside the guest, for the runner's ``--port``."""
    if channel is ChannelPort.VIRTIO:
        return f"\\\\.\\Global\\{RUNNER_PORT}"
    return f"\\\\.\\{channel.upper()}"


def payload_files(payload: Payload, channel: ChannelPort, *, runner: bytes) -> Mapping[str, bytes]:
    """The files of the disk by path (``rt/start.cmd``)."""
    folder = PurePosixPath(*payload.folder.strip("\\").split("\\"))
    files = {
        str(folder / "regrun.exe"): runner,
        str(folder / payload.command_file): _start(channel),
        str(folder / _INSTALL): _install(channel),
    }
    for driver in payload.drivers:
        files[str(folder / driver.name)] = driver.read_bytes()
    return files


def _start(channel: ChannelPort) -> bytes:
    # The runner waits for its port to appear, and is started again should it end.
    return _dos_text(
        "@echo off",
        "rem Starts the runner on the port that the host reaches.",
        ":again",
        f'"%~dp0regrun.exe" --port {port_name(channel)}',
        "goto again",
    )


def _install(channel: ChannelPort) -> bytes:
    return _dos_text(
        "@echo off",
        "rem Makes the runner a service of this system, started at boot. Run it once, as an administrator.",
        "if not exist C:\\harness mkdir C:\\harness",
        'copy /y "%~dp0regrun.exe" C:\\harness\\regrun.exe',
        f"C:\\harness\\regrun.exe --install --port {port_name(channel)}",
    )


def _dos_text(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")


def how_it_starts(adopt: Adopt) -> str:
    """What has to be true of the guest for the payload to start, in a sentence or two for people."""
    if adopt.payload is None:
        return "The image must start the runner by itself: no payload disk was asked for."
    command = f"{adopt.payload.folder}\\{adopt.payload.command_file}"
    if adopt.disk is None:
        return (
            f"The payload disk is the first hard disk, drive C: of a system that boots from the CD. "
            f"The CD must run C:{command} at boot."
        )
    return (
        "The payload disk is the second hard disk, drive D: or a later one. Boot the system once with it and "
        f"run {adopt.payload.folder}\\{_INSTALL} from that drive as an administrator: it makes the runner a "
        "service. "
        f"A system that runs {command} of that drive by itself needs nothing more."
    )
