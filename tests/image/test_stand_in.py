"""The stand-in for real: built from packages or out of the cache, booted, used over both channels."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from harness.image.access import ways_in
from harness.image.finding import find_recipe
from harness.image.images import verify
from harness.machine.describe.spec import SealedImage
from tests.stand_in import stand_in_image


@pytest.fixture(scope="module")
def image() -> SealedImage:
    return stand_in_image()


def test_what_was_built_is_sealed_and_listed(image: SealedImage) -> None:
    recipe = find_recipe("stand-in")
    assert [check.problems for check in verify(recipe)] == [(), ()]
    sidecar = json.loads((image.disks[0].path.parent / "image.json").read_text())
    packages = dict(line.split(" ", 1) for line in sidecar["facts"]["packages"])
    assert {"wine64", "openssh-server", "systemd"} <= set(packages)
    size = sum(disk.path.stat().st_blocks * 512 for disk in image.disks)
    assert size < 1.5 * (1 << 30)


def test_keys_are_for_their_owner_alone_and_not_in_the_repository(image: SealedImage) -> None:
    access = next(access for access in ways_in(find_recipe("stand-in")) if access.kind == "ssh")
    assert access.key_file is not None
    assert access.key_file.stat().st_mode & 0o777 == 0o600
    assert image.disks[1].path.stat().st_mode & 0o077 == 0
    root = Path(__file__).resolve().parents[2]
    assert not access.key_file.is_relative_to(root / "vm-images")
    assert access.host_key.startswith("ssh-ed25519 ")


@pytest.fixture(scope="module")
def boot(image: SealedImage) -> dict[str, Any]:
    """What tests/image/stand_in_boot.py found."""
    folder = tempfile.mkdtemp(prefix="rf-", dir="/tmp")  # short: sockets are below it
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.image.stand_in_boot", folder],
            capture_output=True,
            text=True,
            cwd=Path(__file__).resolve().parents[2],
            check=False,
        )
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_booted_stand_in_does_what_a_windows_machine_does(boot: dict[str, Any]) -> None:
    """One boot for all of it: it takes half a minute without KVM."""
    # The runner, over the virtio port, for one connection after the other.
    assert boot["runner_arch"] == "x64"
    assert boot["version"] == find_recipe("stand-in").version.triple
    assert boot["serial_exit"] == 7
    assert boot["serial_again"] == "over the port"
    # SSH as OpenSSH for Windows does it: cmd.exe gets the line as it is.
    assert boot["ssh_cd"] == {"exit": 0, "text": "C:\\harness\r\n"}
    assert boot["ssh_quotes"] == {"exit": 0, "text": '"a  b" Windows_NT & c\r\n'}
    assert boot["ssh_both"] == {"exit": 0, "text": "one\r\ntwo\r\n"}
    assert boot["ssh_exit"]["exit"] == 5
    # SFTP sees drive C:, and the harness's own channel works over it.
    assert boot["sftp_read"] == "over the port"
    assert boot["ssh_file"] == "over SSH"
    assert boot["ssh_execute"] == 9
    # A kernel panic reaches the host, by the panic device and on the debug port.
    assert boot["panic"] == "panic"
    assert "Kernel panic" in boot["console"]
