"""The sample drivers do what their comments say, on the reference guest."""

from __future__ import annotations

import struct

import pytest

from harness import reference
from harness.driver import verify_bytes
from harness.guest import Guest
from harness.registry.access import KEY_READ
from harness.registry.status import NTSTATUS
from harness.registry.version import VISTA, WIN10_22H2, XP
from harness.workload.registry import HARNESS_KEY, Registry
from tests.driver.wrong_workload import driver_image

GUARD = r"\\.\RegGuard"
TRAITS = r"\\.\RegTraits"
BUFFERED = r"\\.\RegBuffered"
IOCTL_PROTECT = 0x0022A040  # CTL_CODE(FILE_DEVICE_UNKNOWN, 0x810, METHOD_BUFFERED, FILE_WRITE_DATA)
IOCTL_STATUS = 0x00226044  # CTL_CODE(FILE_DEVICE_UNKNOWN, 0x811, METHOD_BUFFERED, FILE_READ_DATA)


def trait(number: int, method: int) -> int:
    return 0x22 << 16 | (0x900 + number) << 2 | method


def write_below(guest: Guest, name: str) -> int:
    with Registry(guest, name=name) as registry:
        with registry.program() as p:
            key = p.create_key(p.test_root / "below")
            write = p.set_value(key, "value", b"1")
        return write.status


@pytest.mark.parametrize("name", ["regguard", "traits_legacy.c", "traits_methods.c", "traits_buffered.c"])
def test_samples_are_clean_images(name: str, arch: str) -> None:
    report = verify_bytes(driver_image(f"samples/{name}", arch))
    assert report.ok, report.failed


def test_regguard_protects_the_key_of_its_service_key(arch: str) -> None:
    with reference.boot(WIN10_22H2, arch=arch) as guest:
        parameters = {"ProtectedKey": str(HARNESS_KEY / "guarded"), "Altitude": "385201.25"}
        guest.install_driver("regguard", driver_image("samples/regguard", arch), parameters=parameters)
        with Registry(guest, name="guarded").program() as p:
            key = p.create_key(p.test_root / "below")
            p.set_value(key, "before", b"1", expect=NTSTATUS.SUCCESS)
        assert guest.start_driver("regguard") == 0
        with Registry(guest, name="guarded").program() as p:
            key = p.create_key(p.test_root / "below")
            set_, delete = p.set_value(key, "value", b"1"), p.delete_value(key, "before")
            remove = p.delete_key(key)
            other = p.set_value(p.create_key(HARNESS_KEY / "guarded too"), "value", b"1")
        assert [set_.status, delete.status, remove.status] == [NTSTATUS.ACCESS_DENIED] * 3
        assert other.status == 0
        reply = guest.ioctl(GUARD, IOCTL_STATUS, output=2048)
        refused, length = struct.unpack_from("<II", reply.data)
        assert refused == 3
        assert reply.data[8 : 8 + length].decode("utf-16-le") == parameters["ProtectedKey"]
        assert guest.stop_driver("regguard") == 0
        output = "\n".join(guest.debug_output())
        assert "at altitude 385201.25" in output
        assert "after 3 refusals" in output


def test_regguard_takes_a_key_by_request(arch: str) -> None:
    with reference.boot(VISTA, arch=arch) as guest:
        guest.install_driver("regguard", driver_image("samples/regguard", arch))
        assert guest.start_driver("regguard") == 0
        assert write_below(guest, "free") == 0
        path = str(HARNESS_KEY / "taken").encode("utf-16-le")
        assert guest.ioctl(GUARD, IOCTL_PROTECT, path).status == 0
        with Registry(guest, name="taken").program() as p:
            write = p.set_value(p.create_key(p.test_root / "below"), "value", b"1")
        assert write.status == NTSTATUS.ACCESS_DENIED
        assert guest.ioctl(GUARD, IOCTL_PROTECT, b"").status == 0
        assert write_below(guest, "taken") == 0
        assert guest.ioctl(GUARD, IOCTL_PROTECT, b"x").status == NTSTATUS.INVALID_PARAMETER
        assert guest.ioctl(GUARD, IOCTL_PROTECT, bytes(1026)).status == NTSTATUS.INVALID_PARAMETER
        assert guest.ioctl(GUARD, IOCTL_STATUS, output=10).status == NTSTATUS.BUFFER_TOO_SMALL
        assert guest.ioctl(GUARD, 0x0022A0F0).status == NTSTATUS.INVALID_DEVICE_REQUEST
        guest.remove_driver("regguard")


@pytest.mark.parametrize("version", [XP, WIN10_22H2], ids=str)
def test_the_legacy_filter_counts_on_every_windows(version: object, arch: str) -> None:
    if version == XP and arch == "x64":
        pytest.skip("there was no x64 XP of version 5.1")
    with reference.boot(version, arch=arch) as guest:  # type: ignore[arg-type]
        guest.install_driver("legacy", driver_image("samples/traits_legacy.c", arch))
        assert guest.start_driver("legacy") == 0
        with Registry(guest).program() as p:
            key = p.create_key(p.test_root / "gone")
            p.delete_key(key)
        assert guest.stop_driver("legacy") == 0
        output = "\n".join(guest.debug_output())
        assert r"\services\legacy" in output.lower()
        assert "a key is about to be deleted" in output
        assert "notifications" in output


def test_every_buffering_method(arch: str) -> None:
    with reference.boot(WIN10_22H2, arch=arch) as guest:
        guest.install_driver("traits", driver_image("samples/traits_methods.c", arch))
        assert guest.start_driver("traits") == 0
        buffered = guest.ioctl(TRAITS, trait(0, 0), b"HAL", output=3)
        assert (buffered.status, buffered.data) == (0, b"IBM")
        out_direct = guest.ioctl(TRAITS, trait(2, 2), b"z", output=5000)
        assert (out_direct.status, out_direct.data) == (0, b"z" * 5000)
        in_direct = guest.ioctl(TRAITS, trait(1, 1), b"", output=100)
        assert in_direct.status == 0
        neither = guest.ioctl(TRAITS, trait(3, 3), b"drawer", output=6)
        assert (neither.status, neither.data) == (0, b"reward")
        assert guest.ioctl(TRAITS, trait(3, 3), b"drawer", output=5).status == NTSTATUS.BUFFER_TOO_SMALL
        assert guest.read_device(TRAITS, 10).status == NTSTATUS.END_OF_FILE
        assert guest.write_device(TRAITS, b"twelve bytes").status == 0
        assert guest.read_device(TRAITS, 6).data == b"twelve"
        assert guest.write_device(TRAITS, bytes(513)).status == NTSTATUS.INVALID_PARAMETER
        guest.remove_driver("traits")


def test_buffered_read_and_write_beside_a_filter(arch: str) -> None:
    with reference.boot(WIN10_22H2, arch=arch) as guest:
        guest.install_driver("buffered", driver_image("samples/traits_buffered.c", arch))
        assert guest.start_driver("buffered") == 0
        assert guest.write_device(BUFFERED, b"state").status == 0
        assert guest.read_device(BUFFERED, 64).data == b"state"
        with Registry(guest).program() as p:
            key = p.create_key(p.test_root / "counted", access=KEY_READ | 2)
            p.set_value(key, "one", b"1")
            p.set_value(key, "two", b"2")
        assert guest.stop_driver("buffered") == 0
        assert any("2 values set" in line for line in guest.debug_output())
