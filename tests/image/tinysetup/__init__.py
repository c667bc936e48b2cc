"""Install media of a few kilobytes, made by the tests: setup.c and uefi.c say what they do."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cbor2
import pycdlib

from harness.channel.abi import constant
from harness.channel.frames import FAILED, RequestType
from harness.driver import find_toolchain
from harness.image.tools import find_tool, run
from tests.image.discs import edition, wim
from tests.machine.tinyguest import FLAGS, compiler

SOURCE = Path(__file__).parent
#: Where the program takes what a test wants: its mark, and the room behind it.
_CONFIG = (b"TINYCONF:", 64)
_ANSWERS = (b"TINYANSW:", 2048)
#: The boot entry loads it to 0800:0000.
_SEGMENT = 0x800


#: What the runner says of its system, as far as it has to; the number behind BOOT is that of the boot.
ENVIRONMENT: dict[str, Any] = {
    "os": {
        "major": 6,
        "minor": 1,
        "build": 7601,
        "ubr": 24214,
        "service_pack": 1,
        "product_type": 1,
        "product": "Tiny",
    },
    "native_arch": "x86",
    "processors": 1,
    "clock_unix_us": 0,
    "uptime_ms": 1000,
    "boot_id": "BOOT?",
    "secure_boot": False,
    "verifier": {},
    "calls": [],
    "pretends": [],
}


def answers(environment: Mapping[str, Any] | None = None, *, exit_code: int = 0) -> bytes:
    """The answers of runner.c, by request; every command ends with `exit_code`."""
    hello = {"major": 1, "minor": 0, "program_format": 1, "arch": "x86", "pointer_size": 4, "pid": 4}
    done = {"exit_code": exit_code, "stdout": b"0x1", "stderr": b"", "stdout_lost": 0, "stderr_lost": 0}
    said: dict[int, bytes] = {
        RequestType.HELLO: cbor2.dumps({**hello, "max_payload": 4096, "build": "tiny"}),
        RequestType.ENVIRONMENT: cbor2.dumps({**ENVIRONMENT, **(environment or {})}),
        RequestType.EXECUTE: cbor2.dumps({**done, "timed_out": False, "cancelled": False}),
        # A map of two, of which the request brings the second.
        RequestType.CLOCK_SET: b"\xa2" + cbor2.dumps("previous_unix_us") + cbor2.dumps(0),
        RequestType.SHUTDOWN: cbor2.dumps({}),
        RequestType.QUIESCE: cbor2.dumps({}),
        FAILED: cbor2.dumps(
            {"error": constant("REGRUN_ERROR_UNSUPPORTED"), "message": "no", "status": None, "win32": None}
        ),
    }
    return b"".join(struct.pack("<HH", type, len(payload)) + payload for type, payload in said.items())


def build(folder: Path) -> bytes:
    """Compile it: what a BIOS loads from the CD, and the CD's setup writes to the disk."""
    _link(folder / "disk.bin", [SOURCE / "disk.S"], "-Wl,-Ttext=0x7C00", folder)
    _link(
        folder / "setup.bin",
        [SOURCE / "setup.S", SOURCE / "setup.c", SOURCE / "runner.c"],
        f"-Wl,-T,{SOURCE / 'setup.ld'}",
        folder,
    )
    return (folder / "setup.bin").read_bytes()


def _link(output: Path, sources: list[Path], script: str, folder: Path) -> None:
    flags = [*FLAGS, "-Wa,-I", f"-Wa,{folder}", script, "-Wl,--oformat=binary"]
    subprocess.run([compiler(), *flags, *map(str, sources), "-o", str(output)], check=True)


def _patched(program: bytes, place: tuple[bytes, int], content: bytes) -> bytes:
    mark, size = place
    assert len(content) <= size
    at = program.index(mark) + len(mark)
    return program[:at] + content.ljust(size, b"\0") + program[at + size :]


def medium(
    path: Path,
    program: bytes,
    *,
    wishes: str = "",
    build_number: int = 7601,
    reactos: bool = False,
    environment: Mapping[str, Any] | None = None,
    exit_code: int = 0,
) -> Path:
    """An ISO that a BIOS starts, with the catalogue of a Windows 7 for x86.

    `reactos`: with a folder of ReactOS in its place. `environment` is what the runner of the installed system
    says it is, where that is not `ENVIRONMENT`; `exit_code` is how commands end there.
    """
    said = answers(environment, exit_code=exit_code)
    program = _patched(_patched(program, _CONFIG, wishes.encode()), _ANSWERS, said)
    catalogue = wim(edition("Windows 7 Enterprise", build_number, arch="0"))
    iso = pycdlib.PyCdlib()
    iso.new(vol_ident="TINY_SETUP", joliet=3, interchange_level=3)
    iso.add_fp(io.BytesIO(program), len(program), iso_path="/SETUP.BIN;1", joliet_path="/setup.bin")
    iso.add_eltorito(
        "/SETUP.BIN;1", boot_load_size=len(program) // 512, boot_load_seg=_SEGMENT, platform_id=0
    )
    folder, name, content = ("sources", "install.wim", catalogue)
    if reactos:
        folder, name, content = ("reactos", "unattend.inf", b"[Unattend]\r\nUnattendSetupEnabled = no\r\n")
    iso.add_directory(iso_path=f"/{folder.upper()}", joliet_path=f"/{folder}")
    places = {"iso_path": f"/{folder}/{name};1".upper(), "joliet_path": f"/{folder}/{name}"}
    iso.add_fp(io.BytesIO(content), len(content), **places)
    iso.write(str(path))
    iso.close()
    return path


def uefi_medium(path: Path, *, build_number: int = 19045) -> Path:
    """An ISO that UEFI firmware starts, with the catalogue of a Windows 10 for x64."""
    program, volume = path.with_name("bootx64.efi"), path.with_name("efi.img")
    flags = [
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-ffreestanding",
        "-fno-stack-protector",
        "-mno-red-zone",
        "-std=gnu11",
    ]
    linking = ["-nostdlib", "-shared", "-Wl,--subsystem,10", "-e", "efi_main", "-Wl,--no-insert-timestamp"]
    source = str(SOURCE / "uefi.c")
    subprocess.run(
        [*find_toolchain("x64").compiler, *flags, *linking, source, "-o", str(program)], check=True
    )
    return _uefi_disc(path, _volume(volume, {"EFI/BOOT/BOOTX64.EFI": program}), {}, build_number)


def signed_uefi_medium(path: Path, shim: Path, grub: Path) -> Path:
    """The same with boot loaders that Secure Boot starts: a distribution's shim and GRUB for CDs.

    There is nothing it installs: GRUB tells the first stage and the last, and switches off.
    """
    loaders = {"EFI/BOOT/BOOTX64.EFI": shim, "EFI/BOOT/grubx64.efi": grub}
    script = b"""serial --unit=0 --speed=115200
terminal_output serial
echo "HARNESS-STAGE windows-setup"
echo "HARNESS-STAGE ready"
halt
"""
    # What this GRUB goes by to find its own medium.
    files = {".disk/info": b"tiny", "boot/grub/grub.cfg": script}
    return _uefi_disc(path, _volume(path.with_name("efi.img"), loaders), files, 19045)


def _volume(image: Path, loaders: Mapping[str, Path]) -> bytes:
    """A FAT file system with boot loaders in it: what UEFI firmware looks at on a CD."""
    image.unlink(missing_ok=True)
    room = sum(loader.stat().st_size for loader in loaders.values())
    size = ["-f", "1440"] if room < 1 << 20 else ["-T", "16384", "-h", "16", "-s", "63"]
    run([find_tool("mformat"), "-i", str(image), "-C", *size, "::"])
    run([find_tool("mmd"), "-i", str(image), "::/EFI", "::/EFI/BOOT"])
    for place, loader in loaders.items():
        run([find_tool("mcopy"), "-i", str(image), str(loader), f"::/{place}"])
    return image.read_bytes()


def _uefi_disc(path: Path, volume: bytes, more: Mapping[str, bytes], build_number: int) -> Path:
    catalogue = wim(edition("Windows 10 Enterprise", build_number))
    files = {"efi/efi.img": volume, "sources/install.wim": catalogue, **more}
    iso = pycdlib.PyCdlib()
    iso.new(vol_ident="TINY_UEFI", joliet=3, interchange_level=3)
    folders: dict[str, str] = {"": ""}
    for number, (name, content) in enumerate(files.items()):
        *parents, _ = name.split("/")
        for depth in range(1, len(parents) + 1):
            folder = "/".join(parents[:depth])
            if folder not in folders:
                folders[folder] = f"{folders['/'.join(parents[: depth - 1])]}/D{len(folders)}"
                iso.add_directory(iso_path=folders[folder], joliet_path=f"/{folder}")
        place = f"{folders['/'.join(parents)]}/F{number}.;1"
        iso.add_fp(io.BytesIO(content), len(content), iso_path=place, joliet_path=f"/{name}")
    sectors = min(len(volume) // 512, 0xFFFF)
    iso.add_eltorito("/D1/F0.;1", efi=True, platform_id=0xEF, boot_load_size=sectors)
    iso.write(str(path))
    iso.close()
    return path
