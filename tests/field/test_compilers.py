"""What compilers for Windows make of __try and of stack protection, run as it is."""

from __future__ import annotations

import struct

import pytest

from harness import reference
from harness.registry.status import NTSTATUS
from harness.registry.valuetypes import ValueType
from harness.workload.registry import Registry
from tests.field.clang import clang_image
from tests.field.world import NEITHER, ioctl

SYSTEMS = [("6.1", "x64"), ("6.2", "x86"), ("10.0.19045", "x86"), ("10.0.26100", "x64")]


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_exceptions_find_their_handlers(version: str, arch: str) -> None:
    with reference.boot(version, arch=arch) as guest:
        guest.install_driver("seh", clang_image("seh", arch))
        assert guest.start_driver("seh") == 0
        with Registry(guest) as registry, registry.program() as p:
            key = p.create_key(p.test_root / "seh")
            bad = p.set_value(key, "a", 0xDEADBEEF, type=ValueType.DWORD)
            good = p.set_value(key, "a", 7)
        assert (bad.status, good.status) == (NTSTATUS.ACCESS_DENIED, 0)
        answer = guest.ioctl(r"\\.\FieldSeh", ioctl(0, NEITHER), struct.pack("<I", 0x7000), output=48)
        assert answer.status == 0
        assert struct.unpack("<12I", answer.data) == (
            NTSTATUS.ACCESS_VIOLATION,
            1,  # the inner filter takes it
            2,  # the inner filter passes it on
            1,  # the address is in the exception record
            0x1011,  # __finally on the way out
            0x10101,  # __finally during an unwind
            3,  # an exception in a handler goes to the next one out
            0x7000,
            NTSTATUS.ACCESS_VIOLATION,
            NTSTATUS.DATATYPE_MISALIGNMENT,
            100,
            2,
        )
        nowhere = guest.ioctl(r"\\.\FieldSeh", ioctl(0, NEITHER), b"", output=48)
        assert nowhere.status == NTSTATUS.ACCESS_VIOLATION
        assert guest.stop_driver("seh") == 0


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_the_loader_makes_a_fresh_security_cookie(version: str, arch: str) -> None:
    with reference.boot(version, arch=arch) as guest:
        guest.install_driver("cookie", clang_image("cookie", arch, "-fstack-protector-all"))
        assert guest.start_driver("cookie") == 0
        assert guest.stop_driver("cookie") == 0
        assert guest.debug_output() == ["cookie: fresh, 1", "cookie: gone"]


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_what_the_compiler_calls_on_its_own_account(version: str, arch: str) -> None:
    a, b, count = 0xFEDCBA9876543210, 0x123456789, 37
    with reference.boot(version, arch=arch) as guest:
        driver = clang_image("helpers", arch)
        wanted = {"x64": (b"__chkstk",), "x86": (b"_chkstk", b"_aulldiv", b"_alldiv")}[arch]
        assert all(name in driver for name in wanted)
        guest.install_driver("helpers", driver)
        assert guest.start_driver("helpers") == 0
        data = guest.ioctl(r"\\.\FieldHelpers", ioctl(0), struct.pack("<3Q", a, b, count), output=64).data
        assert guest.stop_driver("helpers") == 0
    quotient, remainder, up, down, total, *signed = struct.unpack("<5Q3q", data)
    assert (quotient, remainder) == divmod(a, b)
    assert (up, down) == (a << count & (1 << 64) - 1, a >> count)
    assert total == sum((a + index) & 0xFF for index in range(5000))
    negative = a - (1 << 64)
    assert signed == [-(-negative // b), -(-negative % b), negative >> count]
