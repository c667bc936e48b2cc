"""swtpm beside a machine: it serves it, and goes with it."""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.errors import InfrastructureError, ToolMissingError
from harness.machine.describe.spec import MachineSpec
from harness.machine.hypervisor.events import EventKind
from harness.machine.hypervisor.tpm import Tpm
from tests.machine.tinyguest import tiny_hardware

if TYPE_CHECKING:
    from harness.machine.hypervisor.host import Host

needs_swtpm = pytest.mark.skipif(not shutil.which("swtpm"), reason="swtpm is missing: apt-get install swtpm")


@needs_swtpm
def test_a_machine_has_a_tpm_that_ends_with_it(host: Host, tiny: Callable[..., MachineSpec]) -> None:
    spec = tiny(hardware=tiny_hardware(machine="q35", tpm=True))
    with host.start(spec) as machine:
        assert [tpm["model"] for tpm in machine.qmp("query-tpm")] == ["tpm-crb"]
        assert list((spec.folder / "tpm").iterdir())
        assert spec.tpm_socket.stat().st_mode & 0o077 == 0
        assert users_of(spec.folder)
    assert not users_of(spec.folder)
    assert not spec.tpm_socket.exists()


@needs_swtpm
def test_swtpm_ends_by_itself_when_qemu_is_killed(host: Host, tiny: Callable[..., MachineSpec]) -> None:
    """As after a harness that was killed: nobody is there to end it."""
    spec = tiny(hardware=tiny_hardware(machine="q35", tpm=True))
    with host.start(spec) as machine:
        (swtpm,) = users_of(spec.folder) - {machine.pid}
        assert machine.pid
        os.kill(machine.pid, signal.SIGKILL)
        machine.wait_for(EventKind.EXIT, timeout=300)
        with os.fdopen(os.pidfd_open(swtpm)) as ending:
            assert select.select([ending], [], [], 300)[0], "swtpm still runs"


@needs_swtpm
def test_a_state_swtpm_cannot_use_is_told_in_its_words(
    host: Host, tiny: Callable[..., MachineSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (profile := tmp_path / "usr.bin.swtpm").touch()
    monkeypatch.setattr("harness.machine.hypervisor.tpm._PROFILE", profile)
    (tmp_path / "tpm2-00.permall").write_bytes(b"no state of a TPM" * 100)
    spec = tiny(hardware=tiny_hardware(machine="q35", tpm=True), tpm_state=tmp_path)
    said = r"can't start machine(?s:.*)swtpm on (?s:.*) ended with 1; it said(?s:.*); "
    with pytest.raises(InfrastructureError, match=rf"{said}{profile} says where it may write"):
        host.start(spec)
    assert not users_of(spec.folder)


def test_a_missing_swtpm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="apt-get install swtpm"):
        Tpm.start(tmp_path / "tpm", tmp_path / "t.sock")


def users_of(folder: Path) -> set[int]:
    """Processes with `folder` in their command line."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:  # ended meanwhile
                continue
    return found
