"""Lets targets vm:NAME of an inner pytest run be tiny guests: everything but image and channel is real."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from harness.channel.base import ChannelKind
from harness.guests import Guests
from harness.image.recipe import Recipe
from harness.machine.describe.spec import Accelerator, Disk, DiskBus, DiskFormat, PanicModel, SealedImage
from harness.machine.drive import Machines, MachineSettings, WayIn
from harness.machine.hypervisor.machine import Machine
from harness.targets import Target
from tests.machine.tiny_channel import TinyChannel
from tests.machine.tinyguest import tiny_boot, tiny_hardware

__all__ = ["install"]

_HARDWARE = tiny_hardware(panic=(PanicModel.ISA,), disk_bus=DiskBus.IDE)


def _image(guests: Guests, target: Target, recipe: Recipe) -> SealedImage:
    kernel, disk = Path(os.environ["TINY_KERNEL"]), os.environ.get("TINY_DISK")
    return SealedImage(
        name=recipe.name,
        digest=os.environ["TINY_DIGEST"],
        hardware=_HARDWARE,
        disks=() if disk is None else (Disk(Path(disk), DiskFormat.RAW),),
        boot=tiny_boot(kernel, _HARDWARE),
        boot_seconds=60.0,
    )


def _ways(guests: Guests, recipe: Recipe) -> tuple[WayIn, ...]:
    return (WayIn(ChannelKind.SERIAL, _channel),)


def _channel(machine: Machine, timeout: float) -> TinyChannel:
    return TinyChannel(machine.spec.channel_socket, timeout=timeout)


def install() -> None:
    Guests._image = _image  # type: ignore[method-assign]
    Guests._ways = _ways  # type: ignore[method-assign]
    made = Machines.__init__

    def emulated(self: Machines, settings: MachineSettings | None = None) -> None:
        given = settings or MachineSettings()
        made(self, replace(given, accelerator=Accelerator.TCG))

    Machines.__init__ = emulated  # type: ignore[method-assign]
