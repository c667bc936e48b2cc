"""Disks and memory of a machine in a bundle: as they were, within limits, and nothing taken on trust."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import InfrastructureError, UsageError
from harness.machine.describe.spec import Disk, DiskFormat, Firmware, Hardware, MachineSpec
from harness.machine.disk.disks import create_overlay
from harness.repro import machine_files
from harness.repro.archive import write_archive
from harness.repro.bundle import (
    FORMAT,
    Bundle,
    GuestRecord,
    MachineFile,
    MachineFileKind,
    Manifest,
    TestRecord,
    encode_manifest,
)
from harness.repro.failure import Failure
from harness.repro.journal import Journal
from harness.repro.keep import Circumstances, write_bundle
from harness.repro.machine_files import extract_machine, machine_state
from harness.repro.missing import missing
from harness.results.outcome import Outcome
from tests.repro.commands import harness

_TEST = TestRecord("t.py::test_it[vm:it]", "t.py::test_it")
_GUEST = GuestRecord("stand-in", "5.2.3790", "x86", template="ab" * 32)
_FAILURE = Failure(Outcome.FAIL, "AssertionError")
#: A dump with a hole of 8 MiB.
_MEMORY = b"\x7fELF" + os.urandom(5000) + bytes(8 << 20) + b"end"


@dataclass
class _Machine:
    spec: MachineSpec
    running: bool = True
    dumps: bool = True

    def suspend(self) -> None:
        self.running = False

    def memory_dump(self, path: Path, *, timeout: float) -> MachineFileKind:
        assert not self.running, "files of a machine that runs are of no moment"
        if not self.dumps:
            raise InfrastructureError("QEMU ended by itself")
        path.write_bytes(_MEMORY)
        return MachineFileKind.ELF


@dataclass
class _Guest:
    """What is asked of a guest that is a machine."""

    machine: _Machine
    watch: Any = field(default_factory=lambda: _Watch())


class _Watch:
    def stop(self) -> None:
        """It watches nothing."""


def _write(disk: Path, what: str) -> None:
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", f"write {what}", disk], check=True, capture_output=True)


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Guest:
    """A clone's overlay on a template's on an image; each of the three has a pattern of its own."""
    pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")
    if shutil.which("qemu-io") is None:
        pytest.skip("qemu-io is missing: apt-get install qemu-utils")

    def save(machine: _Machine, path: Path, *, timeout: float) -> None:
        assert not machine.running, "a machine that runs can't be saved"
        path.write_bytes(b"RAM and devices")

    monkeypatch.setattr("harness.machine.hypervisor.migration.keep_ram", lambda machine: None)
    monkeypatch.setattr("harness.machine.hypervisor.migration.save_state", save)
    folder = tmp_path / "machine"
    folder.mkdir()
    base, below, own = folder / "base.raw", folder / "template.qcow2", folder / "own.qcow2"
    base.write_bytes(b"\x11" * (1 << 20))
    create_overlay(below, base, DiskFormat.RAW)
    _write(below, "-P 0x22 64k 64k")
    create_overlay(own, below, DiskFormat.QCOW2)
    _write(own, "-P 0x33 128k 64k")
    (folder / "tpm").mkdir()
    (folder / "tpm" / "tpm2-00.permall").write_bytes(b"sealed")
    (folder / "VARS.fd").write_bytes(b"boot order")
    spec = MachineSpec(
        "m",
        Hardware(memory_mib=8, firmware=Firmware.UEFI, tpm=True),
        folder,
        disks=(Disk(base, DiskFormat.RAW, read_only=True), Disk(own)),
        firmware_variables=folder / "VARS.fd",
    )
    return _Guest(_Machine(spec))


def _keep(guest: _Guest, folder: Path) -> Path:
    with machine_state(guest, folder) as state:  # type: ignore[arg-type]
        about = Circumstances("vm:it", _TEST, _GUEST, _FAILURE, machine=state.files, no_machine=state.missing)
        return folder / write_bundle(folder, "it", Journal(), about)


def test_what_the_machine_wrote_comes_out_as_it_was(guest: _Guest, tmp_path: Path) -> None:
    bundle = _keep(guest, tmp_path)
    assert not list(guest.machine.spec.folder.glob("bundle.*")), "dump or state were left behind"
    assert bundle.stat().st_size < 1 << 20, "zeros take no room"
    done = harness("repro", bundle, "--extract", tmp_path / "out")
    assert done.code == 0, done.err
    nonvolatile = ("variables.fd", "tpm/tpm2-00.permall")
    names = ("disk0.qcow2", "disk0-below1.qcow2", *nonvolatile, "memory.elf", "state")
    own, below, variables, tpm, memory, state = (tmp_path / "out" / name for name in names)
    assert done.out.split() == [str(tmp_path / "out" / name) for name in names]
    assert (variables.read_bytes(), tpm.read_bytes()) == (b"boot order", b"sealed")
    assert state.read_bytes() == b"RAM and devices"
    assert memory.read_bytes() == _MEMORY
    assert memory.stat().st_blocks * 512 < 4 << 20, "zeros take no room here either"
    assert {path.stat().st_mode & 0o777 for path in (own, below, variables, tpm, memory)} == {0o600}
    base = shutil.move(guest.machine.spec.folder / "base.raw", tmp_path / "image.raw")
    shutil.rmtree(guest.machine.spec.folder)
    for path, format, lower in ((below, "raw", base), (own, "qcow2", below)):
        subprocess.run(["qemu-img", "rebase", "-u", "-F", format, "-b", lower, path], check=True)
        subprocess.run(["qemu-img", "check", path], check=True, capture_output=True)
    whole = tmp_path / "whole.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", own, whole], check=True)
    blocks = {whole.read_bytes()[at : at + (64 << 10)][:1] for at in range(0, 256 << 10, 64 << 10)}
    assert blocks == {b"\x11", b"\x22", b"\x33"}
    assert harness("repro", bundle, "--extract", tmp_path / "out").code == 2, "nothing is overwritten"
    assert memory.read_bytes() == _MEMORY


def test_what_can_not_be_had_is_told_and_the_rest_is_kept(
    guest: _Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.machine.dumps = False
    with Bundle.open(_keep(guest, tmp_path)) as bundle:
        disks = [file for file in bundle.manifest.machine if file.kind is MachineFileKind.DISK]
        assert [(file.layer, file.backing, file.backing_format) for file in disks] == [
            (0, "machine/template.qcow2", "qcow2"),
            (1, "machine/base.raw", "raw"),
        ]
        assert bundle.manifest.no_machine == "memory: QEMU ended by itself"
    monkeypatch.setattr(machine_files, "MAX_MACHINE", 1 << 20)
    guest.machine.dumps = True
    with Bundle.open(_keep(guest, tmp_path)) as bundle:
        assert MachineFileKind.ELF not in {file.kind for file in bundle.manifest.machine}
        assert "memory: with 8 MiB more" in bundle.manifest.no_machine
        assert "room for 1 MiB" in bundle.manifest.no_machine


# -- from elsewhere ------------------------------------------------------------------------------------------

Change = Callable[[MachineFile], MachineFile]


def _made(path: Path, data: bytes, *files: MachineFile) -> Path:
    manifest = Manifest(FORMAT, "0", "now", "vm:it", _TEST, _GUEST, _FAILURE, machine=files)
    write_archive(path, {**encode_manifest(manifest), "machine/x": data})
    return path


def _file(kind: MachineFileKind, data: bytes) -> MachineFile:
    return MachineFile(kind, "machine/x", len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (MachineFileKind.ELF, lambda file: replace(file, sha256="00" * 32), "digest differs"),
        (MachineFileKind.ELF, lambda file: replace(file, size=file.size - 1), "larger than"),
        (MachineFileKind.ELF, lambda file: replace(file, size=17 << 30), "are read"),
        (MachineFileKind.ELF, lambda file: replace(file, size=-1), "are read"),
        (MachineFileKind.DISK, lambda file: file, "no overlay"),
    ],
)
def test_a_bundle_that_lies_leaves_nothing(
    tmp_path: Path, kind: MachineFileKind, change: Change, said: str
) -> None:
    data = b"data" * 1000
    file = change(_file(kind, data))
    with (
        Bundle.open(_made(tmp_path / "b.zip", data, file)) as bundle,
        pytest.raises(UsageError, match=said) as caught,
    ):
        extract_machine(bundle, tmp_path / "out")
    assert "b.zip" in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_a_disk_whose_data_are_in_another_file_is_refused(tmp_path: Path) -> None:
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is missing: apt-get install qemu-utils")
    disk = tmp_path / "evil.qcow2"
    options = f"data_file={tmp_path / 'elsewhere'},data_file_raw=on"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, disk, "1M"], check=True)
    data = disk.read_bytes()
    bundle_file = _made(tmp_path / "b.zip", data, _file(MachineFileKind.DISK, data))
    with Bundle.open(bundle_file) as bundle, pytest.raises(UsageError, match="no overlay"):
        extract_machine(bundle, tmp_path / "out")


def test_state_that_can_not_be_a_machines_is_left_out_and_told(guest: _Guest, tmp_path: Path) -> None:
    variables = guest.machine.spec.firmware_variables
    assert variables is not None
    variables.unlink()
    variables.symlink_to("/etc/hostname")
    with Bundle.open(_keep(guest, tmp_path)) as bundle:
        kinds = [file.kind for file in bundle.manifest.machine]
        rest = [MachineFileKind.ELF, MachineFileKind.STATE]
        assert kinds == [MachineFileKind.DISK, MachineFileKind.DISK, *rest]
        assert bundle.manifest.no_machine.startswith("UEFI variables and TPM: ")


def test_a_tpm_file_comes_out_under_names_of_swtpm_alone(tmp_path: Path) -> None:
    bad = replace(_file(MachineFileKind.TPM, b"x"), member="machine/x")
    with (
        Bundle.open(_made(tmp_path / "b.zip", b"x", bad)) as bundle,
        pytest.raises(UsageError, match="no name of a TPM's state"),
    ):
        extract_machine(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    file = _file(MachineFileKind.ELF, b"x")
    with (
        Bundle.open(_made(tmp_path / "b.zip", b"x", file, file)) as bundle,
        pytest.raises(UsageError, match="twice"),
    ):
        extract_machine(bundle, tmp_path / "out")


def test_a_host_is_told_what_it_lacks_for_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")
    monkeypatch.setattr("harness.machine.describe.firmware.descriptor_folders", lambda: (tmp_path,))
    monkeypatch.setenv("PATH", str(tmp_path))
    manifest = Manifest(FORMAT, "0", "now", "vm:win11-24h2", _TEST, _GUEST, _FAILURE)
    write_archive(tmp_path / "b.zip", encode_manifest(manifest))
    with Bundle.open(tmp_path / "b.zip") as bundle:
        _, trouble = missing(bundle, "vm:win11-24h2")
    said = "\n".join(trouble)
    for word in ("QEMU for x86_64 is missing", "no UEFI firmware", "swtpm is missing", "is not built here"):
        assert word in said
