"""The first start of what was installed: its runner is asked what it is; that is compared with the recipe.

No Windows is at hand where this is built. So an image says what it is on the user's machine before it is
kept: build, architecture, test signing, Secure Boot. A difference is an error with both values.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.channel.deadline import Deadline
from harness.channel.environment import Environment
from harness.channel.errors import ChannelError
from harness.channel.opening import open_channel
from harness.channel.runner import RunnerClient
from harness.errors import InfrastructureError
from harness.guest.base import GuestKind
from harness.image.recipe import Recipe
from harness.machine.clones.template import machine_spec
from harness.machine.describe.spec import Accelerator, DiskFormat, SealedImage
from harness.machine.disk.disks import create_overlay
from harness.machine.evidence import collect
from harness.machine.hypervisor.events import EventKind
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.inside.attest import Promise, check_promise
from harness.machine.keep.places import private_folder
from harness.machine.keep.session import Session

__all__ = ["AnotherSystemError", "Attest", "attest_image"]

_STEP: Final = 5.0
_PAUSE: Final = 1.0
_GONE: Final = (EventKind.EXIT, EventKind.SHUTDOWN, EventKind.PANIC)


class AnotherSystemError(InfrastructureError):
    """What was installed answers, and is not what its recipe promises: asking again changes nothing."""


#: Starts an image and returns what its runner says; raises where that is not what the recipe promises.
Attest = Callable[[Recipe, SealedImage, Session, Host, Accelerator, Path], Environment]


def attest_image(
    recipe: Recipe,
    image: SealedImage,
    session: Session,
    host: Host,
    accelerator: Accelerator,
    evidence: Path,
) -> Environment:
    """Start `image`, which stays as it is, and ask its runner on the serial port.

    Raises `InfrastructureError` when no runner answers in the recipe's time, with the machine's evidence in
    the folder `evidence`, and `AnotherSystemError` when the guest is another one.
    """
    name = session.new_name("a")
    work = session.disk_folder(name)
    session.expect_machine(name)
    try:
        disks = []
        for number, disk in enumerate(image.disks):
            overlay = work / f"disk{number}.qcow2"
            create_overlay(overlay, disk.path, disk.format)
            disks.append(replace(disk, path=overlay, format=DiskFormat.QCOW2))
        variables, tpm = image.firmware_variables, None
        if variables is not None:
            variables = Path(shutil.copyfile(variables, work / "variables"))
        if image.hardware.tpm:
            tpm = private_folder(work / "tpm")
            if image.tpm_state is not None:
                shutil.copytree(image.tpm_state, tpm, dirs_exist_ok=True, copy_function=shutil.copyfile)
        spec = machine_spec(
            image,
            name=name,
            folder=session.machine_folder(name),
            disks=tuple(disks),
            accelerator=accelerator,
            firmware_variables=variables,
            tpm_state=tpm,
        )
        with host.start(spec) as machine:
            try:
                found = _asked(machine, recipe)
            except InfrastructureError as error:
                shutil.rmtree(evidence, ignore_errors=True)
                collect(machine, private_folder(evidence), error)
                raise InfrastructureError(f"{error}; evidence is in {evidence}") from error
    finally:
        session.machine_gone(name)
    promise = Promise.of(recipe.kind, recipe.version, recipe.arch, recipe.hardware)
    try:
        check_promise(promise, found, recipe.name)
    except InfrastructureError as error:
        raise AnotherSystemError(str(error)) from error
    if recipe.kind is GuestKind.WINDOWS and found.service_pack != recipe.version.service_pack:
        raise AnotherSystemError(
            f"{recipe.name} is not what its recipe promises: service pack: the recipe says "
            f"{recipe.version.service_pack}, the guest {found.service_pack}"
        )
    return found


def _asked(machine: Machine, recipe: Recipe) -> Environment:
    """What the runner says, as soon as it answers."""
    deadline = Deadline.after(recipe.boot_seconds)
    while True:
        try:
            with open_channel(machine.spec.channel_socket, timeout=deadline.at_most(_STEP)) as channel:
                return RunnerClient(channel).environment()
        except ChannelError as error:
            gone = next((event for event in machine.events if event.kind in _GONE), None)
            if gone is not None or deadline.passed:
                ended = f"the machine ended ({gone})" if gone is not None else "it did not answer in time"
                raise InfrastructureError(
                    f"{recipe.name} was installed, but its runner can't be asked: {ended} ({error})"
                ) from error
        try:  # its port takes nothing before the runner is there
            machine.wait_for(*_GONE, timeout=deadline.at_most(_PAUSE))
        except InfrastructureError:
            continue
