"""Whether an image is admitted: a crash of its guest is known to be noticed, here and now."""

from __future__ import annotations

from dataclasses import dataclass

from harness.drill.model import Verdict
from harness.drill.records import DrillStore
from harness.machine.spec import Accelerator, SealedImage

__all__ = ["Admission", "admission_of", "is_admitted"]


@dataclass(frozen=True, slots=True)
class Admission:
    """`reason` says why not; empty when admitted."""

    admitted: bool
    reason: str = ""


def is_admitted(image: SealedImage, *, store: DrillStore | None = None) -> bool:
    """Whether the image's last drill passed, with this very image, this host's QEMU and accelerator."""
    return admission_of(image, store=store).admitted


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
    from harness.machine.identity import emulator

    return emulator(image.hardware.arch)


def _accelerator() -> Accelerator:
    from harness.machine.accelerator import choose_accelerator
    from harness.machine.places import Places

    return choose_accelerator(Places.standard().cache)
