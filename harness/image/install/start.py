"""An installed system, started: on overlays to ask it something, on its own disks for a change that stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.channel.deadline import Deadline
from harness.channel.environment import Environment
from harness.channel.errors import ChannelError
from harness.channel.opening import open_channel
from harness.channel.runner import RunnerClient
from harness.errors import InfrastructureError
from harness.machine.clones.template import machine_spec
from harness.machine.describe.spec import Accelerator, Disk, DiskFormat, SealedImage
from harness.machine.disk.disks import create_overlay
from harness.machine.evidence import collect
from harness.machine.hypervisor.events import EventKind
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.keep.places import private_folder
from harness.machine.keep.session import Session

__all__ = ["GONE", "answered", "started"]

#: What tells that a machine answers no more.
GONE: Final = (EventKind.EXIT, EventKind.SHUTDOWN, EventKind.PANIC)
_STEP: Final = 5.0
_PAUSE: Final = 1.0


@contextmanager
def started(
    image: SealedImage,
    session: Session,
    host: Host,
    accelerator: Accelerator,
    *,
    evidence: Path,
    lasting: bool = False,
) -> Iterator[Machine]:
    """A machine of `image`, gone afterwards. `lasting`: on the image's own files; else these are not changed.

    An `InfrastructureError` in the block leaves the machine's evidence in the folder `evidence` and says so.
    """
    name = session.new_name("a")
    work = session.disk_folder(name)
    session.expect_machine(name)
    try:
        variables, tpm = image.firmware_variables, None
        if variables is not None and not lasting:
            variables = Path(shutil.copyfile(variables, work / "variables"))
        if image.hardware.tpm:
            # In the session's folder as long as it runs: that is how its process is known.
            tpm = private_folder(work / "tpm")
            if image.tpm_state is not None:
                shutil.copytree(image.tpm_state, tpm, dirs_exist_ok=True, copy_function=shutil.copyfile)
        spec = machine_spec(
            image,
            name=name,
            folder=session.machine_folder(name),
            disks=image.disks if lasting else _overlays(image, work),
            accelerator=accelerator,
            firmware_variables=variables,
            tpm_state=tpm,
        )
        with host.start(spec) as machine:
            try:
                yield machine
            except InfrastructureError as error:
                shutil.rmtree(evidence, ignore_errors=True)
                collect(machine, private_folder(evidence), error)
                raise InfrastructureError(f"{error}; evidence is in {evidence}") from error
        if lasting and tpm is not None and image.tpm_state is not None:
            shutil.copytree(tpm, image.tpm_state, dirs_exist_ok=True, copy_function=shutil.copyfile)
    finally:
        session.machine_gone(name)


def _overlays(image: SealedImage, work: Path) -> tuple[Disk, ...]:
    disks = []
    for number, disk in enumerate(image.disks):
        overlay = work / f"disk{number}.qcow2"
        create_overlay(overlay, disk.path, disk.format)
        disks.append(replace(disk, path=overlay, format=DiskFormat.QCOW2))
    return tuple(disks)


def answered(machine: Machine, name: str, seconds: float) -> Environment:
    """What the runner says, as soon as it answers. Raises `InfrastructureError` when it doesn't in time."""
    deadline = Deadline.after(seconds)
    while True:
        try:
            with open_channel(machine.spec.channel_socket, timeout=deadline.at_most(_STEP)) as channel:
                return RunnerClient(channel).environment()
        except ChannelError as error:
            gone = next((event for event in machine.events if event.kind in GONE), None)
            if gone is not None or deadline.passed:
                ended = f"the machine ended ({gone})" if gone is not None else "it did not answer in time"
                raise InfrastructureError(
                    f"{name} was installed, but its runner can't be asked: {ended} ({error})"
                ) from error
        try:  # its port takes nothing before the runner is there
            machine.wait_for(*GONE, timeout=deadline.at_most(_PAUSE))
        except InfrastructureError:
            continue
