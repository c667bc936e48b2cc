"""Overlays, sealed images, and images from elsewhere that name other files."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.machine.describe.spec import DiskFormat
from harness.machine.disk import seal as seals
from harness.machine.disk.disks import create_overlay, inspect_disk
from harness.machine.disk.qcow2 import read_header
from harness.machine.disk.seal import file_digest, is_sealed, refuse_sealed, seal, verify

QEMU_IMG = shutil.which("qemu-img")
needs_qemu_img = pytest.mark.skipif(
    QEMU_IMG is None, reason="qemu-img is missing: apt-get install qemu-utils"
)


def qemu_img(*arguments: object) -> str:
    assert QEMU_IMG
    done = subprocess.run(
        [QEMU_IMG, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def qemu_io(image: Path, *commands: str) -> str:
    program = shutil.which("qemu-io")
    assert program, "qemu-io comes with qemu-img"
    arguments = [argument for command in commands for argument in ("-c", command)]
    done = subprocess.run([program, *arguments, str(image)], capture_output=True, text=True, check=True)
    assert "failed" not in done.stdout, done.stdout
    return done.stdout


@needs_qemu_img
@pytest.mark.parametrize("size", ["1M", "1G", "700G", "5T"])
def test_an_overlay_is_what_qemu_img_would_make(tmp_path: Path, size: str) -> None:
    base, overlay = tmp_path / "base.qcow2", tmp_path / "overlay.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", base, size)
    qemu_io(base, "write -P 7 64k 64k")
    create_overlay(overlay, base, DiskFormat.QCOW2)
    assert "No errors were found" in qemu_img("check", overlay)
    ours, theirs = read_header(overlay), tmp_path / "theirs.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", base, theirs)
    assert ours == read_header(theirs)
    qemu_io(overlay, "read -P 7 64k 64k", "write -P 9 512k 64k", "read -P 9 512k 64k", "read -P 0 256k 64k")
    assert "No errors were found" in qemu_img("check", overlay)
    qemu_io(base, "read -P 0 512k 64k")  # what was written went to the overlay alone


@needs_qemu_img
def test_an_overlay_over_a_raw_disk_that_ends_within_a_sector(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base.img", tmp_path / "overlay.qcow2"
    base.write_bytes(b"x" * 1000)
    create_overlay(overlay, base, DiskFormat.RAW)
    header = read_header(overlay)
    assert header is not None
    assert (header.virtual_size, header.backing_format) == (1024, "raw")
    assert overlay.stat().st_mode & 0o777 == 0o600


def test_an_overlay_never_takes_the_place_of_something(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base.img", tmp_path / "overlay.qcow2"
    base.write_bytes(bytes(512))
    overlay.write_bytes(b"somebody's work")
    with pytest.raises(InfrastructureError, match="exists already"):
        create_overlay(overlay, base, DiskFormat.RAW)
    assert overlay.read_bytes() == b"somebody's work"


def test_an_overlay_of_what_is_no_qcow2_or_not_there(tmp_path: Path) -> None:
    base = tmp_path / "base.img"
    with pytest.raises(InfrastructureError, match="No such file"):
        create_overlay(tmp_path / "o", base, DiskFormat.QCOW2)
    base.write_bytes(bytes(5000))
    with pytest.raises(UsageError, match="no qcow2"):
        create_overlay(tmp_path / "o", base, DiskFormat.QCOW2)
    with pytest.raises(UsageError, match="convert"):
        create_overlay(tmp_path / "o", base, DiskFormat.VHDX)
    assert not (tmp_path / "o").exists()


# -- images from elsewhere -----------------------------------------------------------------------------------


@needs_qemu_img
def test_a_whole_disk_is_described(tmp_path: Path) -> None:
    for format in DiskFormat:
        disk = tmp_path / f"disk.{format}"
        qemu_img("create", "-q", "-f", format, disk, "64M")
        assert inspect_disk(disk, format).virtual_size == 64 << 20


@needs_qemu_img
def test_a_disk_that_names_another_file_is_refused(tmp_path: Path) -> None:
    secret, disk = tmp_path / "secret.img", tmp_path / "disk.qcow2"
    secret.write_bytes(b"secret".ljust(1 << 20))
    qemu_img("create", "-q", "-f", "qcow2", "-F", "raw", "-b", secret, disk)
    with pytest.raises(UsageError, match=r"needs '.*secret\.img'"):
        inspect_disk(disk, DiskFormat.QCOW2)


@needs_qemu_img
def test_an_external_data_file_is_refused_before_qemu_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, disk = tmp_path / "data.raw", tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", "-o", f"data_file={data}", disk, "1M")
    monkeypatch.setenv("PATH", str(tmp_path))  # no qemu-img to be asked
    with pytest.raises(UsageError, match="external data file"):
        inspect_disk(disk, DiskFormat.QCOW2)


@needs_qemu_img
def test_a_qcow2_passed_off_as_raw_is_refused(tmp_path: Path) -> None:
    """A guest that sees the header as content could write one that names files of the host."""
    disk = tmp_path / "disk.img"
    qemu_img("create", "-q", "-f", "qcow2", disk, "1M")
    with pytest.raises(UsageError, match="said to be raw"):
        inspect_disk(disk, DiskFormat.RAW)


@needs_qemu_img
def test_the_wrong_format_is_named(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4096))
    with pytest.raises(UsageError, match="can't be read as qcow2"):
        inspect_disk(disk, DiskFormat.QCOW2)
    with pytest.raises(UsageError, match="No such file"):
        inspect_disk(tmp_path / "none", DiskFormat.RAW)


def header(*, cluster_bits: int = 16, name_at: int = 0, name_size: int = 0, tail: bytes = b"") -> bytes:
    fields = (b"QFI\xfb", 3, name_at, name_size, cluster_bits, 1 << 20, 0, 1, 0, 0, 1, 0, 0)
    return struct.pack(">4sIQIIQIIQQIIQ", *fields) + struct.pack(">QQQII", 0, 0, 0, 4, 104) + tail


@pytest.mark.parametrize(
    "content",
    [
        header(cluster_bits=40),
        header(name_at=1 << 40, name_size=10),
        header(name_at=200, name_size=5000),
        header(tail=struct.pack(">II", 0xE2792ACA, 1 << 31)),
        header()[:80],
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path, content: bytes) -> None:
    disk = tmp_path / "disk.qcow2"
    disk.write_bytes(content)
    with pytest.raises(UsageError, match=r"damaged|cut off"):
        read_header(disk)


# -- seals ---------------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.qcow2"
    path.write_bytes(b"content")
    return path


def test_a_sealed_image_is_read_only_and_refused_to_writers(image: Path) -> None:
    refuse_sealed(image)
    seal(image)
    assert is_sealed(image)
    assert image.stat().st_mode & 0o777 == 0o444
    with pytest.raises(UsageError, match="make an overlay"):
        refuse_sealed(image)


def test_a_change_after_sealing_is_found(image: Path) -> None:
    seal(image)
    verify(image)
    image.chmod(0o644)
    image.write_bytes(b"CONTENT")
    with pytest.raises(InfrastructureError, match="was changed after it was sealed"):
        verify(image)


def test_a_change_that_hides_its_time_is_found_by_a_thorough_look(image: Path) -> None:
    found = seal(image)
    image.chmod(0o644)
    image.write_bytes(b"CONTENT")
    os.utime(image, ns=(found.mtime_ns, found.mtime_ns))
    verify(image)
    with pytest.raises(InfrastructureError, match="was changed"):
        verify(image, thorough=True)


def test_a_copied_image_is_read_again_and_found_to_be_the_same(image: Path, tmp_path: Path) -> None:
    seal(image)
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for path in (image, image.with_name("image.qcow2.seal")):
        shutil.copy(path, copy)
    assert verify(copy / "image.qcow2").sha256 == seal(image).sha256


def test_an_unsealed_or_missing_image_is_not_verified(image: Path) -> None:
    with pytest.raises(InfrastructureError, match="not sealed"):
        verify(image)
    seal(image)
    image.unlink()
    with pytest.raises(InfrastructureError, match="can't read"):
        verify(image)


def test_a_damaged_seal_is_no_seal(image: Path) -> None:
    seal(image)
    image.with_name("image.qcow2.seal").write_text('{"sha256": 5')
    with pytest.raises(InfrastructureError, match="its seal is damaged"):
        verify(image)


def test_a_digest_is_computed_once_per_content(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    compute = seals._compute
    monkeypatch.setattr(seals, "_compute", lambda path: (read.append(path), compute(path))[1])
    cache = tmp_path / "cache"
    first = file_digest(image, cache)
    assert (file_digest(image, cache), len(read)) == (first, 1)
    image.write_bytes(b"other content")
    assert file_digest(image, cache) != first
    assert len(read) == 2
