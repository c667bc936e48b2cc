"""What a template depends on: everything that must be the same when a clone is made from it."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError, ToolMissingError
from harness.machine.describe.firmware import FirmwareFiles, find_firmware
from harness.machine.describe.spec import Accelerator, MachineSpec, SealedImage
from harness.machine.describe.xml import domain_xml
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.libvirt_api import translated
from harness.machine.keep.store import Environment

__all__ = ["domain_digest", "emulator", "environment_of"]

_ANYWHERE: Final = Path("/")


def environment_of(image: SealedImage, host: Host, accelerator: Accelerator) -> Environment:
    """The environment that a template of `image` would be made in now."""
    with translated("can't ask libvirt for its version"):
        library = host.connection.getLibVersion()
    return Environment(
        image=image.digest,
        domain=domain_digest(image, accelerator),
        emulator=emulator(image.hardware.arch),
        libvirt=_version(library),
        accelerator=str(accelerator),
        # Emulated processors are the same everywhere; real ones lend the guest their features.
        processor=_processor() if accelerator is Accelerator.KVM else "any",
    )


def domain_digest(image: SealedImage, accelerator: Accelerator) -> str:
    """SHA-256 of the domain XML and the firmware behind it, without the paths that clones don't share."""
    firmware = find_firmware(image.hardware)
    spec = MachineSpec(
        name="template",
        hardware=image.hardware,
        folder=_ANYWHERE,
        disks=tuple(replace(disk, path=_ANYWHERE / f"disk{n}") for n, disk in enumerate(image.disks)),
        removable=image.removable,
        boot=image.boot,
        boot_from_cd=image.boot_from_cd,
        firmware_variables=_ANYWHERE / "variables" if firmware is not None else None,
        accelerator=accelerator,
    )
    parts = [domain_xml(spec, firmware)]
    if image.boot is not None:
        parts += [_file_identity(image.boot.kernel), _file_identity(image.boot.initrd)]
    parts += _firmware_parts(firmware)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _firmware_parts(firmware: FirmwareFiles | None) -> list[str]:
    return [_file_identity(firmware.code)] if firmware is not None else []


def _file_identity(path: Path | str | None) -> str:
    """Tells a file from its successor under the same name."""
    if path is None:
        return "none"
    found = Path(path).stat()
    return f"{found.st_size}-{found.st_mtime_ns}"


def emulator(arch: str) -> str:
    """QEMU's version and file. Asking libvirt would make it probe every emulator there is, for minutes."""
    name = f"qemu-system-{'i386' if arch == 'i686' else arch}"
    program = shutil.which(name)
    if program is None:
        raise ToolMissingError(f"{name} is missing: apt-get install qemu-system-x86")
    identity = _file_identity(program)
    return f"{_version_of(program, identity)}, {identity}"


@functools.cache
def _version_of(program: str, identity: str) -> str:
    """What a file says, asked once: one that is gone, or another under its name, is noticed."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=300, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise InfrastructureError(f"{program} --version does not work: {error}; install it again") from error
    return said.stdout.partition("\n")[0].removeprefix("QEMU emulator version ")


def _version(number: int) -> str:
    """libvirt's numbers: major * 1,000,000 + minor * 1,000 + release."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _processor() -> str:
    """The host's CPU model and a digest of its features."""
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    said = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())
    }
    features = hashlib.sha256(said.get("flags", "").encode()).hexdigest()[:12]
    return f"{said.get('model name', 'unknown')}, features {features}"
