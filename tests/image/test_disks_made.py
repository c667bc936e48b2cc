"""Disks made without root: what is on them, read back by programs that did not make them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from harness.errors import ToolMissingError, UsageError
from harness.image.ext4 import TarFile, make_ext4, make_tar
from harness.image.fat import make_fat_disk
from harness.image.tools import find_tool

UUID = "5354414e-4449-4e00-8000-00000000000f"


def tool(name: str) -> str:
    try:
        return find_tool(name)
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def fat_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool("mformat")
    image = tmp_path_factory.mktemp("fat") / "payload.raw"
    files = {
        "rt/start.cmd": b"@echo off\r\n",
        "rt/deep/a long name.sys": bytes(range(256)) * 300,
        "top.txt": b"",
    }
    make_fat_disk(image, files, size_mib=64, epoch=1_700_000_000)
    return image


def partition(image: Path, tmp_path: Path) -> Path:
    """The first partition, as its table says, in a file of its own."""
    table = image.read_bytes()[:512]
    assert table[510:] == b"\x55\xaa"
    active, _, kind, _, start, length = struct.unpack_from("<B3sB3sII", table, 446)
    assert (active, kind) == (0x80, 0x06)
    assert (start + length) * 512 == image.stat().st_size
    cut = tmp_path / "partition"
    cut.write_bytes(image.read_bytes()[start * 512 :])
    return cut


def test_a_checker_finds_nothing_wrong_with_a_fat_disk(fat_disk: Path, tmp_path: Path) -> None:
    checker = tool("fsck.fat")
    done = subprocess.run(
        [checker, "-n", "-v", str(partition(fat_disk, tmp_path))], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_fat_disks_files_are_read_back(fat_disk: Path, tmp_path: Path) -> None:
    """By a reader of FAT16 written from its specification, for this test alone."""
    from tests.image.fat16 import read_fat16

    files = read_fat16(partition(fat_disk, tmp_path).read_bytes())
    assert files == {
        "rt/start.cmd": b"@echo off\r\n",
        "rt/deep/a long name.sys": bytes(range(256)) * 300,
        "top.txt": b"",
    }


def test_the_same_files_make_the_same_fat_disk(tmp_path: Path) -> None:
    tool("mformat")
    disks = [tmp_path / "a.raw", tmp_path / "b.raw"]
    for disk in disks:
        make_fat_disk(disk, {"rt/x.cmd": b"x"}, size_mib=40, epoch=1_700_000_000)
    assert disks[0].read_bytes() == disks[1].read_bytes()


@pytest.mark.parametrize(("size", "message"), [(8, "from 40 to 2000 MiB"), (5000, "from 40 to 2000 MiB")])
def test_sizes_fat16_has_not_are_refused(tmp_path: Path, size: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_fat_disk(tmp_path / "x", {}, size_mib=size)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"39 MiB of files don't fit .* larger size_mib"):
        make_fat_disk(tmp_path / "x", {"big": bytes(39 << 20)}, size_mib=40)


def debugfs(image: Path, request: str) -> str:
    done = subprocess.run(
        [tool("debugfs"), "-R", request, str(image)], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture(scope="module")
def ext4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tool("mkfs.ext4")
    folder = tmp_path_factory.mktemp("ext4")
    files = [TarFile("keys/host", b"secret", 0o600), TarFile("a.exe", b"MZ", 0o755)]
    make_tar(folder / "x.tar", files, epoch=1_700_000_000)
    make_ext4(folder / "x.tar", folder / "x.raw", size_mib=16, uuid=UUID, label="x", epoch=1_700_000_000)
    return folder / "x.raw"


def test_an_ext4s_files_are_roots_with_their_modes(ext4: Path) -> None:
    listing = {
        line.split()[-1]: line.split() for line in debugfs(ext4, "ls -l /keys").splitlines() if line.strip()
    }
    assert listing["host"][1] == "100600"
    assert listing["host"][3:5] == ["0", "0"]
    assert debugfs(ext4, "cat /keys/host") == "secret"
    assert ext4.stat().st_mode & 0o777 == 0o600


def test_an_ext4_is_clean(ext4: Path) -> None:
    subprocess.run([tool("e2fsck"), "-f", "-n", str(ext4)], capture_output=True, check=True)


def test_making_an_ext4_leaves_nothing_unpacked(
    ext4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "tmp"
    work.mkdir(mode=0o777)
    monkeypatch.setenv("TMPDIR", str(work))
    shutil.copyfile(ext4.with_suffix(".tar"), tmp_path / "x.tar")
    make_ext4(tmp_path / "x.tar", tmp_path / "x.raw", size_mib=16, uuid=UUID, label="x", epoch=0)
    assert list(work.iterdir()) == []
