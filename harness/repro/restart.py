"""The machine of a bundle once more: on its own disks, UEFI variables and TPM state, over this host's image.

The machine is described by this host's recipe; of the bundle nothing is used but the files, and these only
over the very image that they were written over, known by its digest.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import HarnessError, UsageError
from harness.machine.describe.spec import Firmware
from harness.repro.bundle import MachineFile, MachineFileKind
from harness.repro.machine_files import MAX_LAYERS, check_room, extract_machine, file_name, why_no_machine
from harness.repro.missing import programs

if TYPE_CHECKING:
    from harness.guests import Guests
    from harness.machine.clones.kept import KeptFiles
    from harness.machine.describe.spec import Hardware
    from harness.machine.drive import Make
    from harness.machine.hypervisor.machine import Machine
    from harness.repro.bundle import Bundle
    from harness.targets import Target

__all__ = ["check_restart", "restarted"]

_SAME_IMAGE: Final = (
    "an image that is built anew is another one: take it from the host where the test failed, the folders of "
    "its name in images/ of its cache"
)
_ELSE: Final = "without --resume the machine starts as one that was switched off and on"
_WITHOUT_MEMORY: Final = frozenset({MachineFileKind.DISK, MachineFileKind.VARIABLES, MachineFileKind.TPM})


def _kinds(*, resume: bool) -> frozenset[MachineFileKind]:
    return _WITHOUT_MEMORY | {MachineFileKind.STATE} if resume else _WITHOUT_MEMORY


def check_restart(bundle: Bundle, target: Target, guests: Guests, *, resume: bool) -> Make:
    """What the machine is to be made of; raises `UsageError` with everything that this host or bundle lacks.

    `resume`: with the memory it had, which needs the state that QEMU saved, and the same QEMU and machine.
    """
    from harness.machine.keep.places import Places

    trouble = list(_lacking(bundle, resume=resume))
    try:
        check_room(bundle, Places.standard().sessions, _kinds(resume=resume))
    except HarnessError as error:
        trouble.append(str(error))
    trouble += _missing_here(target)
    make = _make(bundle, target, guests, trouble)
    if make is not None:
        trouble += _unfitting(bundle, make)
        if resume and not trouble:
            trouble += _conditions(bundle, make, guests)
    if trouble or make is None:
        lines = "".join(f"\n  {line}" for line in dict.fromkeys(trouble))
        raise UsageError(f"the machine of {bundle.file} can't be started here:{lines}")
    return make


@contextmanager
def restarted(bundle: Bundle, make: Make, guests: Guests, *, resume: bool) -> Iterator[Machine]:
    """The machine, for the time of the block; the bundle, the image and its template stay as they are.

    It is suspended: before its first instruction, or with `resume` where it stood. Raises `UsageError` for
    files that are not what the manifest says, or don't fit the image.
    """

    def unpack(folder: Path) -> KeptFiles:
        return _unpacked(bundle, folder, resume=resume)

    with guests.machines.started_from(make.image, unpack) as machine:
        yield machine


# -- what is missing -----------------------------------------------------------------------------------------


def _lacking(bundle: Bundle, *, resume: bool) -> Iterator[str]:
    """What is not in the bundle, whatever the machine."""
    kinds = {file.kind for file in bundle.manifest.machine}
    if not kinds:
        yield f"the bundle has no files of a machine: {why_no_machine(bundle)}"
    elif resume and MachineFileKind.STATE not in kinds:
        yield (
            "the bundle has no state to resume from "
            f"({bundle.manifest.no_machine or 'it was made without'}); {_ELSE}"
        )


def _missing_here(target: Target) -> Iterator[str]:
    """Programs that this host has to have for such a machine, and hasn't."""
    from harness.image.recipe import load_recipe

    if target.recipe is None:
        yield f"{target} is no machine; its guests have no disks"
        return
    yield from programs(load_recipe(target.recipe).hardware)
    if shutil.which("qemu-img") is None:
        yield "qemu-img is missing: apt-get install qemu-utils"


def _make(bundle: Bundle, target: Target, guests: Guests, trouble: list[str]) -> Make | None:
    """What the machine is made of here; None where that can't be said, which is added to `trouble`."""
    from harness.image.images import is_built
    from harness.image.recipe import load_recipe

    if target.recipe is None:
        return None
    try:
        return guests.make(target, digest=bundle.manifest.guest.template)
    except HarnessError as error:
        trouble.append(str(error))
        if not is_built(load_recipe(target.recipe)):
            trouble.append(_SAME_IMAGE)
        return None


def _unfitting(bundle: Bundle, make: Make) -> Iterator[str]:
    """What of the bundle doesn't go with this host's image."""
    recorded, image = bundle.manifest.guest.template, make.image
    if image.digest != recorded:
        yield (
            f"the image of {make.identity.name} is another one, {image.digest[:12]} here and "
            f"{recorded[:12] or 'unknown'} then; {_SAME_IMAGE}"
        )
    overlays = _overlays(bundle)
    why = bundle.manifest.no_machine or "its manifest lists none"
    for number in range(sum(not disk.read_only for disk in image.disks)):
        layers = [file.layer for file in overlays.get(number, [])]
        if layers != list(range(len(layers))) or not 0 < len(layers) <= MAX_LAYERS:
            yield f"the bundle has not all of disk {number}: layers {layers or 'none'} ({why})"
    kinds = {file.kind for file in bundle.manifest.machine}
    for kind, what in _beside(image.hardware):
        if kind not in kinds:
            yield f"the bundle has no {what} ({why}), and the machine has one"


def _beside(hardware: Hardware) -> Iterator[tuple[MachineFileKind, str]]:
    if hardware.firmware is not Firmware.BIOS:
        yield MachineFileKind.VARIABLES, "variables of the UEFI firmware"
    if hardware.tpm:
        yield MachineFileKind.TPM, "state of a TPM"


def _conditions(bundle: Bundle, make: Make, guests: Guests) -> Iterator[str]:
    """What a saved state needs to be as it was."""
    recorded = bundle.manifest.guest.conditions
    if recorded is None:
        yield "the bundle doesn't say what its state was saved by"
    elif difference := recorded.difference(guests.machines.conditions(make.image)):
        yield (f"the state can't be resumed: {difference}; {_ELSE}")


# -- its files -----------------------------------------------------------------------------------------------


def _overlays(bundle: Bundle) -> dict[int, list[MachineFile]]:
    """The overlays of each disk that the guest wrote to, the topmost first."""
    disks: dict[int, list[MachineFile]] = {}
    for file in sorted(bundle.manifest.machine, key=lambda file: file.layer):
        if file.kind is MachineFileKind.DISK:
            disks.setdefault(file.disk, []).append(file)
    return disks


def _unpacked(bundle: Bundle, folder: Path, *, resume: bool) -> KeptFiles:
    """The files that the machine starts on, in `folder`, each checked against its digest."""
    from harness.machine.clones.kept import KeptFiles, KeptState

    extract_machine(bundle, folder, _kinds(resume=resume))
    overlays = _overlays(bundle)
    # Names come from the kinds alone, so that all of them lead into the folder.
    places = {file.kind: folder / file_name(file) for file in bundle.manifest.machine}
    return KeptFiles(
        disks=tuple(
            tuple(folder / file_name(file) for file in overlays[number]) for number in sorted(overlays)
        ),
        variables=places.get(MachineFileKind.VARIABLES),
        tpm=places[MachineFileKind.TPM].parent if MachineFileKind.TPM in places else None,
        state=KeptState(places[MachineFileKind.STATE], bundle.manifest.guest.ram_file) if resume else None,
    )
