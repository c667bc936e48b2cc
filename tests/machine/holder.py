"""A harness process that makes a template and runs clones until it is killed.

Prints a line for each thing it reaches, and stays there when it was told to: its parent kills it.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from harness.machine.clones.pool import ClonePool
from harness.machine.clones.template import Template
from harness.machine.describe.spec import Disk, DiskBus, DiskFormat, SealedImage
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.keep.places import Places
from harness.machine.keep.session import Session
from tests.machine.tinyguest import TinyLine, tiny_boot, tiny_hardware


def say(word: str, *more: object) -> None:
    print(word, *more, flush=True)
    if word in sys.argv[6:]:
        signal.pause()


def ready(machine: Machine) -> None:
    say("booted")
    with TinyLine(machine.spec.channel_socket) as line:
        line.ask("add 7")


def main(cache: Path, runtime: Path, memory: Path, kernel: Path, disk: Path) -> None:
    hardware = tiny_hardware(disk_bus=DiskBus.IDE, tpm="tpm" in sys.argv[6:])
    image = SealedImage(
        name="tiny",
        digest="7" * 64,
        hardware=hardware,
        disks=(Disk(disk, DiskFormat.RAW),),
        boot=tiny_boot(kernel, hardware),
        boot_seconds=60,
    )
    with Session.open(Places(cache, runtime, memory)) as session:
        say("session", session.guard.pid)
        with (
            Host.open(root=session.libvirt_root) as host,
            Template.open(image, session=session, host=host, ready=ready) as template,
        ):
            say("template")
            with ClonePool(template, size=2) as pool:
                while True:
                    clone = pool.take()
                    with TinyLine(clone.resume().spec.channel_socket) as line:
                        say("answer", line.ask("ping"))
                    pool.give_back(clone)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:6]))
