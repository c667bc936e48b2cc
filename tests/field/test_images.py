"""What images are made of, the good and the refused; and wrong uses of them that must be caught."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness import reference
from harness.driver import sign_image, signing_certificate
from harness.driver.build import build_directory
from harness.errors import DriverRefusedError, GuestCrashed, UsageError
from harness.firstlook import default_target
from harness.registry.status import NTSTATUS
from tests.field.world import image, ioctl, running

SYSTEMS = [("6.0", "x86"), ("6.1", "x64"), ("10.0.10240", "x86"), ("10.0.26100", "x64")]
DEVICE = r"\\.\FieldTraits"


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_sections_of_every_kind_are_where_they_should_be(version: str, arch: str) -> None:
    with running("traits", version, arch) as (guest, _registry):
        first = struct.unpack("<12I", guest.ioctl(DEVICE, ioctl(0), output=48).data)
        second = struct.unpack("<12I", guest.ioctl(DEVICE, ioctl(0), output=48).data)
        kernel = guest.info.version
    system = kernel.major * 100 + kernel.minor
    assert first == (0, 0x12345678, 7, 15, 1, 1, 1, 0x40, 0, system, 0, 0)
    assert second == (256, 0x12345679, 7, 15, 1, 1, 1, 0x40, 0, system, 0, 0)


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
@pytest.mark.parametrize(("number", "codes"), [(1, {0xCE, 0x50}), (2, {0xD1, 0x0A, 0xC4, 0xD3})])
def test_code_that_is_gone_or_may_be_paged_out_is_not_called(
    version: str, arch: str, number: int, codes: set[int]
) -> None:
    with reference.boot(version, arch=arch) as guest:
        guest.install_driver("traits", image("traits", arch))
        assert guest.start_driver("traits") == 0
        with pytest.raises(GuestCrashed) as crash:
            guest.ioctl(DEVICE, ioctl(number), output=48)
    assert crash.value.bugcheck.code in codes
    assert crash.value.bugcheck.driver == "traits.sys"


def _changed(offset: int, form: str, value: int) -> bytes:
    """The 32-bit monitor with one header field changed; `offset` counts from the PE signature."""
    data = bytearray(image("monitor", "x86"))
    struct.pack_into(form, data, struct.unpack_from("<I", data, 0x3C)[0] + offset, value)
    return bytes(data)


def _program(kind: int) -> bytes:
    return _changed(24 + 68, "<H", kind)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (lambda: b"", "MZ"),
        (lambda: b"MZ" + bytes(62), "PE"),
        (lambda: b"MZ" + bytes(58) + struct.pack("<I", 64) + b"NE" + bytes(512), "PE"),
        (lambda: _program(2), "subsystem"),
        (lambda: _program(3), "subsystem"),
        (lambda: _program(11), "subsystem"),
        (lambda: _changed(4, "<H", 0xAA64), "machine"),
        (lambda: _changed(6, "<H", 0xFFFF), "sections"),
        (lambda: _changed(24 + 32, "<I", 3), "alignment"),
        (lambda: _changed(24 + 56, "<I", 0xFFFFFFFF), "image size"),
        (lambda: _changed(24 + 16, "<I", 0xFFFFFFF0), "entry point"),
        (lambda: image("monitor", "x86")[:700], "outside the file"),
    ],
    ids=[
        "empty",
        "dos",
        "16-bit",
        "gui",
        "console",
        "efi",
        "arm64",
        "sections",
        "align",
        "size",
        "entry",
        "cut",
    ],
)
def test_what_is_no_driver_is_refused_with_a_reason(data: object, word: str) -> None:
    assert callable(data)
    with reference.boot("10.0.10240", arch="x86") as guest:  # 32-bit systems ask for no signature first
        guest.install_driver("odd", data())
        with pytest.raises(DriverRefusedError, match=word):
            guest.start_driver("odd")


def test_the_first_look_says_what_a_file_is_not(tmp_path: Path) -> None:
    odd = tmp_path / "odd.sys"
    for data in (b"", b"MZ", b"MZ" + bytes(62), _changed(4, "<H", 0x1C0), bytes(100_000)):
        odd.write_bytes(data)
        with pytest.raises(UsageError, match=r"odd\.sys"):
            default_target(odd)


def test_an_unsigned_driver_is_refused_on_newer_systems() -> None:
    data = bytearray(image("monitor", "x64"))
    data[0x600] ^= 1
    with reference.boot("10.0.26100") as guest:
        guest.install_driver("monitor", bytes(data))
        with pytest.raises(DriverRefusedError):
            guest.start_driver("monitor")
        again = sign_image(image("monitor", "x64"), signing_certificate(build_directory() / "keys"))
        guest.install_driver("monitor2", again)
        assert guest.start_driver("monitor2") == 0


@pytest.mark.parametrize(("version", "arch"), [("5.1", "x86"), ("10.0.26100", "x64")])
@pytest.mark.parametrize(
    ("mode", "code", "word"),
    [
        (2, 0xCE, r"device object \\Device\\FieldEntries"),
        (3, 0xC4, "4096 bytes"),
        (4, 0xCE, "registry callback"),
        (5, 0x7E, "write of 0x0"),
        (6, 0xE2, "running for more than"),
        (7, 0x4A, "returned at IRQL 2"),
    ],
)
def test_an_entry_point_that_goes_wrong_is_told(
    version: str, arch: str, mode: int, code: int, word: str
) -> None:
    with reference.boot(version, arch=arch, deadline=1) as guest:
        guest.install_driver("entries", image("entries", arch), parameters={"Mode": mode})
        with pytest.raises(GuestCrashed, match=word) as crash:
            guest.start_driver("entries")
    assert crash.value.bugcheck.code == code
    assert crash.value.bugcheck.driver == "entries.sys"


@pytest.mark.parametrize(("version", "arch"), [("5.1", "x86"), ("10.0.26100", "x64")])
def test_an_entry_point_may_fail_and_an_unload_routine_may_be_missing(version: str, arch: str) -> None:
    with reference.boot(version, arch=arch) as guest:
        guest.install_driver("fails", image("entries", arch), parameters={"Mode": 1})
        assert guest.start_driver("fails") == NTSTATUS.DEVICE_NOT_READY
        guest.install_driver("stays", image("entries", arch), parameters={"Mode": 8})
        assert guest.start_driver("stays") == 0
        assert guest.stop_driver("stays") == NTSTATUS.INVALID_DEVICE_REQUEST
