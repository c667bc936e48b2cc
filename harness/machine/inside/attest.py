"""What a guest is, compared with what its recipe promises; its clock, set and checked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from harness.channel.environment import Environment
from harness.channel.errors import RunnerError
from harness.channel.runner import RunnerClient
from harness.errors import InfrastructureError
from harness.guest.base import Arch, Capability, GuestKind
from harness.machine.describe.spec import Firmware, Hardware
from harness.registry.version import WindowsVersion

__all__ = ["Promise", "check_promise", "found_missing", "set_clock"]

#: Seconds a clock may be off after it was set.
_CLOCK_TOLERANCE: Final = 2.0
#: What a short way there makes of it.
_CLOCK_WISH: Final = 0.1
_CLOCK_ATTEMPTS: Final = 4
_NEXT: Final = "adopt or build the image anew, or correct the recipe"


@dataclass(frozen=True, slots=True)
class Promise:
    """What a recipe says its guest is. None: it says nothing about that."""

    kind: GuestKind
    version: WindowsVersion
    arch: Arch
    secure_boot: bool | None = None
    test_signing: bool | None = None

    @classmethod
    def of(cls, kind: GuestKind, version: WindowsVersion, arch: Arch, hardware: Hardware) -> Promise:
        """From a recipe's entries.

        Windows that checks signatures loads the harness's drivers with test signing on only, which Secure
        Boot switches off (install/the-testsigning-boot-configuration-option).
        """
        windows = kind is GuestKind.WINDOWS
        signed = windows and version.enforces_signatures(arch)
        return cls(
            kind,
            version,
            arch,
            secure_boot=hardware.firmware is Firmware.UEFI_SECURE if windows else None,
            test_signing=(hardware.firmware is not Firmware.UEFI_SECURE) if signed else None,
        )


def check_promise(promise: Promise, found: Environment, name: str) -> None:
    """Raise `InfrastructureError` naming both values of everything that differs.

    What the guest could not find out is no difference; what it runs on always counts: a result of Wine must
    never be taken for one of Windows.
    """
    differences = []
    kind = _kind(found)
    if kind is not promise.kind:
        differences.append(f"the recipe says {promise.kind}, the guest is {kind}")
    version = f"{found.major}.{found.minor}.{found.build}"
    for what, said, seen in (
        ("version", promise.version.triple, version),
        ("architecture", promise.arch.value, found.arch.value),
        ("Secure Boot", _on(promise.secure_boot), _on(found.secure_boot)),
        ("test signing", _on(promise.test_signing), _on(found.test_signing)),
    ):
        if said and seen and said != seen:
            differences.append(f"{what}: the recipe says {said}, the guest {seen}")
    if differences:
        listed = "; ".join(differences)
        raise InfrastructureError(f"{name} is not what its recipe promises: {listed}; {_NEXT}")


def _kind(found: Environment) -> GuestKind:
    if found.wine is not None:
        return GuestKind.STAND_IN
    return GuestKind.WINDOWS if found.reactos is None else GuestKind.REACTOS


def _on(value: bool | None) -> str:
    return "" if value is None else "on" if value else "off"


def found_missing(found: Environment) -> dict[str, str]:
    """Capabilities that a guest of this environment can't have, each with the reason."""
    version = WindowsVersion(found.major, found.minor, found.build, found.service_pack)
    missing: dict[str, str] = {}
    if found.wine is not None:
        # CmRegisterCallback answers STATUS_NOT_IMPLEMENTED, CmRegisterCallbackEx is not exported.
        missing[Capability.CALLBACKS] = f"Wine {found.wine} has no registry callbacks"
    if found.wine is not None or found.reactos is not None or not version.has_layering:
        missing[Capability.LAYERING] = f"{_system(found, version)} has no CmRegisterCallbackEx"
    for capability, routine, pretender in _BY_ROUTINE:
        if found.calls is not None and routine not in found.calls:
            missing[capability] = f"{_system(found, version)} has no {routine}"
        elif pretender in (found.pretends or ()):
            missing[capability] = f"{pretender} of {_system(found, version)} claims success and does nothing"
    return missing


#: A capability, the native routine it stands on, and the routine that some systems only pretend to have.
_BY_ROUTINE: Final = (
    (Capability.APP_HIVES, "NtLoadKeyEx", "RegLoadAppKeyW"),
    (Capability.TRANSACTIONS, "NtCreateKeyTransacted", ""),
)


def _system(found: Environment, version: WindowsVersion) -> str:
    if found.wine is not None:
        return f"Wine {found.wine}"
    if found.reactos is not None:
        return f"ReactOS {found.reactos}"
    return f"Windows {version}"


def set_clock(runner: RunnerClient, name: str) -> float:
    """Set the guest's clock to the host's; returns by how many seconds it is ahead afterwards.

    A clone wakes up at the time its template was frozen. The first request takes long in a machine that was
    just made, and the clock is wrong by as much: so it is set again until the way there is short. A guest
    that can't set its clock may have kept it in another way. Raises `InfrastructureError` for a clock that is
    wrong in the end.
    """
    for _ in range(_CLOCK_ATTEMPTS):
        begin = time.time()
        refused = ""
        try:
            said = runner.set_clock(round(begin * 1e6)).unix_us
        except RunnerError as error:
            refused = f" ({error})"
            begin = time.time()
            said = runner.environment().unix_us
        end = time.time()
        skew = said / 1e6 - (begin + end) / 2
        if refused or abs(skew) <= _CLOCK_WISH:
            break
    if abs(skew) > _CLOCK_TOLERANCE + (end - begin) / 2:
        raise InfrastructureError(
            f"{name}: the guest's clock is {skew:+.1f} s off and could not be set{refused}; let the runner "
            "act as an administrator in the image"
        )
    return skew
