"""KVM or TCG: the boot sector that decides it, with a real QEMU, and QEMUs that misbehave."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.machine.describe.spec import Accelerator
from harness.machine.hypervisor import accelerator
from harness.machine.hypervisor.accelerator import Finding, find_accelerator
from tests.machine.test_tpm import users_of

ROOM = 60.0


def fake_qemu(folder: Path, script: str) -> str:
    path = folder / "qemu"
    path.write_text(f"#!/bin/sh\necho run >> {folder}/runs\n{script}\n")
    path.chmod(0o755)
    return str(path)


def runs(folder: Path) -> int:
    path = folder / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    return path


def test_a_guest_that_boots_means_kvm_and_is_asked_once(tmp_path: Path, device: Path) -> None:
    qemu = fake_qemu(tmp_path, f"exit {accelerator._EXIT}")
    for _ in range(2):
        found = find_accelerator(tmp_path / "cache", qemu=qemu, device=device, seconds=ROOM)
        assert found.accelerator is Accelerator.KVM
    assert runs(tmp_path) == 1


def test_a_guest_that_hangs_is_ended_and_means_tcg(tmp_path: Path, device: Path) -> None:
    qemu = fake_qemu(tmp_path, f"exec tail -f {tmp_path}/runs")
    found = find_accelerator(tmp_path / "cache", qemu=qemu, device=device, seconds=0.5)
    assert found.accelerator is Accelerator.TCG
    assert "0.5 s" in found.reason
    # However far it had come.
    assert users_of(tmp_path) == set()


@pytest.mark.parametrize("code", [0, 1, 42])
def test_a_qemu_that_ends_otherwise_means_tcg_with_its_words(tmp_path: Path, device: Path, code: int) -> None:
    qemu = fake_qemu(tmp_path, f"echo 'failed to initialize kvm' >&2; exit {code}")
    found = find_accelerator(tmp_path / "cache", qemu=qemu, device=device, seconds=ROOM)
    assert found.accelerator is Accelerator.TCG
    assert "failed to initialize kvm" in found.reason


def test_an_answer_of_an_earlier_boot_or_another_qemu_is_void(
    tmp_path: Path, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot_id = tmp_path / "boot_id"
    monkeypatch.setattr(accelerator, "_BOOT_ID", boot_id)
    for number, boot in enumerate(("first", "first", "second"), start=1):
        boot_id.write_text(boot)
        qemu = fake_qemu(tmp_path, f"exit {accelerator._EXIT}") if number == 1 else str(tmp_path / "qemu")
        find_accelerator(tmp_path / "cache", qemu=qemu, device=device, seconds=ROOM)
    assert runs(tmp_path) == 2
    (tmp_path / "cache/accelerator.json").write_text("{")
    find_accelerator(tmp_path / "cache", qemu=qemu, device=device, seconds=ROOM)
    assert runs(tmp_path) == 3


def test_without_a_device_nothing_is_tried(tmp_path: Path) -> None:
    qemu = fake_qemu(tmp_path, "exit 0")
    found = find_accelerator(tmp_path / "cache", qemu=qemu, device=tmp_path / "none", seconds=ROOM)
    assert found.accelerator is Accelerator.TCG
    assert runs(tmp_path) == 0


def test_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    finding = Finding(Accelerator.TCG, "this host is a toaster")
    monkeypatch.setattr(accelerator, "find_accelerator", lambda cache: finding)
    for _ in range(3):
        assert accelerator.choose_accelerator(tmp_path) is Accelerator.TCG
    assert [r.getMessage() for r in caplog.records] == ["machines run on TCG: this host is a toaster"]


def test_the_boot_sector_boots_where_a_guest_does(tmp_path: Path, device: Path) -> None:
    """On TCG, which every host has: the sector itself works, so a failure on KVM is KVM's."""
    real = shutil.which("qemu-system-x86_64")
    if real is None:
        pytest.skip("qemu-system-x86_64 is missing: apt-get install qemu-system-x86")
    qemu = fake_qemu(tmp_path, f'shift 2; exec {real} -accel tcg "$@"')
    found = find_accelerator(tmp_path / "cache", qemu=qemu, device=device, seconds=ROOM)
    assert found.accelerator is Accelerator.KVM, found.reason


def test_the_boot_sectors_bytes_are_those_of_its_source(tmp_path: Path) -> None:
    source = Path(accelerator.__file__).with_name("accelerator_probe.S")
    compiler, linker = shutil.which("gcc"), shutil.which("ld")
    if compiler is None or linker is None:
        pytest.skip("gcc and ld are missing: apt-get install gcc")
    binary = tmp_path / "probe.bin"
    subprocess.run([compiler, "-c", "-m32", "-o", str(tmp_path / "o"), str(source)], check=True)
    flags = ["-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary"]
    subprocess.run([linker, *flags, "-o", str(binary), str(tmp_path / "o")], check=True)
    assert binary.read_bytes() == accelerator._BOOT_SECTOR
