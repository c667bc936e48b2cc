"""Switching the axes of a target on, in the guest that becomes its template, and proving that they are.

The commands are lists made by pure functions; a runner carries them out once, the guest restarts, and what
it then says about itself is compared. Nothing here has a template frozen that is not what its name says.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Protocol, Self

from harness.channel.environment import Environment
from harness.errors import InfrastructureError
from harness.machine.describe.axes import Axis, with_axes
from harness.machine.describe.spec import Firmware, Hardware, SealedImage
from harness.registry.version import WindowsVersion

if TYPE_CHECKING:
    from harness.guest.base import ExecResult

__all__ = [
    "NOTHING_ON",
    "PROBE_IMAGE",
    "Step",
    "SwitchedOn",
    "begins_after",
    "check_axes",
    "hardware_with",
    "image_with",
    "in_effect",
    "is_another_boot",
    "steps_for",
    "switch_on",
    "unproven",
]

log = logging.getLogger(__name__)

PROBE_IMAGE: Final = "regprobe.sys"
_COMMAND_SECONDS: Final = 120.0
#: Driver Verifier lets no allocation fail in the first minutes after a start: seven by one page
#: (devtest/verifier-command-line), eight by another (devtest/low-resources-simulation); before Windows Vista
#: that can't be changed. Clones go on at the time their template was frozen at: it has to be older than that.
_FAULTLESS_SECONDS: Final = 9 * 60.0

# Bits of verifier.exe's /flags and of VerifyDriverLevel (devtest/verifier-command-line).
SPECIAL_POOL: Final = 0x1
FORCE_IRQL: Final = 0x2
LOW_RESOURCES: Final = 0x4
#: The standard settings as flags: special pool, IRQL, pool tracking, I/O, deadlock, DMA.
_STANDARD_XP: Final = 0xBB
#: From Vista on with security and miscellaneous checks, from Windows 8 on with DDI compliance.
_STANDARD_VISTA: Final = 0x9BB
_STANDARD_8: Final = 0x209BB

_DEVICE_GUARD: Final = r"HKLM\SYSTEM\CurrentControlSet\Control\DeviceGuard"
_POWER: Final = r"HKLM\SYSTEM\CurrentControlSet\Control\Power"


@dataclass(frozen=True, slots=True)
class Step:
    """A command that must end with 0; `says` must be part of its output then."""

    argv: tuple[str, ...]
    says: str = ""
    #: Exit codes that are as good as 0.
    also: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SwitchedOn:
    """What a template's guest is to be: its axes, and the file names of drivers for Verifier to watch."""

    axes: tuple[Axis, ...]
    drivers: tuple[str, ...] = (PROBE_IMAGE,)

    @classmethod
    def of(cls, axes: tuple[Axis, ...], drivers: Sequence[str]) -> Self:
        """With the user's `drivers`: the probe is verified beside them.

        It is left out where allocations fail at random: a probe without memory shows nothing. Without any
        other driver it is the one to be tested.
        """
        probe = () if Axis.LOWRES in axes and drivers else (PROBE_IMAGE,)
        return cls(axes, tuple(dict.fromkeys([*probe, *drivers])))

    @property
    def digest(self) -> str:
        """Templates of another set, or for other drivers, are others."""
        verified = self.drivers if {Axis.VERIFIER, Axis.LOWRES} & set(self.axes) else ()
        return hashlib.sha256("\n".join([*self.axes, "", *verified]).encode()).hexdigest()


#: A system as it was installed.
NOTHING_ON: Final = SwitchedOn(())


def image_with(image: SealedImage, on: SwitchedOn) -> SealedImage:
    """The image a template with these axes is made of: the same disks, a name and a digest of its own."""
    if not on.axes:
        return image
    hardware = hardware_with(image.hardware, on.axes)
    changed = replace(
        image,
        name=with_axes(image.name, on.axes),
        digest=hashlib.sha256(f"{image.digest} {on.digest}".encode()).hexdigest(),
        hardware=hardware,
    )
    if hardware.firmware is not image.hardware.firmware:
        # Other firmware has other variables. Without a boot entry it starts \EFI\BOOT\BOOTX64.EFI, which
        # Windows Setup writes too (UEFI specification, "Boot Option Recovery").
        from harness.machine.describe.firmware import find_firmware

        found = find_firmware(hardware)
        changed = replace(changed, firmware_variables=None if found is None else found.variables)
    return changed


def hardware_with(hardware: Hardware, axes: Iterable[Axis]) -> Hardware:
    """What of the virtual hardware belongs to an axis."""
    wanted = set(axes)
    if Axis.SECUREBOOT in wanted:
        hardware = replace(hardware, firmware=Firmware.UEFI_SECURE)
    if Axis.HIBERNATE in wanted:
        hardware = replace(hardware, hibernation=True)
    return hardware


# -- commands ----------------------------------------------------------------------------------------------


def steps_for(on: SwitchedOn, version: WindowsVersion) -> tuple[Step, ...]:
    """The commands that switch the axes on at the next start of Windows `version`."""
    steps: list[Step] = []
    if {Axis.VERIFIER, Axis.LOWRES} & set(on.axes):
        steps += _verifier(on, version)
    if Axis.HVCI in on.axes:
        steps += _hvci()
    if Axis.HIBERNATE in on.axes:
        steps += _hibernation()
    # Secure Boot is the firmware's: with it Windows ignores test signing, whatever its boot entry says
    # (install/the-testsigning-boot-configuration-option), and bcdedit refuses to change that.
    return tuple(steps)


def _verifier(on: SwitchedOn, version: WindowsVersion) -> list[Step]:
    """devtest/verifier-command-line: names of drivers, without wildcards; they need not be loaded yet.

    Exit code 2 says that a restart is due. /flags takes the place of /standard, it can't be added to it.
    Allocations fail as by default: six in a hundred, from `begins_after` on.
    """
    if Axis.LOWRES not in on.axes:
        settings = ["/standard"]
    else:
        standard = _standard(version) if Axis.VERIFIER in on.axes else 0
        settings = ["/flags", f"{standard | LOW_RESOURCES:#x}"]
    return [Step(("verifier.exe", *settings, "/driver", *on.drivers), also=(2,))]


def _standard(version: WindowsVersion) -> int:
    if version.major < 6:
        return _STANDARD_XP
    return _STANDARD_8 if version.number >= (6, 2, 0) else _STANDARD_VISTA


def _hvci() -> list[Step]:
    """security/hardware-security/enable-virtualization-based-protection-of-code-integrity.

    Without a UEFI lock, and without RequirePlatformSecurityFeatures: that would ask for Secure Boot.
    """
    scenario = rf"{_DEVICE_GUARD}\Scenarios\HypervisorEnforcedCodeIntegrity"
    return [
        _set_dword(_DEVICE_GUARD, "EnableVirtualizationBasedSecurity", 1),
        _set_dword(_DEVICE_GUARD, "Locked", 0),
        _set_dword(scenario, "Enabled", 1),
        _set_dword(scenario, "Locked", 0),
    ]


def _hibernation() -> list[Step]:
    """windows-hardware/design/device-experiences/powercfg-command-line-options: /hibernate."""
    return [
        Step(("powercfg.exe", "/hibernate", "on")),
        # The names and the number are the same in every language.
        Step(("reg.exe", "query", _POWER, "/v", "HibernateEnabled"), says="0x1"),
    ]


def _set_dword(key: str, name: str, value: int) -> Step:
    return Step(("reg.exe", "add", key, "/v", name, "/t", "REG_DWORD", "/d", str(value), "/f"))


# -- carrying them out -------------------------------------------------------------------------------------


class Commanded(Protocol):
    """Whoever runs commands in the guest: `harness.channel.runner.RunnerClient`."""

    def execute(self, command: Sequence[str], *, timeout: float) -> ExecResult: ...
    def shutdown(self, *, reboot: bool) -> None: ...


def switch_on(runner: Commanded, on: SwitchedOn, before: Environment, name: str) -> bool:
    """Switch the axes on in the guest behind `runner`; says whether it restarts now to make it so.

    `before` is what the guest said. Raises `InfrastructureError` for a command that fails.
    """
    version = WindowsVersion(before.major, before.minor, before.build, before.service_pack)
    steps = steps_for(on, version)
    for step in steps:
        _carry_out(runner, step, name)
    if steps:
        log.info("%s: restarting it with %s on", name, ", ".join(on.axes))
        runner.shutdown(reboot=True)
    return bool(steps)


def is_another_boot(before: Environment, found: Environment) -> bool:
    """Whether the guest was started again in between."""
    if before.boot_id is not None and found.boot_id is not None:
        return before.boot_id != found.boot_id
    return found.uptime_ms < before.uptime_ms


def begins_after(on: SwitchedOn) -> float:
    """Seconds after its start from which on a guest is all that its axes say."""
    return _FAULTLESS_SECONDS if Axis.LOWRES in on.axes else 0.0


def in_effect(on: SwitchedOn, before: Environment, found: Environment) -> bool:
    """Whether the guest, `before` it was told, has been started again since, and long enough ago."""
    return is_another_boot(before, found) and found.uptime_ms >= 1000 * begins_after(on)


def _carry_out(runner: Commanded, step: Step, name: str) -> None:
    done = runner.execute(step.argv, timeout=_COMMAND_SECONDS)
    said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    line = " ".join(step.argv)
    if done.exit_code != 0 and done.exit_code not in step.also:
        raise InfrastructureError(
            f"{name}: {line!r} ended with {done.exit_code} in the guest: {said[-500:] or 'it said nothing'}; "
            "does the runner act as an administrator in the image?"
        )
    if step.says not in said:
        raise InfrastructureError(f"{name}: {line!r} should say {step.says}, it says: {said[-500:]}")


# -- proof -------------------------------------------------------------------------------------------------


def unproven(on: SwitchedOn, found: Environment) -> tuple[str, ...]:
    """What the guest says otherwise than its axes promise, each with both values.

    Here "unknown" is a difference too: an axis that can't be shown to be on was not tested.
    """
    differences: list[str] = []

    def compare(what: str, wanted: bool, seen: bool | None) -> None:
        if seen is not wanted:
            said = "can't tell" if seen is None else f"says {_on(seen)}"
            differences.append(f"{what}: wanted {_on(wanted)}, the guest {said}")

    verified = {Axis.VERIFIER: SPECIAL_POOL | FORCE_IRQL, Axis.LOWRES: LOW_RESOURCES}
    wanted_flags = 0
    for axis, flags in verified.items():
        wanted_flags |= flags if axis in on.axes else 0
    if wanted_flags:
        differences += _verifier_differences(on, wanted_flags, found)
    if Axis.HVCI in on.axes:
        compare("memory integrity", True, found.hvci)
    if Axis.SECUREBOOT in on.axes:
        compare("Secure Boot", True, found.secure_boot)
        compare("test signing", False, found.test_signing)
    return tuple(differences)


def check_axes(on: SwitchedOn, found: Environment, name: str) -> None:
    """Raise `InfrastructureError` naming both values of everything that `unproven` finds."""
    if differences := unproven(on, found):
        raise InfrastructureError(
            f"{name}: what was asked for is not on: {'; '.join(differences)}; no result would count"
        )


def _verifier_differences(on: SwitchedOn, wanted: int, found: Environment) -> list[str]:
    differences = []
    flags = found.verifier_flags
    if flags is None or flags & wanted != wanted:
        said = "can't tell" if flags is None else f"says {flags:#x}"
        differences.append(f"Driver Verifier's flags: wanted {wanted:#x} among them, the guest {said}")
    watched = {name.rpartition("\\")[2].lower() for name in found.verifier_drivers or ()}
    missing = [name for name in on.drivers if name.lower() not in watched]
    if missing and "*" not in watched:
        said = ", ".join(found.verifier_drivers or ()) or "none"
        differences.append(f"verified drivers: wanted {', '.join(on.drivers)}, the guest says {said}")
    return differences


def _on(value: bool) -> str:
    return "on" if value else "off"
