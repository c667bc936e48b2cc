"""A template: an image booted once and frozen while running, made on first use and kept in the cache.

Disk overlays, RAM file, device state, firmware variables and TPM state are one unit: they are made in a
temporary folder and appear together under the image's digest, or not at all. Whoever asks next, in whatever
process, gets the same template, as long as everything that must match still does.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
from harness.machine.clones.admission import Admission, Appetite
from harness.machine.clones.identity import environment_of
from harness.machine.describe.spec import (
    Accelerator,
    Disk,
    DiskFormat,
    Forward,
    MachineSpec,
    Memory,
    Removable,
    SealedImage,
)
from harness.machine.disk.disks import create_overlay
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.hypervisor.migration import ignore_shared, save_state
from harness.machine.keep.eviction import free_up, remove_superseded
from harness.machine.keep.places import private_folder, require_space
from harness.machine.keep.session import Session
from harness.machine.keep.store import Environment, Fingerprint, Manifest, TemplateLock, TemplateStore, Way
from harness.machine.keep.sweep import remove_path

__all__ = ["Prepare", "Ready", "Template", "machine_spec"]

log = logging.getLogger(__name__)

#: Returns when the guest answers and is quiet: connects a channel, asks the runner, and closes the channel.
#: Raises a `HarnessError` when the guest doesn't come up.
Ready = Callable[[Machine], None]

#: Does to the machine of a template what takes it more than one life; it is ended when this returns, and
#: started again from the same disks to be frozen.
Prepare = Callable[[MachineSpec], None]

_SAVE_SECONDS: Final = 600.0
#: Waiting for another process that makes the same template, beyond the boot itself.
_WAIT_SECONDS: Final = 300.0
_ADMISSION_SECONDS: Final = 600.0
_OVERLAY_ROOM: Final = 1 << 30


def machine_spec(
    image: SealedImage,
    *,
    name: str,
    folder: Path,
    disks: tuple[Disk, ...],
    accelerator: Accelerator,
    memory: Memory | None = None,
    firmware_variables: Path | None = None,
    tpm_state: Path | None = None,
    incoming: bool = False,
) -> MachineSpec:
    """The machine of an image: the same for a template and its clones but for paths and RAM sharing."""
    return MachineSpec(
        name=name,
        hardware=image.hardware,
        folder=folder,
        disks=disks,
        removable=(*image.removable, *([Removable(None)] if image.hardware.disc_drive else [])),
        boot=image.boot,
        boot_from_cd=image.boot_from_cd,
        forwards=tuple(Forward(port) for port in image.guest_ports),
        memory=memory,
        firmware_variables=firmware_variables,
        tpm_state=tpm_state,
        incoming=incoming,
        accelerator=accelerator,
    )


class Template:
    """A complete template, locked against removal while it is open. Made by `Template.open`."""

    def __init__(
        self,
        image: SealedImage,
        folder: Path,
        manifest: Manifest,
        *,
        session: Session,
        host: Host,
        ready: Ready,
        accelerator: Accelerator,
        admission: Admission,
    ) -> None:
        self.image = image
        self.folder = folder
        self.manifest = manifest
        self.session = session
        self.host = host
        self.ready = ready
        self.accelerator = accelerator
        self.admission = admission
        self.appetite = Appetite(image.hardware)

    @property
    def way(self) -> Way:
        """How its clones come to life."""
        return self.manifest.way

    @classmethod
    @contextmanager
    def open(
        cls,
        image: SealedImage,
        *,
        session: Session,
        host: Host,
        ready: Ready,
        accelerator: Accelerator = Accelerator.TCG,
        store: TemplateStore | None = None,
        admission: Admission | None = None,
        best: Way = Way.CLONED,
        prepare: Prepare | None = None,
    ) -> Iterator[Template]:
        """The template of `image` for the time of the block; made when there is none that fits.

        `prepare` is called with the machine's description before it is started to be frozen. `best` is the
        fastest way that may be used. Where a way isn't possible the next one is used, and the log says so.
        Raises `InfrastructureError` when the guest does not come up, and what `ready` and `prepare` raise.
        """
        place = store or TemplateStore(session.places)
        folder = place.folder(image.digest)
        lock = TemplateLock(folder)
        patience = image.boot_seconds + _WAIT_SECONDS
        wanted = environment_of(image, host, accelerator)
        admitted = admission or Admission()
        maker = _Maker(image, place, session, host, ready, prepare, accelerator, admitted, wanted)
        while True:
            with lock.held(exclusive=False, timeout=patience):
                manifest = Manifest.read(folder)
                if manifest is not None and _mismatch(folder, manifest, wanted, best) is None:
                    os.utime(folder)
                    yield cls(
                        image,
                        folder,
                        manifest,
                        session=session,
                        host=host,
                        ready=ready,
                        accelerator=accelerator,
                        admission=maker.admission,
                    )
                    return
            with lock.held(exclusive=True, timeout=patience):
                # Somebody may have made it between the two locks.
                manifest = Manifest.read(folder)
                reason = _mismatch(folder, manifest, wanted, best) if manifest is not None else "new"
                if reason is not None:
                    if folder.exists():
                        log.warning("the template of %s is made again: %s", image.name, reason)
                        if problems := place.discard_held(folder, place.ram_files(folder)):
                            raise InfrastructureError(f"an old template is in the way: {'; '.join(problems)}")
                    maker.make(folder, best)

    def verify(self) -> None:
        """Read everything clones are made from and compare digests.

        Raises `InfrastructureError` that names what was changed; `harness clean --all` removes the template.
        """
        for file in self.manifest.files:
            self._check(file.trouble(self.folder, content=True))

    def check(self) -> None:
        """As `verify`, by sizes and times only: takes microseconds."""
        for file in self.manifest.files:
            self._check(file.trouble(self.folder))

    def _check(self, trouble: str | None) -> None:
        if trouble is not None:
            raise InfrastructureError(
                f"the template of {self.image.name} is damaged: {trouble}; "
                "run `harness clean`, then it is made again when it is needed"
            )


def _mismatch(folder: Path, manifest: Manifest, wanted: Environment, best: Way) -> str | None:
    """Why a template can't be used as it is; None when it can."""
    if difference := manifest.environment.difference(wanted):
        return difference
    if list(Way).index(manifest.way) < list(Way).index(best):
        return f"its clones would be {manifest.way}, and {best} is asked for"
    return next(filter(None, (file.trouble(folder) for file in manifest.files)), None)


class _Maker:
    """Makes one template, in the hands of whoever holds its lock."""

    def __init__(
        self,
        image: SealedImage,
        store: TemplateStore,
        session: Session,
        host: Host,
        ready: Ready,
        prepare: Prepare | None,
        accelerator: Accelerator,
        admission: Admission,
        environment: Environment,
    ) -> None:
        self.image = image
        self.store = store
        self.session = session
        self.host = host
        self.ready = ready
        self.prepare = prepare
        self.accelerator = accelerator
        self.admission = admission
        self.environment = environment

    def make(self, folder: Path, best: Way) -> None:
        """Boot, freeze, and put everything in place as `folder`."""
        image, session = self.image, self.session
        log.info("making the template of %s: it boots once (up to %.0f s)", image.name, image.boot_seconds)
        name = session.new_name("t")
        making = self.store.temporary(session.id, name)
        memory = image.hardware.memory_mib << 20
        require_space(making, memory + _OVERLAY_ROOM, f"making the template of {image.name}")
        with ExitStack() as stack:
            made = session.expect_path(making)
            stack.callback(session.ledger.drop, made)
            stack.callback(remove_path, making)
            reservation = self.admission.memory(
                Appetite(image.hardware).whole, f"the template of {image.name}", timeout=_ADMISSION_SECONDS
            )
            stack.callback(reservation.release)
            for way in list(Way)[list(Way).index(best) :]:
                try:
                    manifest = self._attempt(name, making, way, folder)
                except _NotThisWayError as error:
                    log.warning("%s can't be %s here, trying the next way: %s", image.name, way, error)
                else:
                    break
        log.info("the template of %s is made in %.1f s: %s", image.name, manifest.seconds, manifest.way)

    def _attempt(self, name: str, making: Path, way: Way, folder: Path) -> Manifest:
        """The template by one way, complete in `folder`, or nothing there and `_NotThisWayError`."""
        session = self.session
        began = time.monotonic()
        remove_path(making)
        private_folder(making)
        with ExitStack() as failed:
            ram: Path | None = None
            if way is Way.CLONED:
                size = self.image.hardware.memory_mib << 20
                remove_superseded(self.store, self.image.name, folder)
                free_up(self.store, size, self.store.places.free_in_memory)
                ram = self.store.new_ram_file(folder, session.id, size) or making / "ram"
                kept = session.expect_path(ram)
                failed.callback(session.ledger.drop, kept)
                failed.callback(remove_path, ram)
                _make_file(ram, size)
            names: list[str] = []
            disks: tuple[str, ...] = ()
            if way is not Way.COLD_BOOT:  # which needs nothing but the image
                spec = self._spec(name, making, ram)
                self._freeze(spec, making / "state", way)
                disks = tuple(disk.path.name for disk in spec.disks if disk.path.parent == making)
                names = sorted(str(path.relative_to(making)) for path in making.rglob("*") if path.is_file())
            if ram is not None and ram.parent != making:
                names.append(str(ram))
            manifest = Manifest(
                image=self.image.name,
                environment=self.environment,
                way=way,
                files=tuple(Fingerprint.of(making, each) for each in names),
                disks=disks,
                state="state" if way is not Way.COLD_BOOT else None,
                ram=None if ram is None else folder / "ram" if ram.parent == making else ram,
                variables="variables" if "variables" in names else None,
                tpm="tpm" if (making / "tpm").is_dir() else None,
                seconds=time.monotonic() - began,
            )
            manifest.write(making)
            # From here on RAM is the template's; should that not come to be, its name has a dead owner's id.
            if ram is not None:
                session.ledger.drop(kept)
            making.rename(folder)
            failed.pop_all()
        return manifest

    def _spec(self, name: str, making: Path, ram: Path | None) -> MachineSpec:
        image = self.image
        disks = []
        for index, disk in enumerate(image.disks):
            if disk.read_only:
                disks.append(disk)
            else:
                overlay = making / f"disk{index}.qcow2"
                create_overlay(overlay, disk.path, disk.format)
                disks.append(replace(disk, path=overlay, format=DiskFormat.QCOW2))
        variables = tpm = None
        if image.firmware_variables is not None:
            variables = Path(shutil.copyfile(image.firmware_variables, making / "variables"))
        if image.hardware.tpm:
            # In the session's folder as long as it runs: that is how its process is known.
            tpm = private_folder(self.session.disk_folder(name) / "tpm")
            if image.tpm_state is not None:
                shutil.copytree(
                    image.tpm_state, tpm, dirs_exist_ok=True, copy_function=shutil.copyfile
                )  # an image's files can't be written, its copies must
        return machine_spec(
            image,
            name=name,
            folder=self.session.machine_folder(name),
            disks=tuple(disks),
            accelerator=self.accelerator,
            memory=Memory(ram, shared=True) if ram is not None else None,
            firmware_variables=variables,
            tpm_state=tpm,
        )

    def _freeze(self, spec: MachineSpec, state: Path, way: Way) -> None:
        """Boot the machine, save its state, end it."""
        self.session.expect_machine(spec.name)
        try:
            if self.prepare is not None:
                # Its RAM is gone when it ends, as that of any machine that is switched off.
                self.prepare(replace(spec, memory=None))
            with self.host.start(spec) as machine:
                if way is Way.CLONED:
                    with _telling():
                        ignore_shared(machine)
                self.ready(machine)
                machine.suspend()
                with _telling():
                    save_state(machine, state, timeout=_SAVE_SECONDS)
            if spec.tpm_state is not None:
                shutil.copytree(spec.tpm_state, state.with_name("tpm"))
        finally:
            self.session.machine_gone(spec.name)


def _make_file(path: Path, size: int) -> None:
    """For a guest's RAM, which is its owner's alone: QEMU would let everybody read it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


class _NotThisWayError(Exception):
    """QEMU can't save this machine like that."""


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except InfrastructureError as error:
        raise _NotThisWayError(str(error)) from error
