"""A signed driver on its way into a guest and out again; files and commands. On every guest."""

from __future__ import annotations

import hashlib

import pytest

from harness.driver import probe_image
from harness.errors import DriverRefusedError, InfrastructureError, UnsupportedError
from harness.guest import Guest
from harness.probe import abi
from harness.registry.status import NTSTATUS, nt_success

SERVICE = "regprobe-deploy"
FILE = "C:\\harness\\deploy.bin"


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_001])
def test_a_file_comes_back_as_it_was_sent(guest: Guest, size: int) -> None:
    data = (hashlib.sha256(str(size).encode()).digest() * (size // 32 + 1))[:size]

    guest.put(FILE, data)

    assert guest.get(FILE) == data


def test_a_missing_file_is_an_error_that_names_it(guest: Guest) -> None:
    with pytest.raises(InfrastructureError, match=r"none\.bin"):
        guest.get("C:\\harness\\none.bin")


def test_a_command_has_its_exit_code_and_its_own_streams(guest: Guest) -> None:
    try:
        done = guest.execute(["cmd.exe", "/c", "echo out& echo err>&2& exit 3"])
    except UnsupportedError as error:
        pytest.skip(str(error))

    assert done.exit_code == 3
    assert done.stdout.split() == [b"out"]
    assert done.stderr.split() == [b"err"]


@pytest.mark.own_guest  # the probe's device has one name; another test may have loaded it already
def test_a_signed_driver_starts_answers_and_stops(guest: Guest) -> None:
    reply = abi.record("REGPROBE_INFO_REPLY")
    request = abi.record("REGPROBE_HEADER").pack()
    info = abi.constant("IOCTL_REGPROBE_INFO")
    guest.install_driver(SERVICE, probe_image(guest.info.arch, guest.info.version))
    try:
        assert guest.start_driver(SERVICE) == NTSTATUS.SUCCESS
        with guest.open_device(abi.DEVICE) as device:
            answers = [device.ioctl(info, request, output=reply.size) for _ in range(3)]
            short = device.ioctl(info, request, output=4)
            unknown = device.ioctl(0x0022_FFFC, b"", output=0)
        assert nt_success(guest.stop_driver(SERVICE))
        with pytest.raises(InfrastructureError):
            guest.open_device(abi.DEVICE)
    finally:
        guest.remove_driver(SERVICE)

    facts = [reply.unpack(answer.data) for answer in answers]
    assert {fact["abi_version"] for fact in facts} == {abi.constant("REGPROBE_ABI_VERSION")}
    assert facts[0]["os_major"] == guest.info.version.major
    assert not nt_success(short.status)
    assert unknown.status == NTSTATUS.INVALID_DEVICE_REQUEST


def test_what_is_no_driver_does_not_start(guest: Guest) -> None:
    guest.install_driver(SERVICE, b"MZ this is no driver".ljust(4096, b"\0"))
    try:
        status = guest.start_driver(SERVICE)
    except DriverRefusedError as refused:
        status = refused.status
    finally:
        guest.remove_driver(SERVICE)

    assert not nt_success(status)
