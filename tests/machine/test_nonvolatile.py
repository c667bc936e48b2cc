"""UEFI variables and TPM state of a machine: found, copied, and nothing else with them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import InfrastructureError
from harness.machine.describe.spec import Firmware, Hardware, MachineSpec
from harness.machine.disk.nonvolatile import NonVolatile, copy_nonvolatile, nonvolatile_files
from tests.machine.tinyguest import tiny_hardware

if TYPE_CHECKING:
    from harness.machine.hypervisor.host import Host


@pytest.fixture
def spec(tmp_path: Path) -> MachineSpec:
    """A machine's description with both kinds of state, and what else swtpm keeps beside them."""
    (tmp_path / "tpm").mkdir()
    for name in ("tpm2-00.permall", "tpm2-00.volatilestate", ".lock", "TMP2-00.permall"):
        (tmp_path / "tpm" / name).write_text(name)
    (tmp_path / "vars").write_bytes(b"variables")
    return MachineSpec(
        name="m",
        hardware=Hardware(tpm=True, firmware=Firmware.UEFI),
        folder=tmp_path,
        firmware_variables=tmp_path / "vars",
    )


def test_what_belongs_to_the_state_is_copied_for_its_owner_alone(spec: MachineSpec, tmp_path: Path) -> None:
    target = tmp_path / "copies"
    target.mkdir()
    copies = copy_nonvolatile(spec, target)
    assert {str(path.relative_to(target)): path.read_text() for path in copies.files} == {
        "variables": "variables",
        "tpm/tpm2-00.permall": "tpm2-00.permall",
        "tpm/tpm2-00.volatilestate": "tpm2-00.volatilestate",
    }
    assert {path.stat().st_mode & 0o777 for path in copies.files} == {0o600}
    assert sorted(path for path in target.rglob("*") if path.is_file()) == sorted(copies.files)


def test_a_machine_without_either_has_nothing(spec: MachineSpec) -> None:
    plain = replace(spec, hardware=Hardware(), firmware_variables=None)
    assert nonvolatile_files(plain) == NonVolatile()
    assert nonvolatile_files(replace(spec, hardware=Hardware())).tpm == ()


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _grow(path: Path) -> None:
    os.truncate(path, 1 << 30)


@pytest.mark.parametrize("spoil", [_link, _pipe, _grow, Path.unlink])
@pytest.mark.parametrize("name", ["vars", "tpm/tpm2-00.permall"])
def test_what_can_be_no_state_is_not_copied(
    spec: MachineSpec, tmp_path: Path, spoil: Callable[[Path], None], name: str
) -> None:
    spoil(tmp_path / name)
    target = tmp_path / "copies"
    target.mkdir()
    if spoil is Path.unlink and name != "vars":  # swtpm hasn't written that one: nothing is missing
        assert [path.name for path in copy_nonvolatile(spec, target).tpm] == ["tpm2-00.volatilestate"]
        return
    with pytest.raises(InfrastructureError, match="state"):
        copy_nonvolatile(spec, target)


def test_a_folder_full_of_files_is_not_swtpms(spec: MachineSpec) -> None:
    for letter in "abcdefghij":
        (spec.tpm_folder / f"tpm2-00.{letter}").touch()
    with pytest.raises(InfrastructureError, match=r"12 files of a TPM's state"):
        nonvolatile_files(spec)


@pytest.mark.skipif(not shutil.which("swtpm"), reason="swtpm is missing: apt-get install swtpm")
def test_a_paused_machines_tpm_goes_on_in_another_machine(
    host: Host, tiny: Callable[..., MachineSpec], tmp_path: Path
) -> None:
    spec = tiny(hardware=tiny_hardware(machine="q35", tpm=True))
    with host.start(spec) as machine:
        machine.suspend()
        copies = copy_nonvolatile(spec, tmp_path)
        assert "tpm2-00.permall" in {path.name for path in copies.tpm}
    other = tiny(hardware=tiny_hardware(machine="q35", tpm=True), tpm_state=tmp_path / "tpm")
    with host.start(other) as machine:
        assert machine.qmp("query-tpm")
