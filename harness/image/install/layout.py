"""The two machines of an install: the one setup runs on, and the one templates are made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.image.install.installed import DUMP_DISK, SYSTEM_DISK, TPM, VARIABLES
from harness.image.install.plan import InstallPlan
from harness.image.installspec import Delivery
from harness.machine.describe.spec import Accelerator, Disk, DiskFormat, Firmware, MachineSpec, Removable

__all__ = ["InstallFiles", "install_machine"]


@dataclass(frozen=True, slots=True)
class InstallFiles:
    """The files of one install, all in one private folder."""

    folder: Path

    @property
    def system(self) -> Path:
        return self.folder / SYSTEM_DISK

    @property
    def dumps(self) -> Path:
        return self.folder / DUMP_DISK

    @property
    def variables(self) -> Path:
        return self.folder / VARIABLES

    @property
    def tpm(self) -> Path:
        return self.folder / TPM

    @property
    def disc(self) -> Path:
        return self.folder / "harness.iso"

    @property
    def floppy(self) -> Path:
        return self.folder / "answers.img"

    @property
    def rebuilt(self) -> Path:
        """The copy of the medium with the answer file inside."""
        return self.folder / "medium.iso"


def install_machine(
    plan: InstallPlan,
    files: InstallFiles,
    *,
    name: str,
    folder: Path,
    accelerator: Accelerator,
    tpm_state: Path | None = None,
) -> MachineSpec:
    """The machine setup runs on.

    The disk comes before the CD: it starts nothing as long as it is empty, so that the firmware goes on to
    the CD, and from the first restart on it wins; setup never starts over from the CD. The CDs are the last
    drives, so that the system's disk is disk 0.
    """
    install = plan.install
    hardware = install.hardware(plan.recipe.hardware)
    medium = files.rebuilt if install.delivery is Delivery.REBUILT_CD else plan.medium.path
    removable = [Removable(medium or files.folder / "no-medium.iso")]
    if plan.discs.disc:
        removable.append(Removable(files.disc))
    if plan.discs.floppy:
        removable.append(Removable(files.floppy, floppy=True))
    return MachineSpec(
        name=name,
        hardware=hardware,
        folder=folder,
        disks=(Disk(files.system), Disk(files.dumps, DiskFormat.QCOW2, target=1)),
        removable=tuple(removable),
        boot_from_cd=False,
        firmware_variables=files.variables if hardware.firmware is not Firmware.BIOS else None,
        tpm_state=(tpm_state or files.tpm) if hardware.tpm else None,
        accelerator=accelerator,
    )
