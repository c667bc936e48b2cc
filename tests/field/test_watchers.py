"""Drivers that watch: a monitor with a ring, a logger with a thread of its own, one that counts processes."""

from __future__ import annotations

import struct

import pytest

from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from tests.field.world import ioctl, running

_RECORD = struct.Struct("<qIIi16sH320s")
_SIZE = 360


def _records(data: bytes) -> list[tuple[int, int, str, str]]:
    """Class, status, image and path of each record of the monitor."""
    found = []
    for start in range(0, len(data), _SIZE):
        _time, _process, operation, status, name, length, path = _RECORD.unpack_from(data, start)
        text = path[:length].decode("utf-16-le")
        found.append((operation, status & 0xFFFFFFFF, name.rstrip(b"\0").decode(), text))
    return found


@pytest.mark.parametrize(
    ("version", "arch"), [("6.2", "x86"), ("6.3", "x64"), ("10.0.19045", "x86"), ("10.0.26100", "x64")]
)
def test_a_monitor_tells_what_was_done_by_whom(version: str, arch: str) -> None:
    with running("monitor", version, arch) as (guest, registry):
        device = r"\\.\FieldMonitor"
        assert guest.read_device(device, 1).status == NTSTATUS.BUFFER_TOO_SMALL
        while guest.read_device(device, _SIZE * 64).data:
            pass
        assert guest.ioctl(device, ioctl(0), output=4).data in (b"\0\0\0\0", b"\1\0\0\0")
        assert guest.ioctl(device, ioctl(0), output=4).data == b"\0\0\0\0"
        with registry.program() as p:
            key = p.create_key(p.test_root / "watched")
            p.set_value(key, "colour", "red")
            p.open_key(key / "missing")
            p.delete_value(key, "colour")
            p.delete_key(key)
        assert guest.ioctl(device, ioctl(0), output=4).data == b"\1\0\0\0"
        seen = _records(guest.read_device(device, _SIZE * 64).data)
    root = str(registry.test_root).upper()
    names = {name for _operation, _status, name, _path in seen}
    assert len(names) == 1
    assert names.pop()
    assert [(operation, status, path.upper()) for operation, status, _name, path in seen] == [
        (Post.CreateKeyEx, 0, rf"{root}\WATCHED"),
        (Pre.SetValueKey, 0, rf"{root}\WATCHED\COLOUR"),
        (Post.OpenKeyEx, NTSTATUS.OBJECT_NAME_NOT_FOUND, rf"{root}\WATCHED\MISSING"),
        (Pre.DeleteValueKey, 0, rf"{root}\WATCHED\COLOUR"),
        (Pre.DeleteKey, 0, rf"{root}\WATCHED"),
    ]


@pytest.mark.parametrize(
    ("version", "arch"), [("5.1", "x86"), ("5.2", "x64"), ("6.1", "x86"), ("10.0.26100", "x64")]
)
def test_a_logger_writes_its_file_from_a_thread(version: str, arch: str) -> None:
    with running("logger", version, arch) as (guest, registry):
        with registry.program() as p:
            key = p.create_key(p.test_root / "logged")
            for index in range(5):
                p.set_value(key, f"value{index}", index)
            p.delete_value(key, "value3")
            p.flush_key(key)
        lines = guest.ioctl(r"\\.\FieldLogger", ioctl(0), output=4)
        items = guest.ioctl(r"\\.\FieldLogger", ioctl(1), output=4)
        written = guest.get(r"C:\field.log")
    assert (lines.status, lines.data) == (0, struct.pack("<I", 6))
    # Flushes are told from Vista on.
    assert (items.status, items.data) == (0, struct.pack("<I", version not in ("5.1", "5.2")))
    assert written == b"".join(b"set value%d\r\n" % index for index in range(5)) + b"delete value3\r\n"
    assert guest.debug_output()[-1] == "logger: 6 lines"


@pytest.mark.parametrize(("version", "arch"), [("6.0.6002", "x86"), ("6.1", "x64"), ("10.0.26100", "x64")])
def test_processes_are_told_apart(version: str, arch: str) -> None:
    device = r"\\.\FieldProcesses"
    with running("processes", version, arch) as (guest, registry):
        with registry.program() as p:
            mine = p.create_key(p.test_root / "mine")
            with p.on(process="second"):
                theirs = p.create_key(p.test_root / "theirs")
        seen = list(struct.iter_unpack("<II", guest.ioctl(device, ioctl(0), output=512).data))
        assert all(count > 0 for _process, count in seen)
        assert {mine.process_id, theirs.process_id} <= {process for process, _count in seen}
        for process in (mine.process_id, theirs.process_id):
            about = guest.ioctl(device, ioctl(1), struct.pack("<I", process), output=512)
            assert about.status == 0
            found, _session, _parent, opened, name, path = struct.unpack("<IIIi16s256s", about.data)
            assert (found, opened) == (process, 0)
            assert name.rstrip(b"\0")
            assert name.rstrip(b"\0").decode() in path.decode("utf-16-le")
        nobody = guest.ioctl(device, ioctl(1), struct.pack("<I", 0xFFF0), output=512)
        assert nobody.status == NTSTATUS.INVALID_CID  # from Vista on: nf-ntifs-pslookupprocessbyprocessid
        states = struct.unpack("<III", guest.ioctl(device, ioctl(2), output=12).data)
    # Without /integritycheck the newer routines are refused, and the driver falls back on the old one.
    assert states == (NTSTATUS.ACCESS_DENIED, 0, NTSTATUS.ACCESS_DENIED)


@pytest.mark.parametrize(("version", "arch"), [("6.1", "x64"), ("10.0.10240", "x86"), ("10.0.26100", "x64")])
def test_a_driver_finds_itself_in_the_list_of_images_and_may_mark_itself(version: str, arch: str) -> None:
    with running("elevator", version, arch) as (guest, _registry):
        before, after, images, right, kernel = struct.unpack(
            "<5I", guest.ioctl(r"\\.\FieldElevator", ioctl(0), output=20).data
        )
    assert (before, after) == (NTSTATUS.ACCESS_DENIED, 0)
    assert (right, kernel) == (1, 1)
    assert images >= 1
