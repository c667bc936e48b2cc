"""Axes of a machine's target: what is asked of the guest, what template it makes, what counts as proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.channel.environment import Environment, ProductType
from harness.errors import InfrastructureError
from harness.guest.base import Arch, ExecResult
from harness.machine.describe.axes import Axis
from harness.machine.describe.spec import Disk, Firmware, Hardware, SealedImage
from harness.machine.inside.axes import (
    SwitchedOn,
    check_axes,
    hardware_with,
    image_with,
    in_effect,
    is_another_boot,
    steps_for,
    switch_on,
    unproven,
)
from harness.registry.version import VISTA, WIN7, WIN8, WIN11_24H2, XP, WindowsVersion

DRIVERS = ("regprobe.sys", "mine.sys")
EVERYTHING = SwitchedOn(tuple(Axis), DRIVERS)

#: A Windows 11 with all axes on.
PROVEN = Environment(
    major=10, minor=0, build=26100, ubr=1, service_pack=0, product_type=ProductType.WORKSTATION,
    product="Windows 11 Pro", edition="Professional", display_version="24H2", arch=Arch.X64, processors=2,
    memory_mib=4096, computer="X", user="SYSTEM", elevated=True, unix_us=0, uptime_ms=5000, boot_id="2",
    wine=None, reactos=None, secure_boot=True, test_signing=False, code_integrity=1, hvci=True, vbs=True,
    kernel_debugger=False, verifier_flags=0x209BB | 4, verifier_drivers=("regprobe.sys", "Mine.sys"),
    drivers=None, filters=None, calls=None, pretends=None,
)  # fmt: skip
PLAIN = replace(
    PROVEN, boot_id="1", uptime_ms=900_000, secure_boot=False, test_signing=True, hvci=False,
    verifier_flags=0, verifier_drivers=(),
)  # fmt: skip

IMAGE = SealedImage("win11", "d1", Hardware(firmware=Firmware.UEFI), (Disk(Path("/disk.qcow2")),))


def lines(version: WindowsVersion, *axes: Axis) -> list[str]:
    return [" ".join(step.argv) for step in steps_for(SwitchedOn(axes, DRIVERS), version)]


@pytest.mark.parametrize(
    ("version", "axes", "command"),
    [
        (WIN11_24H2, (Axis.VERIFIER,), "verifier.exe /standard /driver regprobe.sys mine.sys"),
        (XP, (Axis.VERIFIER,), "verifier.exe /standard /driver regprobe.sys mine.sys"),
        (WIN11_24H2, (Axis.LOWRES,), "verifier.exe /flags 0x4 /driver regprobe.sys mine.sys"),
        # One command: a second one would take the first one's place.
        (WIN8, (Axis.VERIFIER, Axis.LOWRES), "verifier.exe /flags 0x209bf /driver regprobe.sys mine.sys"),
        (WIN7, (Axis.VERIFIER, Axis.LOWRES), "verifier.exe /flags 0x9bf /driver regprobe.sys mine.sys"),
        (VISTA, (Axis.VERIFIER, Axis.LOWRES), "verifier.exe /flags 0x9bf /driver regprobe.sys mine.sys"),
        (XP, (Axis.VERIFIER, Axis.LOWRES), "verifier.exe /flags 0xbf /driver regprobe.sys mine.sys"),
    ],
)
def test_driver_verifier(version: WindowsVersion, axes: tuple[Axis, ...], command: str) -> None:
    assert lines(version, *axes) == [command]


def test_memory_integrity_hibernation_and_nothing_for_secure_boot() -> None:
    hvci = lines(WIN11_24H2, Axis.HVCI)
    guard = r"HKLM\SYSTEM\CurrentControlSet\Control\DeviceGuard"
    assert f"reg.exe add {guard} /v EnableVirtualizationBasedSecurity /t REG_DWORD /d 1 /f" in hvci
    scenario = rf"{guard}\Scenarios\HypervisorEnforcedCodeIntegrity"
    assert f"reg.exe add {scenario} /v Enabled /t REG_DWORD /d 1 /f" in hvci
    assert lines(WIN11_24H2, Axis.HIBERNATE)[0] == "powercfg.exe /hibernate on"
    assert lines(WIN11_24H2, Axis.SECUREBOOT) == []


def test_a_template_of_its_own_for_every_set_of_axes_and_drivers() -> None:
    sets = [(), (Axis.VERIFIER,), (Axis.VERIFIER, Axis.LOWRES), (Axis.HVCI,)]
    images = [image_with(IMAGE, SwitchedOn(axes, DRIVERS)) for axes in sets]
    images.append(image_with(IMAGE, SwitchedOn((Axis.VERIFIER,), ("other.sys",))))
    assert len({image.digest for image in images}) == 5
    assert images[0] == IMAGE
    assert images[2].name == "win11+verifier+lowres"
    assert all(image.disks == IMAGE.disks for image in images)
    # Drivers don't matter where no verifier watches them.
    assert image_with(IMAGE, SwitchedOn((Axis.HVCI,), ())).digest == images[3].digest


def test_hardware_that_belongs_to_an_axis() -> None:
    assert hardware_with(IMAGE.hardware, (Axis.VERIFIER,)) == IMAGE.hardware
    assert hardware_with(IMAGE.hardware, (Axis.HIBERNATE,)).hibernation
    assert hardware_with(IMAGE.hardware, (Axis.SECUREBOOT,)).firmware is Firmware.UEFI_SECURE


def test_secure_boot_starts_with_variables_that_hold_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.machine.describe import firmware

    asked: list[Hardware] = []

    def find(hardware: Hardware) -> firmware.FirmwareFiles:
        asked.append(hardware)
        return firmware.FirmwareFiles(Path("/code"), Path("/enrolled"), secure=True, smm=True)

    monkeypatch.setattr(firmware, "find_firmware", find)
    image = image_with(replace(IMAGE, firmware_variables=Path("/old")), SwitchedOn((Axis.SECUREBOOT,)))
    assert image.firmware_variables == Path("/enrolled")
    assert [hardware.firmware for hardware in asked] == [Firmware.UEFI_SECURE]


def test_the_probe_is_spared_where_allocations_fail() -> None:
    assert SwitchedOn.of((Axis.VERIFIER,), ("mine.sys",)).drivers == ("regprobe.sys", "mine.sys")
    assert SwitchedOn.of((Axis.VERIFIER, Axis.LOWRES), ("mine.sys",)).drivers == ("mine.sys",)
    assert SwitchedOn.of((Axis.LOWRES,), ()).drivers == ("regprobe.sys",)


# -- proof ---------------------------------------------------------------------------------------------------


def test_all_on_is_proven() -> None:
    assert unproven(EVERYTHING, PROVEN) == ()
    check_axes(EVERYTHING, PROVEN, "vm:x")
    assert unproven(SwitchedOn(()), PLAIN) == ()


@pytest.mark.parametrize(
    ("axis", "found", "says"),
    [
        (Axis.HVCI, {"hvci": False}, "memory integrity: wanted on, the guest says off"),
        (Axis.HVCI, {"hvci": None}, "memory integrity: wanted on, the guest can't tell"),
        (Axis.SECUREBOOT, {"secure_boot": False}, "Secure Boot: wanted on, the guest says off"),
        (Axis.SECUREBOOT, {"test_signing": True}, "test signing: wanted off, the guest says on"),
        (Axis.VERIFIER, {"verifier_flags": 0}, "flags: wanted 0x3 among them, the guest says 0x0"),
        (Axis.VERIFIER, {"verifier_flags": None}, "flags: wanted 0x3 among them, the guest can't tell"),
        (Axis.LOWRES, {"verifier_flags": 0x209BB}, "flags: wanted 0x4 among them, the guest says 0x209bb"),
        (
            Axis.VERIFIER,
            {"verifier_drivers": ("regprobe.sys",)},
            "wanted regprobe.sys, mine.sys, the guest says regprobe.sys",
        ),
        (Axis.LOWRES, {"verifier_drivers": None}, "wanted regprobe.sys, mine.sys, the guest says none"),
    ],
)
def test_what_is_not_on_is_infra_with_both_values(axis: Axis, found: dict[str, object], says: str) -> None:
    on = SwitchedOn((axis,), DRIVERS)
    seen = replace(PROVEN, **found)  # type: ignore[arg-type]
    with pytest.raises(InfrastructureError, match="vm:x: what was asked for is not on") as caught:
        check_axes(on, seen, "vm:x")
    assert says in str(caught.value)
    assert len(unproven(on, seen)) == 1


def test_low_resources_are_in_effect_when_allocations_do_fail() -> None:
    """Driver Verifier waits up to eight minutes after a start, and a clone goes on where it was frozen."""
    early, late = replace(PROVEN, uptime_ms=8 * 60_000), replace(PROVEN, uptime_ms=9 * 60_000)
    assert not in_effect(SwitchedOn((Axis.LOWRES,), DRIVERS), PLAIN, early)
    assert in_effect(SwitchedOn((Axis.LOWRES,), DRIVERS), PLAIN, late)
    assert in_effect(SwitchedOn((Axis.VERIFIER,), DRIVERS), PLAIN, replace(PROVEN, uptime_ms=1))
    assert not in_effect(SwitchedOn((Axis.VERIFIER,), DRIVERS), PLAIN, PLAIN)


# -- carrying it out -----------------------------------------------------------------------------------------


class Runner:
    """Keeps what it is asked; commands that begin as `fails` says end with another code or text."""

    def __init__(self, fails: str = "", done: ExecResult | None = None) -> None:
        self.asked: list[str] = []
        self.fails = fails
        self.done = done or ExecResult(0, b"", b"")

    def execute(self, command: Sequence[str], *, timeout: float) -> ExecResult:
        self.asked.append(" ".join(command))
        if self.fails and self.asked[-1].startswith(self.fails):
            return self.done
        return ExecResult(0, b"    HibernateEnabled    REG_DWORD    0x1\r\n", b"")

    def shutdown(self, *, reboot: bool) -> None:
        self.asked.append(f"reboot={reboot}")


def test_commands_first_and_one_restart_after_them() -> None:
    runner = Runner()
    assert switch_on(runner, EVERYTHING, PLAIN, "vm:x")
    assert runner.asked[0].startswith("verifier.exe /flags 0x209bf")
    assert runner.asked[-1] == "reboot=True"
    assert runner.asked.count("reboot=True") == 1


def test_nothing_to_do_is_no_restart() -> None:
    runner = Runner()
    assert not switch_on(runner, SwitchedOn((Axis.SECUREBOOT,)), PLAIN, "vm:x")
    assert runner.asked == []


def test_verifier_says_that_a_restart_is_due() -> None:
    runner = Runner("verifier.exe", ExecResult(2, b"", b""))
    assert switch_on(runner, SwitchedOn((Axis.VERIFIER,)), PLAIN, "vm:x")


@pytest.mark.parametrize(
    ("fails", "done", "says"),
    [
        (
            "verifier.exe",
            ExecResult(1, b"Access is denied.", b""),
            "ended with 1 in the guest: Access is denied",
        ),
        ("powercfg.exe", ExecResult(1, b"", b"not supported"), "'powercfg.exe /hibernate on' ended with 1"),
        ("reg.exe query", ExecResult(0, b"HibernateEnabled 0x0", b""), "should say 0x1, it says: Hib"),
    ],
)
def test_a_command_that_fails_ends_it_before_the_restart(fails: str, done: ExecResult, says: str) -> None:
    runner = Runner(fails, done)
    with pytest.raises(InfrastructureError, match=says):
        switch_on(runner, EVERYTHING, PLAIN, "vm:x")
    assert "reboot=True" not in runner.asked


def test_another_boot() -> None:
    assert is_another_boot(PLAIN, PROVEN)
    assert not is_another_boot(PLAIN, replace(PLAIN, uptime_ms=1))
    nameless = replace(PLAIN, boot_id=None)
    assert is_another_boot(nameless, replace(nameless, uptime_ms=1))
    assert not is_another_boot(nameless, replace(nameless, uptime_ms=900_001))
