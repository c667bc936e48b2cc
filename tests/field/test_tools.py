"""Drivers that lean on the kernel's tools: buffers of requests, lists and locks, security, text."""

from __future__ import annotations

import struct

import pytest

from harness.guest import Arch
from harness.registry.access import KEY_READ, KEY_SET_VALUE
from harness.registry.status import NTSTATUS
from tests.field.world import IN_DIRECT, NEITHER, OUT_DIRECT, ioctl, running

SYSTEMS = [("5.1", "x86"), ("6.1", "x64"), ("10.0.10240", "x86"), ("10.0.26100", "x64")]


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_buffers_come_in_every_way(version: str, arch: str) -> None:
    device = r"\\.\FieldMethods"
    with running("methods", version, arch) as (guest, _registry):
        upper = guest.ioctl(device, ioctl(0, NEITHER), b"Mixed Case 7", output=12)
        assert (upper.status, upper.data) == (0, b"MIXED CASE 7")
        summed = guest.ioctl(device, ioctl(1, IN_DIRECT), b"x", output=8)
        assert (summed.status, summed.information) == (0, 0)
        filled = guest.ioctl(device, ioctl(2, OUT_DIRECT), b"z", output=5000)
        assert (filled.status, filled.data) == (0, b"z" * 5000)
        locked = guest.ioctl(device, ioctl(3, NEITHER), output=6000)
        assert (locked.status, locked.data) == (0, b"\1" * 6000)


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_probing_raises_what_the_pages_say(version: str, arch: str) -> None:
    device = r"\\.\FieldMethods"
    kernel = 0xFFFFF80000000000 if arch == Arch.X64 else 0x80001000

    def probe(address: int, length: int) -> int:
        return guest.ioctl(device, ioctl(4), struct.pack("<QQ", address, length)).status

    with running("methods", version, arch) as (guest, _registry):
        assert probe(0, 0) == 0  # no length, no probe
        assert probe(kernel, 4) == NTSTATUS.ACCESS_VIOLATION
        assert probe(0x1001, 4) == NTSTATUS.DATATYPE_MISALIGNMENT
        assert probe(0x1000, 4) == NTSTATUS.ACCESS_VIOLATION
        assert probe(0xFFFFFFFC if arch == Arch.X86 else 0xFFFFFFFFFFFFFFFC, 8) == NTSTATUS.ACCESS_VIOLATION


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_an_event_of_the_requester_is_signalled(version: str, arch: str) -> None:
    device = r"\\.\FieldMethods"
    with running("methods", version, arch) as (guest, registry):
        handle = guest.ioctl(device, ioctl(5), output=8)
        assert handle.status == 0
        states = [guest.ioctl(device, ioctl(6), handle.data, output=4).data for _again in range(2)]
        assert states == [b"\0\0\0\0", b"\1\0\0\0"]
        assert guest.ioctl(device, ioctl(7), handle.data).status == 0
        assert guest.ioctl(device, ioctl(6), handle.data, output=4).status == NTSTATUS.INVALID_HANDLE
        with registry.program() as p:
            event = p.create_event(expect=0)
            key = p.create_key(p.test_root / "key", expect=0)
            right = p.device_control(device, ioctl(6), bytes(8), output=4, handles={0: event})
            wrong = p.device_control(device, ioctl(6), bytes(8), output=4, handles={0: key})
        assert (right.status, wrong.status) == (0, NTSTATUS.OBJECT_TYPE_MISMATCH)


@pytest.mark.parametrize(("version", "arch"), [("6.0", "x86"), ("6.1", "x64"), ("10.0.26100", "x64")])
def test_lists_and_locks_keep_their_counts(version: str, arch: str) -> None:
    device = r"\\.\FieldStores"
    with running("stores", version, arch) as (guest, registry):
        before = struct.unpack("<7I", guest.ioctl(device, ioctl(0), output=28).data)
        with registry.program() as p:
            for name in ("one", "two"):
                key = p.create_key(p.test_root / name)
                p.set_value(key, "a", 1)
                p.set_value(key, "b", 2)
        after = struct.unpack("<7I", guest.ioctl(device, ioctl(0), output=28).data)
        calls, refused, listed, stacked, depth, exclusive, recursion = after
        assert listed - before[2] == 2
        assert exclusive - before[5] == 2
        assert calls == stacked == recursion > before[0]
        assert depth == 8
        assert refused == 0
        assert guest.ioctl(device, ioctl(1)).status == 0
        with registry.program() as p:
            p.open_key(p.test_root / "one", expect=0)
        late = struct.unpack("<7I", guest.ioctl(device, ioctl(0), output=28).data)
        assert late[0] == calls
        assert late[1] > 0


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_the_requester_is_known_and_judged(version: str, arch: str) -> None:
    device = r"\\.\FieldSecurity"
    with running("security", version, arch) as (guest, registry):
        with registry.program() as p:
            key = p.create_key(p.test_root / "guarded")
            p.set_value(key, "x", 1)
        sid = guest.ioctl(device, ioctl(0), output=384)
        assert sid.status == 0
        assert sid.data.decode("utf-16-le").startswith("S-1-5-")

        def check(access: int) -> tuple[int, int]:
            data = guest.ioctl(device, ioctl(1), struct.pack("<I", access), output=8).data
            status, granted = struct.unpack("<II", data)
            return status, granted

        names = guest.ioctl(device, ioctl(3), output=384)
        assert names.status == 0
        users, own = names.data.decode("utf-16-le").split("|")
        assert users.upper() == r"\REGISTRY\USER"
        assert own.upper() == rf"\REGISTRY\USER\{sid.data.decode('utf-16-le')}"
        assert check(KEY_READ) == (0, KEY_READ)
        assert check(KEY_SET_VALUE) == (NTSTATUS.ACCESS_DENIED, 0)
        path = str(registry.test_root / "guarded").encode("utf-16-le")
        assert guest.ioctl(device, ioctl(2), path).status == 0
        administrator = guest.user.process.body.token
        guest.as_standard_user()
        with registry.program() as p:
            p.open_key(p.test_root / "guarded", access=KEY_READ, expect=0)
            p.open_key(p.test_root / "guarded", access=KEY_SET_VALUE, expect=NTSTATUS.ACCESS_DENIED)
        guest.user.process.body.token = administrator


_TEXT = r"""int=-7|   42|42   |00042|+42|9|4000000000
hex=ff|FF|0xff|0000beef|123456789abcdef|fedcba987654321|10|2345|34
oct=10|77|-5|3
str=abc|       abc|abc       |abc|    xy|c|%
wide=big|ws|ls|counted|narrow|w|hs
null=(null)|(null)|(null)
ptr=POINTER
full=8|exactly8
cut=-1|more tha
wfmt=28|wide|narrow|counted|-1|x|h|l
wcut=-1
sprintf=3|007
cb=00000000|a\b|80000005|lo|00000000|lo+tail
wcs=33|Software\Vendor|\Vendor|0|0
edit=\REGISTRY\MACHINE\SOFTWARE\X|1|0
str=needle here|.b|0|0|4
num=42|-8|81
conv=31|-12|1|2
mem=1|2
cmp=0|1|0|1
app=Hello thereHELLO WORLD|00000000|00000000
toolong=c0000023|44
int=CAFE|51966
ansi=HELLO WORLD|11|12
down=hello world
up=HELLO
guid={12345678-9ABC-DEF0-0102-030405060708}
time=2020-01-01 00:00:00.000 3
seen=free:4:4
"""


@pytest.mark.parametrize(("version", "arch"), SYSTEMS)
def test_text_is_formatted_as_the_kernel_does(version: str, arch: str) -> None:
    with running("strings", version, arch) as (guest, registry):
        with registry.program() as p:
            key = p.create_key(p.test_root / "text")
            p.set_value(key, "a secret", 1, expect=NTSTATUS.ACCESS_DENIED)
            p.set_value(key, "free", 1, expect=0)
        lines = guest.debug_output()
        text = guest.ioctl(r"\\.\FieldStrings", ioctl(0), output=8192)
    pointer = f"{0xABCD:0{16 if arch == Arch.X64 else 8}X}"
    assert text.status == 0
    assert text.data.decode().splitlines() == _TEXT.replace("POINTER", pointer).splitlines()
    assert lines[-2:] == ["strings: a secret:4:4 (again)", "strings: free:4:4 (again)"]
