"""A crash dump taken off a guest's disk without mounting it: NTFS by mkntfs, in a partition, in qcow2."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.errors import GuestCrashed, GuestHung, InfrastructureError, ToolMissingError
from harness.guest.bugcheck import Bugcheck
from harness.machine.describe.spec import Disk, DiskFormat, Hardware, MachineSpec
from harness.machine.disk import dump_disk
from harness.machine.disk.disks import create_overlay
from harness.machine.disk.dump import read_dump
from harness.machine.disk.dump_disk import fetch_dump
from harness.machine.evidence import collect
from tests.machine import dumps

MEBIBYTE = 1 << 20
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
LIMIT = 8 * MEBIBYTE

pytestmark = pytest.mark.skipif(
    not all(shutil.which(name, path=PATH) for name in ("mkntfs", "ntfscp")),
    reason="an NTFS to read is made by mkntfs and ntfscp: apt-get install ntfs-3g",
)


@pytest.fixture(autouse=True)
def _packages() -> None:
    pytest.importorskip("dissect.ntfs", reason="disks are read by dissect.ntfs: install the extra dumps")


def run(name: str, *arguments: str | Path) -> None:
    tool = shutil.which(name, path=PATH)
    assert tool
    subprocess.run([tool, *map(str, arguments)], check=True, capture_output=True)


def ntfs(folder: Path, files: dict[str, bytes]) -> Path:
    """A volume with these files in its root."""
    volume = folder / "volume"
    volume.write_bytes(b"")
    os.truncate(volume, 6 * MEBIBYTE)
    run("mkntfs", "--quiet", "--fast", "--force", "--label", "DUMPS", volume)
    for name, content in files.items():
        source = folder / "source"
        source.write_bytes(content)
        run("ntfscp", "--force", "--quiet", volume, source, name)
    return volume


def disk(folder: Path, volume: Path) -> Path:
    """A raw disk with the volume in its first partition, as diskpart places it."""
    path = folder / "disk.raw"
    table = bytearray(512)
    sectors = volume.stat().st_size // 512
    struct.pack_into("<BBBBBBBBII", table, 446, 0, 0, 2, 0, 7, 0, 0, 0, MEBIBYTE // 512, sectors)
    table[510:] = b"\x55\xaa"
    path.write_bytes(bytes(table).ljust(MEBIBYTE, b"\0") + volume.read_bytes())
    return path


def test_the_dump_of_an_overlay_with_a_partition(tmp_path: Path) -> None:
    raw = disk(tmp_path, ntfs(tmp_path, {"MEMORY.DMP": dumps.full64()}))
    # As a clone's disk is: on a template's, on the image's.
    template, overlay = tmp_path / "template.qcow2", tmp_path / "overlay.qcow2"
    create_overlay(template, raw, DiskFormat.RAW)
    create_overlay(overlay, template, DiskFormat.QCOW2)
    target = tmp_path / "out.dmp"
    assert fetch_dump([Disk(overlay)], target, limit=LIMIT) == "MEMORY.DMP"
    assert target.read_bytes() == dumps.full64()
    assert target.stat().st_mode & 0o777 == 0o600
    assert read_dump(target).parameters == dumps.PARAMETERS


def test_a_file_that_holds_no_dump_yet_is_passed_over(tmp_path: Path) -> None:
    """Windows makes the files in advance; a dump is in one of them only after a crash."""
    files = {"MEMORY.DMP": bytes(9000), "dedicated.sys": dumps.full64() + bytes(3 * MEBIBYTE)}
    raw = disk(tmp_path, ntfs(tmp_path, files))
    target = tmp_path / "out.dmp"
    assert fetch_dump([Disk(raw, DiskFormat.RAW)], target, limit=LIMIT) == "dedicated.sys"
    assert target.read_bytes() == files["dedicated.sys"]
    assert target.stat().st_blocks * 512 < 2 * MEBIBYTE


def test_a_volume_without_partitions_and_a_disk_without_anything(tmp_path: Path) -> None:
    empty = tmp_path / "empty.raw"
    empty.write_bytes(bytes(MEBIBYTE))
    volume = ntfs(tmp_path, {"MEMORY.DMP": dumps.full32()})
    disks = [Disk(empty, DiskFormat.RAW), Disk(volume, DiskFormat.RAW, target=1)]
    target = tmp_path / "out.dmp"
    assert fetch_dump(disks, target, limit=LIMIT) == "MEMORY.DMP"
    assert target.read_bytes() == dumps.full32()


def test_no_dump_is_no_error(tmp_path: Path) -> None:
    raw = disk(tmp_path, ntfs(tmp_path, {"readme.txt": b"nothing here"}))
    assert fetch_dump([Disk(raw, DiskFormat.RAW)], tmp_path / "out.dmp", limit=LIMIT) == ""
    assert not (tmp_path / "out.dmp").exists()


def test_a_dump_beyond_the_limit_leaves_nothing(tmp_path: Path) -> None:
    raw = disk(tmp_path, ntfs(tmp_path, {"MEMORY.DMP": dumps.full64() + bytes(3 * MEBIBYTE)}))
    with pytest.raises(InfrastructureError, match="more than the 2097152 bytes that are allowed"):
        fetch_dump([Disk(raw, DiskFormat.RAW)], tmp_path / "out.dmp", limit=2 * MEBIBYTE)
    assert not (tmp_path / "out.dmp").exists()


@pytest.mark.parametrize("step", [3, 7, 64])
def test_a_damaged_file_system_is_no_dump_or_the_dump(tmp_path: Path, step: int) -> None:
    """Every so manieth sector of the volume's first megabyte is turned over: an answer, whatever it is."""
    volume = ntfs(tmp_path, {"MEMORY.DMP": dumps.full64()})
    content = bytearray(volume.read_bytes())
    for at in range(512, MEBIBYTE, 512 * step):
        content[at : at + 64] = bytes(255 - byte for byte in content[at : at + 64])
    volume.write_bytes(content)
    assert fetch_dump([Disk(volume, DiskFormat.RAW)], tmp_path / "out.dmp", limit=LIMIT) in ("", "MEMORY.DMP")


def test_an_image_that_is_none_is_said_so(tmp_path: Path) -> None:
    broken = tmp_path / "broken.qcow2"
    broken.write_bytes(b"no image")
    with pytest.raises(InfrastructureError, match="can't be searched for a dump"):
        fetch_dump([Disk(broken)], tmp_path / "out.dmp", limit=LIMIT)


def test_without_dissect_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_disk, "find_spec", lambda name: None)
    with pytest.raises(ToolMissingError, match=r"pip install 'regfilter-harness\[dumps\]'"):
        fetch_dump([], tmp_path / "out.dmp", limit=LIMIT)


class Crashed:
    """A machine with a system's disk and one for dumps, whose memory QEMU dumps as ELF."""

    name = "m"
    xml = "<domain/>"
    running = False
    events = ()

    def __init__(self, folder: Path, *disks: Disk) -> None:
        self.spec = MachineSpec("m", Hardware(memory_mib=8), folder, disks=disks)
        self.qemu_log = folder / "qemu.log"

    def suspend(self) -> None: ...

    def screenshot(self, path: Path) -> Path:
        path.write_bytes(b"png")
        return path

    def memory_dump(self, path: Path, *, timeout: float) -> str:
        path.write_bytes(b"\x7fELF")
        return "elf"


def evidence(folder: Path, machine: Crashed, error: GuestCrashed) -> dict[str, Any]:
    place = folder / "evidence"
    place.mkdir()
    collect(machine, place, error, memory_mib=8)
    index: dict[str, Any] = json.loads((place / "index.json").read_text())
    return index


def test_evidence_has_the_dump_that_the_guest_wrote(tmp_path: Path) -> None:
    system = tmp_path / "system.raw"
    system.write_bytes(bytes(MEBIBYTE))
    raw = disk(tmp_path, ntfs(tmp_path, {"MEMORY.DMP": dumps.full64()}))
    machine = Crashed(tmp_path, Disk(system, DiskFormat.RAW), Disk(raw, DiskFormat.RAW, target=1))
    index = evidence(tmp_path, machine, GuestCrashed(Bugcheck(0xD1, ())))
    assert read_dump(tmp_path / "evidence" / "memory.own-dmp.gz").parameters == dumps.PARAMETERS
    assert index["dump"]["code"] == dumps.CODE
    assert index["dump"]["differs"].endswith("and bugcheck 0xd1 was reported")
    assert not list((tmp_path / "evidence").glob("*.raw"))


def test_a_hang_or_a_guest_with_one_disk_is_not_searched(tmp_path: Path) -> None:
    raw = disk(tmp_path, ntfs(tmp_path, {"MEMORY.DMP": dumps.full64()}))
    one = Disk(raw, DiskFormat.RAW)
    read_only = Disk(raw, DiskFormat.RAW, target=1, read_only=True)
    hung = evidence(tmp_path, Crashed(tmp_path, one, one), GuestHung(Bugcheck.unknown("silent")))
    (tmp_path / "evidence").rename(tmp_path / "first")
    single = evidence(tmp_path, Crashed(tmp_path, one, read_only), GuestCrashed(Bugcheck.unknown("x")))
    for index in (hung, single):
        assert index["dump"] == {}
        assert "memory.own-dmp.gz" not in {piece["name"] for piece in index["pieces"]}
