"""The reference guest as a guest: what it is, what it refuses, services, devices, files."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import reference
from harness.driver import build_driver, build_signed, probe_image
from harness.errors import (
    DriverRefusedError,
    GuestCrashed,
    InfrastructureError,
    ToolMissingError,
    UnsupportedError,
    UsageError,
)
from harness.guest import Arch, GuestKind
from harness.registry.status import NTSTATUS
from harness.registry.version import MODELLED, WindowsVersion, architectures

EVERY = [(version, arch) for version in MODELLED for arch in architectures(version)]
LAB = Path(__file__).parent / "drivers" / "lab"
PROBE = r"\\.\RegProbe"
INFO = 0x0022E000
HEADER = (0x00010000).to_bytes(4, "little") + (8).to_bytes(4, "little")


def image_of(arch: str) -> bytes:
    try:
        return probe_image(arch)
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("version", "arch"), EVERY, ids=lambda each: str(each))
def test_every_modelled_windows_boots_and_loads_the_probe(version: WindowsVersion, arch: str) -> None:
    image = image_of(arch)
    with reference.boot(version, arch=arch) as guest:
        info = guest.info
        assert (info.kind, info.version, info.arch) == (GuestKind.REFERENCE, version, Arch(arch))
        guest.install_driver("regprobe", image)
        assert guest.start_driver("regprobe") == 0
        assert guest.ioctl(PROBE, INFO, HEADER, output=256).status == 0
        assert guest.stop_driver("regprobe") == 0
        guest.remove_driver("regprobe")
        assert guest.ioctl(PROBE, INFO, HEADER, output=256).status == NTSTATUS.OBJECT_NAME_NOT_FOUND


@pytest.mark.parametrize(
    ("version", "arch", "said"),
    [
        ("10.0.12345", "x64", "10.0.26100"),
        ("5.1", "x64", "x86"),
        ("10.0.22631", "x86", "x64"),
        ("6.1", "arm64", "x64 or x86"),
    ],
)
def test_what_never_was_is_refused(version: str, arch: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        reference.boot(version, arch=arch)


def test_a_target_name_will_do() -> None:
    with reference.boot("reference:6.0.6002", arch="x86") as guest:
        assert guest.info.name == "reference:6.0.6002-x86"


def test_files_go_in_and_out() -> None:
    with reference.boot("6.1") as guest:
        guest.put(r"C:\harness\x.bin", b"\0\1")
        assert guest.get(r"c:\HARNESS\x.bin") == b"\0\1"
        with pytest.raises(InfrastructureError):
            guest.get(r"C:\harness\missing")
        with pytest.raises(InfrastructureError):
            guest.put("relative", b"")


def test_programs_are_not_run() -> None:
    with reference.boot("6.1") as guest, pytest.raises(UnsupportedError):
        guest.execute(["cmd.exe"])


def test_a_guest_can_be_closed_twice() -> None:
    guest = reference.boot("6.1")
    guest.close()
    guest.close()


def unsigned(arch: str, folder: Path) -> bytes:
    try:
        return build_driver(LAB, arch, output=folder).image.read_bytes()
    except ToolMissingError as error:
        pytest.skip(str(error))


def test_an_unsigned_driver_is_refused_where_windows_refuses_it(tmp_path: Path) -> None:
    with reference.boot("10.0.26100") as guest:
        guest.install_driver("lab", unsigned("x64", tmp_path))
        with pytest.raises(DriverRefusedError) as refusal:
            guest.start_driver("lab")
        assert refusal.value.status == NTSTATUS.INVALID_IMAGE_HASH


@pytest.mark.parametrize(("version", "arch"), [("5.2", "x64"), ("10.0.19045", "x86")])
def test_an_unsigned_driver_is_let_pass_and_told_of_elsewhere(
    version: str, arch: str, tmp_path: Path
) -> None:
    with reference.boot(version, arch=arch) as guest:
        guest.install_driver("lab", unsigned(arch, tmp_path))
        assert guest.start_driver("lab") == 0
        assert any("signature" in note for note in guest.notes)


def test_a_changed_byte_breaks_the_signature() -> None:
    image = bytearray(image_of("x64"))
    at = image.index(b"\\\0D\0o\0s\0D\0e\0v\0i\0c\0e\0s\0")
    image[at + 2] ^= 1
    with reference.boot("10.0.26100") as guest:
        guest.install_driver("regprobe", bytes(image))
        with pytest.raises(DriverRefusedError):
            guest.start_driver("regprobe")


def test_services_by_name() -> None:
    image = image_of("x64")
    with reference.boot("10.0.26100") as guest:
        guest.install_driver("regprobe", image)
        with pytest.raises(UsageError):
            guest.install_driver("REGPROBE", image)
        with pytest.raises(UsageError):
            guest.start_driver("other")
        with pytest.raises(UsageError):
            guest.install_driver("a\\b", image)
        assert guest.start_driver("regprobe") == 0
        assert guest.start_driver("regprobe") == NTSTATUS.IMAGE_ALREADY_LOADED
        guest.remove_driver("regprobe")  # stops it first
        guest.install_driver("regprobe", image)
        assert guest.start_driver("regprobe") == 0


def test_a_standard_user_can_not_open_the_probe() -> None:
    with reference.boot("10.0.26100") as guest:
        guest.install_driver("regprobe", image_of("x64"))
        assert guest.start_driver("regprobe") == 0
        guest.as_standard_user()
        assert guest.ioctl(PROBE, INFO, HEADER, output=256).status == NTSTATUS.ACCESS_DENIED


def test_two_drivers_at_once() -> None:
    try:
        lab = build_signed(LAB, "x64").read()
    except ToolMissingError as error:
        pytest.skip(str(error))
    with reference.boot("10.0.26100") as guest:
        guest.install_driver("regprobe", image_of("x64"))
        guest.install_driver("lab", lab)
        assert [guest.start_driver("regprobe"), guest.start_driver("lab")] == [0, 0]
        assert [guest.stop_driver("regprobe"), guest.stop_driver("lab")] == [0, 0]


LEAK = """
#include <ntddk.h>

static VOID NTAPI Unload(PDRIVER_OBJECT driver)
{
    UNREFERENCED_PARAMETER(driver);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING service)
{
    PDEVICE_OBJECT device;
    UNICODE_STRING name;

    UNREFERENCED_PARAMETER(service);
    RtlInitUnicodeString(&name, L"\\\\Device\\\\Left");
    driver->DriverUnload = Unload;
    return IoCreateDevice(driver, 0, &name, FILE_DEVICE_UNKNOWN, 0, FALSE, &device);
}
"""


def test_what_is_left_at_unload_stops_the_machine_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "left.c").write_text(LEAK)
    try:
        image = build_driver(tmp_path / "left.c", "x86", output=tmp_path).image.read_bytes()
    except ToolMissingError as error:
        pytest.skip(str(error))
    with reference.boot("6.1", arch="x86") as guest:
        guest.install_driver("left", image)
        assert guest.start_driver("left") == 0
        with pytest.raises(GuestCrashed, match=r"device object \\Device\\Left"):
            guest.stop_driver("left")
    with reference.boot("6.1", arch="x86", verifier=False) as guest:
        guest.install_driver("left", image)
        assert guest.start_driver("left") == 0
        assert guest.stop_driver("left") == 0
        assert guest.start_driver("left") == 0
