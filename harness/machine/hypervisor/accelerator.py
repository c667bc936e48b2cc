"""KVM or TCG: whether a guest really boots on this host's KVM, tried once per boot of the host.

A /dev/kvm that opens and makes virtual machines is no proof: on some nested hosts a guest then hangs in its
BIOS, or every instruction is emulated and some are missing. So a boot sector is booted that needs them.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from harness.machine.describe.spec import Accelerator

__all__ = ["Finding", "choose_accelerator", "find_accelerator"]

_log = logging.getLogger(__name__)

_DEVICE: Final = Path("/dev/kvm")
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_SECONDS: Final = 30.0
#: isa-debug-exit makes QEMU's exit code of what the guest writes, 0x2A: value * 2 + 1.
_EXIT: Final = 0x2A * 2 + 1
#: accelerator_probe.S, assembled: it goes through every mode of the processor, takes interrupts, and counts.
_BOOT_SECTOR: Final = (
    bytes.fromhex(
        "fa31c08ed8e4920c02e6920f0116007d0f20c00c010f22c0ea1d7c0800b8100000008ed88ec08ed0bc007c0000b0fee6"
        "21b0ffe6a1c70540100000c27c0800c70544100000008e00000f011d067d0000c7050005000000000000fbf4833d0005"
        "00000272f6fabf0020000031c0b9000c0000f3abc7050020000003300000c7050030000003400000c705004000008300"
        "00000f20e00c200f22e0b8002000000f22d8b9800000c00f320d000100000f300f20c00d000000800f22c0eacf7c0000"
        "1800ff050005000050b020e62058cfb980f0fa02ffc975fcb02ae6f4f4ebfd900000000000000000ffff0000009acf00"
        "ffff00000092cf00ffff0000009aaf001f00e07c0000ff070010"
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What machines run on here, and why."""

    accelerator: Accelerator
    reason: str


@functools.cache
def choose_accelerator(cache: Path) -> Accelerator:
    """What machines of this process run on; logged once. `cache` is a folder that may outlive the process."""
    found = find_accelerator(cache)
    level = logging.INFO if found.accelerator is Accelerator.KVM else logging.WARNING
    _log.log(level, "machines run on %s: %s", found.accelerator.upper(), found.reason)
    return found.accelerator


def find_accelerator(
    cache: Path, *, qemu: str = "qemu-system-x86_64", device: Path = _DEVICE, seconds: float = _SECONDS
) -> Finding:
    """KVM when a guest boots on it within `seconds`, else TCG. Tried once per boot of this host and QEMU."""
    if not device.exists():
        return Finding(Accelerator.TCG, f"this host has no {device}")
    if not os.access(device, os.R_OK | os.W_OK):
        return Finding(Accelerator.TCG, f"this user may not open {device}; joining the group kvm would help")
    program = shutil.which(qemu)
    if program is None:
        return Finding(Accelerator.TCG, f"{qemu} is missing")
    key = f"{_boot_id()} {program} {Path(program).stat().st_mtime_ns}"
    kept = cache / "accelerator.json"
    known = _read(kept, key)
    if known is None:
        known = _boot(program, seconds)
        _write(kept, key, known)
    return known


def _boot(program: str, seconds: float) -> Finding:
    """Boot the sector on KVM, and end it when it doesn't end by itself."""
    with tempfile.TemporaryDirectory(prefix="kvm-") as folder:
        image = Path(folder) / "boot.img"
        image.write_bytes(_BOOT_SECTOR)
        command = [program, "-accel", "kvm", "-machine", "pc", "-m", "16", "-display", "none", "-no-reboot"]
        command += [
            "-nodefaults",
            "-no-user-config",
            "-drive",
            f"file={image},format=raw,if=floppy,readonly=on",
        ]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return Finding(
                Accelerator.TCG, f"KVM is there, but a guest on it did not boot within {seconds:g} s"
            )
        except OSError as error:
            return Finding(Accelerator.TCG, f"{program} can't be started: {error.strerror}")
    if done.returncode == _EXIT:
        return Finding(Accelerator.KVM, "a guest boots on it")
    said = done.stderr[-300:].decode(errors="replace").strip() or f"QEMU ended with {done.returncode}"
    return Finding(Accelerator.TCG, f"on KVM no guest boots: {said}")


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return "unknown"


def _read(kept: Path, key: str) -> Finding | None:
    try:
        content = json.loads(kept.read_bytes()[:4096])
        if content["key"] != key:
            return None
        return Finding(Accelerator(content["accelerator"]), str(content["reason"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write(kept: Path, key: str, finding: Finding) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=kept.parent, prefix=".accelerator-")
    with os.fdopen(descriptor, "w") as file:
        json.dump({"key": key, **asdict(finding)}, file)
    Path(name).replace(kept)
