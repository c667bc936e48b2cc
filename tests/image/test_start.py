"""An installed system that is started: what a change writes stays, what was only asked leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from harness.errors import InfrastructureError, ToolMissingError
from harness.image.install.start import started
from harness.image.tools import find_tool, run
from harness.machine.describe.spec import (
    Accelerator,
    Disk,
    DiskFormat,
    Firmware,
    Hardware,
    MachineSpec,
    SealedImage,
)
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.keep.session import Session


class Here:
    """As much of a session as a start needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gone: list[str] = []

    def new_name(self, kind: str) -> str:
        return f"{kind}1"

    def disk_folder(self, name: str) -> Path:
        (self.folder / "disks").mkdir(exist_ok=True)
        return self.folder / "disks"

    machine_folder = disk_folder

    def expect_machine(self, name: str) -> None:
        pass

    def machine_gone(self, name: str) -> None:
        self.gone.append(name)


class WritingHost:
    """Whose machines write to their firmware's variables and to their TPM."""

    spec: MachineSpec

    @contextmanager
    def start(self, spec: MachineSpec) -> Iterator[Machine]:
        self.spec = spec
        assert spec.firmware_variables is not None
        assert spec.tpm_state is not None
        spec.firmware_variables.write_bytes(b"after")
        (spec.tpm_state / "tpm2").write_bytes(b"after")
        yield cast("Machine", None)


@pytest.fixture
def image(tmp_path: Path) -> SealedImage:
    try:
        tool = find_tool("qemu-img")
    except ToolMissingError as error:
        pytest.skip(str(error))
    home = tmp_path / "image"
    (home / "tpm").mkdir(parents=True)
    (home / "tpm" / "tpm2").write_bytes(b"before")
    (home / "variables.fd").write_bytes(b"before")
    run([tool, "create", "-q", "-f", "qcow2", str(home / "disk.qcow2"), "1M"])
    return SealedImage(
        "w11",
        "d",
        Hardware(firmware=Firmware.UEFI, tpm=True),
        (Disk(home / "disk.qcow2", DiskFormat.QCOW2),),
        firmware_variables=home / "variables.fd",
        tpm_state=home / "tpm",
    )


def start(image: SealedImage, folder: Path, *, lasting: bool, fails: str = "") -> tuple[Here, WritingHost]:
    session, host = Here(folder), WritingHost()
    given: Any = (image, cast("Session", session), cast("Host", host), Accelerator.TCG)
    with started(*given, evidence=folder / "evidence", lasting=lasting):
        if fails:
            raise OSError(fails)
    assert session.gone == ["a1"]
    return session, host


@pytest.mark.parametrize(("lasting", "left"), [(True, b"after"), (False, b"before")])
def test_only_what_is_to_last_does(image: SealedImage, tmp_path: Path, lasting: bool, left: bytes) -> None:
    _, host = start(image, tmp_path, lasting=lasting)
    assert image.firmware_variables is not None
    assert image.tpm_state is not None
    assert image.firmware_variables.read_bytes() == left
    assert (image.tpm_state / "tpm2").read_bytes() == left
    assert (host.spec.disks[0].path == image.disks[0].path) is lasting


def test_a_machine_that_failed_is_gone_all_the_same(image: SealedImage, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="broken"):
        start(image, tmp_path, lasting=True, fails="broken")
    assert image.tpm_state is not None
    assert (image.tpm_state / "tpm2").read_bytes() == b"before"


def test_trouble_leaves_evidence_and_says_where(
    image: SealedImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect(machine: Machine, folder: Path, error: Exception) -> None:
        (folder / "index.json").write_text(str(error))

    monkeypatch.setattr("harness.image.install.start.collect", collect)
    session, host = Here(tmp_path), WritingHost()
    given: Any = (image, cast("Session", session), cast("Host", host), Accelerator.TCG)
    says = rf"it fell; evidence is in {tmp_path}/evidence"
    with pytest.raises(InfrastructureError, match=says), started(*given, evidence=tmp_path / "evidence"):
        raise InfrastructureError("it fell")
    assert (tmp_path / "evidence" / "index.json").read_text() == "it fell"
    assert session.gone == ["a1"]
