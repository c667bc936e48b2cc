"""Whether an image is admitted: a crash of its guest is known to be noticed, here and now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.drill.model import Verdict
from harness.drill.records import DrillStore
from harness.errors import HarnessError
from harness.machine.describe.axes import Axis, with_axes
from harness.machine.describe.spec import Accelerator, SealedImage

if TYPE_CHECKING:
    from harness.image.recipe import Recipe
    from harness.targets import Target

__all__ = ["Admission", "admission_of", "admission_of_recipe", "admission_of_target", "is_admitted"]


@dataclass(frozen=True, slots=True)
class Admission:
    """`reason` says why not; empty when admitted."""

    admitted: bool
    reason: str = ""


def is_admitted(image: SealedImage) -> bool:
    """Whether the image's last drill passed, with this very image, this host's QEMU and accelerator."""
    return admission_of(image).admitted


def admission_of_target(target: Target) -> Admission:
    """Whether results of `target` count, for plans: nothing is booted. Raises nothing but for a bad recipe.

    The reference guest is admitted: its bugchecks are the model's own words.
    """
    if target.recipe is None:
        return Admission(True)
    from harness.image.recipe import load_recipe

    return admission_of_recipe(load_recipe(target.recipe), target.axes)


def admission_of_recipe(recipe: Recipe, axes: tuple[Axis, ...] = ()) -> Admission:
    """Whether the recipe's image is there and admitted; a machine with axes has a drill of its own."""
    from harness.image.images import ensure_image, is_built
    from harness.machine.inside.axes import SwitchedOn, image_with
    from harness.machine.inside.nested import on_this_host

    name = with_axes(recipe.name, axes)
    # Without a record nothing has to be looked up: digests of adopted disks take their time.
    if DrillStore().find(name) is None:
        return Admission(False, f"it was not drilled; run: harness image drill {name}")
    try:
        if not is_built(recipe):
            return Admission(False, f"its image is not built; run: {recipe.build_command}")
        on = SwitchedOn(axes)
        return admission_of(on_this_host(image_with(ensure_image(recipe), on), on))
    except HarnessError as error:  # a recipe for another host, an image that went since
        return Admission(False, str(error))


def admission_of(
    image: SealedImage,
    *,
    store: DrillStore | None = None,
    emulator: str | None = None,
    accelerator: Accelerator | None = None,
) -> Admission:
    """As `is_admitted`, with the reason. `emulator` and `accelerator` are this host's unless given."""
    record = (store or DrillStore()).find(image.name)
    if record is None:
        return Admission(False, f"it was not drilled; run: harness image drill {image.name}")
    report = record.report
    again = f"; run: harness image drill {image.name}"
    if report.image != image.digest:
        return Admission(False, f"it was made anew after its drill of {record.when}{again}")
    if not report.passed:
        failed = [result.fault for result in report.results if result.verdict is Verdict.FAILED]
        return Admission(
            False, f"its drill of {record.when} failed ({', '.join(failed) or 'nothing passed'})"
        )
    found = emulator if emulator is not None else _emulator(image)
    if report.emulator != found:
        return Admission(False, f"it was drilled with QEMU {report.emulator}, this is {found}{again}")
    runs_on = accelerator if accelerator is not None else _accelerator()
    if report.accelerator != runs_on:
        return Admission(
            False, f"it was drilled on {report.accelerator}, machines run on {runs_on} here{again}"
        )
    return Admission(True)


def _emulator(image: SealedImage) -> str:
    from harness.machine.clones.identity import emulator

    return emulator(image.hardware.arch)


def _accelerator() -> Accelerator:
    from harness.machine.hypervisor.accelerator import choose_accelerator
    from harness.machine.keep.places import Places

    return choose_accelerator(Places.standard().cache)
