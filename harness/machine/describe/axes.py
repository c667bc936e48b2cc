"""Axes of a target: states of one and the same Windows that tests run in, ``vm:win11-24h2+verifier+hvci``.

Which there are, how they are written, and which a machine can't have. How they are switched on and proven is
`harness.machine.inside.axes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from harness.errors import UsageError
from harness.guest.base import Arch, GuestKind
from harness.machine.describe.spec import Firmware

if TYPE_CHECKING:
    from harness.image.recipe import Recipe

__all__ = ["Axis", "refusal", "split_axes", "with_axes"]


class Axis(StrEnum):
    """A state of a system. A name lists them in this order."""

    VERIFIER = "verifier"  # Driver Verifier's standard settings for the drivers that are tested
    LOWRES = "lowres"  # Driver Verifier lets allocations of those drivers fail at random
    HVCI = "hvci"  # memory integrity: kernel code is checked by the hypervisor
    SECUREBOOT = "secureboot"  # Secure Boot on, and with it test signing off
    HIBERNATE = "hibernate"  # hibernation is on, and the system was resumed from it


_MARK: Final = "+"


def split_axes(name: str) -> tuple[str, tuple[Axis, ...]]:
    """``vm:win11+hvci+verifier`` to ``vm:win11`` and its axes, in order. Raises `UsageError`."""
    plain, *words = name.split(_MARK)
    found = set()
    for word in words:
        try:
            found.add(Axis(word))
        except ValueError:
            raise UsageError(f"{name!r}: there is no axis {word!r}; there are {', '.join(Axis)}") from None
    if len(found) != len(words):
        raise UsageError(f"{name!r} names an axis twice")
    return plain, tuple(axis for axis in Axis if axis in found)


def with_axes(name: str, axes: Iterable[Axis]) -> str:
    """The name of a target, or of its image, with these axes."""
    return _MARK.join([name, *axes])


def refusal(axis: Axis, recipe: Recipe) -> str:
    """Why a machine of `recipe` can't have the axis; empty when it can."""
    if recipe.kind is not GuestKind.WINDOWS:
        return _ABSENT[axis].format(_SYSTEMS[recipe.kind])
    check = _CHECKS.get(axis)
    return "" if check is None else check(recipe)


_SYSTEMS: Final[Mapping[GuestKind, str]] = {
    GuestKind.REFERENCE: "the reference guest",
    GuestKind.STAND_IN: "a stand-in (Wine on Linux)",
    GuestKind.REACTOS: "ReactOS",
}
_ABSENT: Final[Mapping[Axis, str]] = {
    Axis.VERIFIER: "{} has no Driver Verifier",
    Axis.LOWRES: "{} has no Driver Verifier, which simulates low resources",
    Axis.HVCI: "{} has no memory integrity",
    Axis.SECUREBOOT: "{} checks no signatures, with Secure Boot or without",
    Axis.HIBERNATE: "{} does not hibernate",
}


def _hvci(recipe: Recipe) -> str:
    """Windows 10 and Server 2016 on (design/device-experiences/oem-hvci-enablement).

    The processor is the host's affair: `harness.machine.inside.nested`.
    """
    if recipe.version.number < (10, 0, 14393) or recipe.arch is not Arch.X64:
        return "memory integrity needs 64-bit Windows 10 1607, Server 2016 or newer"
    return ""


def _secure_boot(recipe: Recipe) -> str:
    """Windows 8 on, and UEFI only (windows-hardware/design/device-experiences/oem-secure-boot)."""
    if recipe.version.number < (6, 2, 0) or recipe.arch is not Arch.X64:
        return "Secure Boot needs 64-bit Windows 8 or newer"
    if recipe.hardware.firmware is Firmware.BIOS:
        return "Secure Boot needs UEFI, and the recipe's firmware is a BIOS"
    if "q35" not in recipe.hardware.machine:
        return f"Secure Boot needs a q35 machine, and the recipe's is {recipe.hardware.machine}"
    return ""


def _hibernate(recipe: Recipe) -> str:
    # The value that proves it is there from Vista on.
    if recipe.version.number < (6, 0, 0):
        return "whether hibernation is on can't be told before Windows Vista"
    return ""


_CHECKS: Final[Mapping[Axis, Callable[[Recipe], str]]] = {
    Axis.HVCI: _hvci,
    Axis.SECUREBOOT: _secure_boot,
    Axis.HIBERNATE: _hibernate,
}
