"""Adopted machines for real: a live CD boots with its payload disk, whose command file starts the runner."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.channel.frames import RequestType
from harness.driver import find_toolchain, runner_image
from harness.errors import ToolMissingError
from harness.guest.base import Arch, GuestKind
from harness.image.adopt import Adoption, adopt, usual_hardware
from harness.image.fat import make_fat_disk
from harness.image.payload import payload_files
from harness.image.recipe import Access, AccessKind, Adopt, Payload
from harness.image.tools import find_tool
from harness.machine.describe.spec import ChannelPort
from tests.image.fat16 import read_fat16
from tests.machine.tinyguest import build
from tests.runner.winehost import Talk, Wine, wine_is_missing

ROOT = Path(__file__).resolve().parents[2]


def needs(*names: str) -> None:
    for name in names:
        try:
            find_tool(name)
        except ToolMissingError as error:
            pytest.skip(str(error))


@pytest.fixture
def live_cd(tmp_path: Path) -> Path:
    """A CD that a BIOS boots: GRUB and the tiny guest."""
    needs("grub-mkrescue", "xorriso", "gcc")
    if not Path("/usr/lib/grub/i386-pc").is_dir():
        pytest.skip("GRUB for BIOS is missing: apt-get install grub-pc-bin")
    tree = tmp_path / "cd"
    (tree / "boot/grub").mkdir(parents=True)
    shutil.copyfile(build(tmp_path), tree / "tiny.elf")
    (tree / "boot/grub/grub.cfg").write_text("multiboot /tiny.elf channel=com2 debug=com1\nboot\n")
    cd = tmp_path / "live.iso"
    subprocess.run(
        [find_tool("grub-mkrescue"), "-d", "/usr/lib/grub/i386-pc", "-o", str(cd), str(tree)],
        check=True,
        capture_output=True,
    )
    return cd


def test_a_live_cd_boots_on_an_old_machine_and_sees_its_payload(tmp_path: Path, live_cd: Path) -> None:
    """BIOS, i440FX, a Pentium III, IDE, COM2 only: what an NT 5.2-level guest gets."""
    needs("qemu-system-i386", "qemu-img", "mformat", "i686-w64-mingw32-gcc")
    pytest.importorskip("libvirt", reason="machines need libvirt-python: tools/bootstrap.sh machines")
    adoption = Adoption(
        name="live",
        kind=GuestKind.REACTOS,
        version="5.2.3790",
        arch=Arch.X86,
        hardware=replace(usual_hardware(GuestKind.REACTOS), memory_mib=64),
        source=Adopt(cd=live_cd, payload=Payload()),
        channels=(Access(AccessKind.SERIAL),),
        boot_seconds=120,
    )
    adopt(adoption, tmp_path / "recipes")
    folder = tempfile.mkdtemp(prefix="rf-", dir="/tmp")  # short: sockets are below it
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.image.live_cd_boot", str(tmp_path / "recipes"), folder],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "sum": "sum 5",
        "command file": "read @echo off",
        "written": "written",
        "read again": "read changed",
        "untouched": True,
        "boot_from_cd": True,
    }


@contextlib.contextmanager
def com2(wine: Wine) -> Iterator[int]:
    """A COM2 whose other end is the returned descriptor."""
    host, guest = pty.openpty()
    tty.setraw(guest)
    (wine.prefix / "dosdevices" / "com2").symlink_to(os.ttyname(guest))
    try:
        yield host
    finally:
        os.close(host)
        os.close(guest)


def kill_runner(wine: Wine) -> None:
    """End the runner as a crash of it would; its command file goes on."""
    runners = [
        pid
        for pid in wine.processes()
        if b"regrun.exe" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    ]
    assert len(runners) == 1
    os.kill(runners[0], signal.SIGKILL)


def test_the_command_file_starts_the_runner_and_starts_it_again(tmp_path: Path) -> None:
    """By Wine's cmd.exe, from the files as they are on the payload disk."""
    needs("mformat")
    if reason := wine_is_missing():
        pytest.skip(reason)
    try:
        find_toolchain("x64")
    except ToolMissingError as error:
        pytest.skip(str(error))
    disk = tmp_path / "payload.raw"
    make_fat_disk(disk, payload_files(Payload(), ChannelPort.COM2, runner=runner_image("x64")), size_mib=40)
    with Wine(tmp_path) as wine, com2(wine) as line:
        for name, content in read_fat16(disk.read_bytes()[63 * 512 :]).items():
            path = wine.prefix / "drive_c" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        command = ["cmd", "/c", "C:\\rt\\start.cmd"]
        process = wine.start(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            talk = Talk(line, line)
            first = talk.ask(RequestType.HELLO)
            assert first["arch"] == "x64"
            kill_runner(wine)
            assert talk.ask(RequestType.HELLO)["pid"] != first["pid"]
        finally:
            process.kill()
            process.wait()
