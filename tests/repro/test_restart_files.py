"""Which files of a bundle a machine is given, and what is said where some of them are missing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import UsageError
from harness.machine.describe.spec import Disk, Firmware, Hardware, SealedImage
from harness.machine.keep.store import Environment as Conditions
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
from harness.repro.restart import check_restart, restarted
from harness.results.outcome import Outcome
from harness.targets import parse_target

_DIGEST = "ab" * 32
_CONDITIONS = Conditions(_DIGEST, "domain", "7.2.22", "9.0.0", "tcg", "any")
_TARGET = parse_target("vm:stand-in")
_IMAGE = SealedImage(
    "it",
    _DIGEST,
    Hardware(firmware=Firmware.UEFI_SECURE, tpm=True),
    (Disk(Path("/first")), Disk(Path("/medium"), read_only=True), Disk(Path("/second"))),
)
_FILES = (
    (MachineFileKind.DISK, "disk0.0.qcow2", 0, 0),
    (MachineFileKind.DISK, "disk0.1.qcow2", 0, 1),
    (MachineFileKind.DISK, "disk1.0.qcow2", 1, 0),
    (MachineFileKind.VARIABLES, "variables", 0, 0),
    (MachineFileKind.TPM, "tpm2-00.permall", 0, 0),
    (MachineFileKind.TPM, "tpm2-00.volatilestate", 0, 0),
    (MachineFileKind.ELF, "memory.elf", 0, 0),
    (MachineFileKind.STATE, "state", 0, 0),
)


class _Machines:
    """Unpacks into a folder, and starts nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kept: Any = None

    def conditions(self, image: SealedImage) -> Conditions:
        return _CONDITIONS

    @contextmanager
    def started_from(self, image: SealedImage, unpack: Any) -> Iterator[None]:
        self.kept = unpack(self.folder)
        yield


@pytest.fixture
def guests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A host where nothing is missing; its machines are of `_IMAGE`."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.repro.restart._missing_here", lambda target: iter(()))
    made = SimpleNamespace(image=_IMAGE, identity=SimpleNamespace(name="vm:it"), ways=())
    return SimpleNamespace(machines=_Machines(tmp_path / "machine"), make=lambda target, digest="": made)


def _bundle(path: Path, without: str = "", *, size: int = 0, conditions: Conditions | None = None) -> Bundle:
    """Without the files whose names begin so, the first of them of another `size`."""
    files, members = [], {}
    header = b"QFI\xfb" + bytes(3) + b"\x03" + bytes(15) + b"\x10" + bytes(80)
    for kind, name, disk, layer in _FILES:
        data = header if kind is MachineFileKind.DISK else name.encode()
        file = MachineFile(kind, f"machine/{name}", len(data), hashlib.sha256(data).hexdigest(), disk, layer)
        if not without or not name.startswith(without):
            files.append(file)
            members[file.member] = data
    if size:
        files[0] = replace(files[0], size=size)
    manifest = Manifest(
        FORMAT,
        "0",
        "now",
        "vm:it",
        TestRecord("t.py::test_it", "test_it"),
        GuestRecord("stand-in", "10.0.19045", "x64", template=_DIGEST, conditions=conditions),
        Failure(Outcome.FAIL, "AssertionError"),
        machine=tuple(files),
        no_machine="the host was full" if without else "",
    )
    write_archive(path, {**encode_manifest(manifest), **members})
    return Bundle.open(path)


@pytest.mark.parametrize("resume", [False, True])
def test_a_machine_gets_its_own_files_and_no_dump(tmp_path: Path, guests: Any, resume: bool) -> None:
    with _bundle(tmp_path / "b.zip") as bundle:
        make = guests.make(None)
        with restarted(bundle, make, guests, resume=resume):
            kept = guests.machines.kept
    folder = guests.machines.folder
    assert kept.disks == (
        (folder / "disk0.qcow2", folder / "disk0-below1.qcow2"),
        (folder / "disk1.qcow2",),
    )
    assert kept.variables.read_bytes() == b"variables"
    assert sorted(path.name for path in kept.tpm.iterdir()) == ["tpm2-00.permall", "tpm2-00.volatilestate"]
    assert not (folder / "memory.elf").exists(), "nobody starts on a dump"
    assert (folder / "state").exists() is resume
    if resume:
        assert kept.state.file.read_bytes() == b"state"


@pytest.mark.parametrize(
    ("without", "said"),
    [
        ("disk1", "not all of disk 1: layers none (the host was full)"),
        ("disk0.0", "not all of disk 0: layers [1]"),
        ("variables", "no variables of the UEFI firmware (the host was full)"),
        ("tpm", "no state of a TPM"),
    ],
)
def test_what_the_machine_would_lack_is_told(tmp_path: Path, guests: Any, without: str, said: str) -> None:
    with _bundle(tmp_path / "b.zip", without) as bundle, pytest.raises(UsageError) as refused:
        check_restart(bundle, _TARGET, guests, resume=False)
    assert said in str(refused.value)
    with _bundle(tmp_path / "whole.zip") as bundle:
        assert check_restart(bundle, _TARGET, guests, resume=False).image is _IMAGE


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        (_CONDITIONS, ""),
        (replace(_CONDITIONS, emulator="8.0"), "can't be resumed: emulator 8.0 is now 7.2.22"),
        (None, "doesn't say what its state was saved by"),
    ],
)
def test_a_state_is_loaded_where_all_is_as_it_was(
    tmp_path: Path, guests: Any, conditions: Conditions | None, said: str
) -> None:
    with _bundle(tmp_path / "b.zip", conditions=conditions) as bundle:
        assert check_restart(bundle, _TARGET, guests, resume=False).image is _IMAGE
        if not said:
            assert check_restart(bundle, _TARGET, guests, resume=True).image is _IMAGE
            return
        with pytest.raises(UsageError, match=said):
            check_restart(bundle, _TARGET, guests, resume=True)


def test_without_a_state_it_can_only_be_switched_on(tmp_path: Path, guests: Any) -> None:
    with _bundle(tmp_path / "b.zip", "state", conditions=_CONDITIONS) as bundle:
        assert check_restart(bundle, _TARGET, guests, resume=False).image is _IMAGE
        with pytest.raises(UsageError, match=r"resume from \(the host was full\); without --resume"):
            check_restart(bundle, _TARGET, guests, resume=True)


def test_more_than_there_is_room_for_is_told(
    tmp_path: Path, guests: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        _bundle(tmp_path / "b.zip", size=17 << 30) as bundle,
        pytest.raises(UsageError, match="at most 17179869184 are read"),
    ):
        check_restart(bundle, _TARGET, guests, resume=False)
    monkeypatch.setattr("harness.machine.keep.places.free_space", lambda path: 1 << 20)
    with _bundle(tmp_path / "c.zip") as bundle, pytest.raises(UsageError, match="1 MiB are free"):
        check_restart(bundle, _TARGET, guests, resume=False)


def test_a_bundle_without_a_machine_says_how_to_have_one(tmp_path: Path, guests: Any) -> None:
    with _bundle(tmp_path / "b.zip", "") as bundle:
        bundle.manifest = replace(bundle.manifest, machine=())
        with pytest.raises(UsageError, match="--bundle-machine"):
            check_restart(bundle, _TARGET, guests, resume=False)


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path, guests: Any) -> None:
    made = guests.make(None)
    made.image = replace(_IMAGE, digest="cd" * 32)
    with _bundle(tmp_path / "b.zip", "tpm") as bundle, pytest.raises(UsageError) as refused:
        check_restart(bundle, _TARGET, guests, resume=True)
    said = str(refused.value)
    assert "is another one, cdcdcdcdcdcd here and abababababab then" in said
    assert "no state of a TPM" in said
