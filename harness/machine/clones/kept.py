"""A machine on what was kept of another one: its disks, UEFI variables and TPM state, perhaps its memory.

Without memory it is the machine as after a power failure: switched off and on. With a state that QEMU saved
it goes on where the other one stood; a dump of the memory has no devices in it and won't do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from harness.errors import UsageError
from harness.machine.clones.admission import Admission, Appetite
from harness.machine.clones.template import machine_spec
from harness.machine.describe.spec import Accelerator, Disk, DiskFormat, MachineSpec, Memory, SealedImage
from harness.machine.disk.layers import lay_over
from harness.machine.disk.nonvolatile import nonvolatile_files
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.hypervisor.migration import load_state
from harness.machine.keep.session import Session

__all__ = ["KeptFiles", "KeptState", "Unpack", "started_from"]

_ADMISSION_SECONDS: Final = 600.0
_LOAD_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class KeptState:
    """What QEMU saved of a whole machine. `ram_file`: its RAM was a file, and its description says so."""

    file: Path
    ram_file: bool


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """Files that were another machine's and become the new one's own: they are changed.

    `disks` has, for each disk of the image that a guest writes to, its overlays, the topmost first.
    """

    disks: tuple[tuple[Path, ...], ...]
    variables: Path | None = None
    #: The folder of swtpm's files.
    tpm: Path | None = None
    state: KeptState | None = None


#: Puts the files into a folder, which is empty and the machine's.
Unpack = Callable[[Path], KeptFiles]


@contextmanager
def started_from(
    image: SealedImage,
    unpack: Unpack,
    *,
    session: Session,
    host: Host,
    accelerator: Accelerator,
    admission: Admission,
) -> Iterator[Machine]:
    """A machine of `image` on kept files, for the time of the block; then it is ended, its files removed.

    It is suspended: before its first instruction, or where the state was saved. Raises `UsageError` when the
    files don't fit the image, `InfrastructureError` when there is no room, and what `unpack` raises.
    """
    name = session.new_name("k")
    with ExitStack() as stack:
        reservation = admission.memory(
            Appetite(image.hardware).whole, f"a machine of {image.name}", timeout=_ADMISSION_SECONDS
        )
        stack.callback(reservation.release)
        session.expect_machine(name)
        stack.callback(session.machine_gone, name)
        kept = unpack(session.disk_folder(name))
        spec = _spec(image, kept, name, session, accelerator)
        nonvolatile_files(spec)  # plain files, no larger than a machine's can be
        machine = stack.enter_context(host.start(spec, paused=True))
        reservation.pid = machine.pid
        if kept.state is not None:
            load_state(machine, kept.state.file, timeout=_LOAD_SECONDS)
            kept.state.file.unlink()
        yield machine


def _spec(
    image: SealedImage, kept: KeptFiles, name: str, session: Session, accelerator: Accelerator
) -> MachineSpec:
    memory = None
    if kept.state is not None and kept.state.ram_file:
        ram = session.disk_folder(name) / "ram"
        with ram.open("xb") as file:  # mapped privately: what is loaded never gets into it
            os.fchmod(file.fileno(), 0o600)
            file.truncate(image.hardware.memory_mib << 20)
        memory = Memory(ram, shared=False)
    return machine_spec(
        image,
        name=name,
        folder=session.machine_folder(name),
        disks=_disks(image, kept),
        accelerator=accelerator,
        memory=memory,
        firmware_variables=kept.variables,
        tpm_state=kept.tpm,
        incoming=kept.state is not None,
    )


def _disks(image: SealedImage, kept: KeptFiles) -> tuple[Disk, ...]:
    """The image's disks, those that are written to under the kept overlays."""
    written = [disk for disk in image.disks if not disk.read_only]
    if len(written) != len(kept.disks) or not all(kept.disks):
        raise UsageError(
            f"{image.name} has {len(written)} disks that a guest writes to, and overlays of "
            f"{sum(map(bool, kept.disks))} were kept"
        )
    overlays = iter(kept.disks)
    return tuple(
        disk
        if disk.read_only
        else replace(disk, path=lay_over(next(overlays), disk), format=DiskFormat.QCOW2)
        for disk in image.disks
    )
