"""A clone: a machine that begins where its template was frozen, and is thrown away after use.

It has overlays on the template's disks, the template's RAM mapped privately, copies of the firmware variables
and the TPM's state. It comes to life suspended; its clock is the template's until somebody sets it.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from harness.cleanup import Closing
from harness.machine.clones.admission import own_memory
from harness.machine.clones.template import Template, machine_spec
from harness.machine.describe.spec import Disk, DiskFormat, MachineSpec, Memory
from harness.machine.disk.disks import create_overlay
from harness.machine.hypervisor.machine import Machine
from harness.machine.hypervisor.migration import ignore_shared, load_state
from harness.machine.keep.places import private_folder
from harness.machine.keep.store import Way

__all__ = ["Clone"]

log = logging.getLogger(__name__)

_LOAD_SECONDS: Final = 300.0


class Clone(Closing):
    """One machine of a template; a context manager that ends it and removes its files. Made by `start`."""

    def __init__(self, template: Template, machine: Machine, seconds: float, resources: ExitStack) -> None:
        self.template = template
        self.machine = machine
        #: How it came to life: `Way.CLONED` unless this host or guest can't.
        self.way = template.way
        #: How long that took.
        self.seconds = seconds
        self._resources = resources

    @classmethod
    def start(cls, template: Template, *, admitted: bool = False) -> Self:
        """A new clone, suspended. `admitted`: the caller has set memory aside for it.

        Raises `InfrastructureError` when the template is damaged, or memory or disk are short.
        """
        template.check()
        session, host = template.session, template.host
        name = session.new_name("c")
        with ExitStack() as stack:
            reservation = None
            if not admitted:
                reservation = template.admission.memory(
                    template.appetite.expected, f"a clone of {template.image.name}", timeout=_LOAD_SECONDS
                )
                stack.callback(reservation.release)
            began = time.monotonic()
            session.expect_machine(name)
            stack.callback(session.machine_gone, name)
            machine = host.start(_spec(template, name), paused=True)
            stack.callback(_end, template, machine)
            if reservation is not None:
                reservation.pid = machine.pid
            if template.way is Way.CLONED:
                ignore_shared(machine)
            if template.manifest.state is not None:
                load_state(machine, template.folder / template.manifest.state, timeout=_LOAD_SECONDS)
            seconds = time.monotonic() - began
            log.debug("%s is a clone of %s: %s, %.3f s", name, template.image.name, template.way, seconds)
            return cls(template, machine, seconds, stack.pop_all())

    @property
    def name(self) -> str:
        return self.machine.name

    def resume(self) -> Machine:
        """Let it run; returns its machine. The caller sets its clock next.

        Where clones are booted (`Way.COLD_BOOT`) this takes as long as that, and raises what `ready` raises.
        """
        self.machine.resume()
        if self.way is Way.COLD_BOOT:
            self.template.ready(self.machine)
        return self.machine

    def on_close(self, action: Callable[[], object]) -> None:
        """Call `action` when the clone has ended."""
        outer = ExitStack()
        outer.callback(action)
        outer.push(self._resources)
        self._resources = outer

    def close(self) -> None:
        """End it at once and remove its files. May be called again."""
        self._resources.close()


def _end(template: Template, machine: Machine) -> None:
    if machine.pid is not None:
        template.appetite.learn(own_memory(machine.pid))
    machine.destroy()


def _spec(template: Template, name: str) -> MachineSpec:
    """The clone's machine, with its files made."""
    image, manifest, source = template.image, template.manifest, template.folder
    files = template.session.disk_folder(name)
    frozen = iter(manifest.disks)
    disks = []
    for index, disk in enumerate(image.disks):
        if disk.read_only:
            disks.append(disk)
            continue
        backing = disk
        if manifest.way is not Way.COLD_BOOT:
            backing = Disk(source / next(frozen), DiskFormat.QCOW2)
        overlay = files / f"disk{index}.qcow2"
        create_overlay(overlay, backing.path, backing.format)
        disks.append(replace(disk, path=overlay, format=DiskFormat.QCOW2))
    cold = manifest.way is Way.COLD_BOOT
    variables = _copy(
        image.firmware_variables if cold else _in(source, manifest.variables), files / "variables"
    )
    tpm = None
    if image.hardware.tpm:
        tpm = private_folder(files / "tpm")
        state = image.tpm_state if cold else _in(source, manifest.tpm)
        if state is not None:
            shutil.copytree(state, tpm, dirs_exist_ok=True)
    return machine_spec(
        image,
        name=name,
        folder=template.session.machine_folder(name),
        disks=tuple(disks),
        accelerator=template.accelerator,
        memory=Memory(manifest.ram, shared=False) if manifest.ram is not None else None,
        firmware_variables=variables,
        tpm_state=tpm,
        incoming=not cold,
    )


def _in(folder: Path, name: str | None) -> Path | None:
    return folder / name if name is not None else None


def _copy(source: Path | None, target: Path) -> Path | None:
    return Path(shutil.copyfile(source, target)) if source is not None else None
