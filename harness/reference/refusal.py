"""Why an image's imports can't be bound, and what to do about each kind of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from harness.errors import DriverRefusedError

if TYPE_CHECKING:
    from harness.reference.exports import Export, ExportTable
    from harness.reference.pe import Import

__all__ = ["refusal"]

DRIVER_ENTRYPOINT_NOT_FOUND: Final = 0xC0000263

#: The loader of the Kernel-Mode Driver Framework, through which a KMDF driver reaches all of it.
_FRAMEWORK: Final = "wdfldr.sys"


def refusal(image: str, missing: Sequence[Import], exports: ExportTable, windows: str) -> DriverRefusedError:
    """The error for `missing`, the imports of `image` that `exports` lacks, which are those of `windows`.

    Its `unmodelled` names what the model has on no Windows at all; what only another Windows exports isn't
    the model's lack, and real Windows refuses it too.
    """
    framework = [each for each in missing if each.module.lower() == _FRAMEWORK]
    others = [each for each in missing if each not in framework]
    elsewhere = {str(each): exports.on_other_windows(each.module, each.name) for each in others}
    unmodelled = tuple(name for name, found in elsewhere.items() if not found)
    misplaced = [f"{name} ({_when(found)})" for name, found in elsewhere.items() if found]
    reasons = "; ".join(_reasons(framework, unmodelled, misplaced, windows))
    return DriverRefusedError(
        f"{image} can't be loaded: {reasons}",
        status=DRIVER_ENTRYPOINT_NOT_FOUND,
        unmodelled=(*map(str, framework), *unmodelled),
    )


def _reasons(
    framework: Sequence[Import], unmodelled: Sequence[str], misplaced: Sequence[str], windows: str
) -> Iterator[str]:
    if framework:
        yield (
            f"it is a KMDF driver ({', '.join(map(str, framework))}), and the reference guest has no "
            "framework: run it on a Windows machine (--target vm:NAME), or build its filter as a WDM driver"
        )
    if unmodelled:
        yield (
            f"it imports what the reference guest does not model: {', '.join(unmodelled)}: run it on a "
            "Windows machine (--target vm:NAME), or look these up with MmGetSystemRoutineAddress where it "
            "can do without"
        )
    if misplaced:
        yield (
            f"it imports what Windows {windows} does not export: {', '.join(misplaced)}: choose another "
            "target, or look these up with MmGetSystemRoutineAddress"
        )


def _when(found: Sequence[Export]) -> str:
    """Which Windows has it: "since 6.2", "until 6.1", "x86 only"."""
    said = []
    for each in found:
        words = [] if each.since == (5, 1) else [f"since {_number(each.since)}"]
        if each.until is not None:
            words.append(f"before {_number(each.until)}")
        if len(each.arches) == 1:
            words.append(f"{next(iter(each.arches))} only")
        said.append(", ".join(words))
    return " or ".join(said)


def _number(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
