"""Overlays from elsewhere on a disk of this host: what they name is not read, what they are is checked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.machine.describe.spec import Disk, DiskFormat
from harness.machine.disk.disks import create_overlay
from harness.machine.disk.layers import lay_over
from harness.machine.disk.qcow2 import read_header

_BLOCK = 64 << 10


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def base(tmp_path: Path) -> Disk:
    for tool in ("qemu-img", "qemu-io"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: apt-get install qemu-utils")
    path = tmp_path / "base.raw"
    path.write_bytes(b"\x11" * (1 << 20))
    return Disk(path, DiskFormat.RAW)


def _overlays(folder: Path) -> tuple[Path, Path]:
    """Two overlays as another host made them, with what they lay on there gone."""
    other, below, top = folder / "other.raw", folder / "below.qcow2", folder / "top.qcow2"
    other.write_bytes(b"\x77" * (1 << 20))
    create_overlay(below, other, DiskFormat.RAW)
    create_overlay(top, below, DiskFormat.QCOW2)
    _run("qemu-io", "-f", "qcow2", "-c", f"write -P 0x22 {_BLOCK} {_BLOCK}", below)
    _run("qemu-io", "-f", "qcow2", "-c", f"write -P 0x33 {2 * _BLOCK} {_BLOCK}", top)
    other.unlink()
    return below, top


def test_they_lie_on_this_hosts_disk(base: Disk, tmp_path: Path) -> None:
    below, top = _overlays(tmp_path)
    before = base.path.read_bytes()
    assert lay_over([top, below], base) == top
    whole = tmp_path / "whole.raw"
    _run("qemu-img", "convert", "-O", "raw", top, whole)
    data = whole.read_bytes()
    assert [data[at] for at in range(0, 4 * _BLOCK, _BLOCK)] == [0x11, 0x22, 0x33, 0x11]
    assert base.path.read_bytes() == before


@pytest.mark.parametrize("named", ["/etc/passwd", "pipe", "json:{}", "nbd://127.0.0.1:1/x", "top.qcow2"])
def test_what_they_name_is_not_opened(base: Disk, tmp_path: Path, named: str) -> None:
    """A pipe hangs who opens it; "json:" and "nbd:" are QEMU's ways to more than files."""
    os.mkfifo(tmp_path / "pipe")
    below, top = _overlays(tmp_path)
    name = str(tmp_path / named) if named in ("pipe", "top.qcow2") else named
    for path in (below, top):
        _run("qemu-img", "rebase", "-u", "-F", "raw", "-b", name, path)
    lay_over([top, below], base)
    headers = [read_header(path) for path in (top, below)]
    assert [(found.backing_file, found.backing_format) for found in headers if found] == [
        (str(below), "qcow2"),
        (str(base.path), "raw"),
    ]


def _made(*options: str) -> list[str]:
    return ["qemu-img", "create", "-q", "-f", "qcow2", *options]


@pytest.mark.parametrize(
    ("options", "size", "said"),
    [
        (["-o", "data_file={folder}/elsewhere"], "1M", "has its data in itself"),
        ([], "1M", "has its data in itself"),  # it names no disk: there would be nothing of the image's
        (["-u", "-F", "raw", "-b", "/dev/null"], "2M", "written over another one"),
        (["-u", "-F", "raw", "-b", "/dev/null"], "1P", "written over another one"),
    ],
)
def test_what_is_no_overlay_of_that_disk_is_refused(
    base: Disk, tmp_path: Path, options: list[str], size: str, said: str
) -> None:
    disk = tmp_path / "disk.qcow2"
    _run(*_made(*(option.format(folder=tmp_path) for option in options)), disk, size)
    with pytest.raises(UsageError, match=said):
        lay_over([disk], base)


def test_one_with_snapshots_and_one_that_is_damaged_are_refused(base: Disk, tmp_path: Path) -> None:
    below, top = _overlays(tmp_path)
    lay_over([top, below], base)
    _run("qemu-img", "snapshot", "-c", "mine", top)
    with pytest.raises(UsageError, match="snapshots"):
        lay_over([top], base)
    data = bytearray(below.read_bytes())
    data[_BLOCK : _BLOCK + 8] = (1 << 60).to_bytes(8, "big")  # where its reference counts are
    below.write_bytes(data)
    with pytest.raises(UsageError, match="qemu-img"):
        lay_over([below], base)
