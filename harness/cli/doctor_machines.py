"""What `harness doctor` says about machines: none of it is needed for the reference guest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Final

from harness.cli.findings import Finding, State, extra, guarded, package

__all__ = ["examine_machines"]

_PACKAGES: Final = ("libvirt-python", "paramiko", "pywinrm", "pycdlib", "lxml")
#: Program, what it is for, and the package of Debian and Ubuntu that has it.
_PROGRAMS: Final = (
    ("qemu-system-x86_64", "runs machines", "qemu-system-x86"),
    ("qemu-img", "makes disks", "qemu-utils"),
    ("swtpm", "the TPM of Windows 11 machines", "swtpm swtpm-tools"),
    ("mmdebstrap", "builds the stand-in", "mmdebstrap"),
    ("mkfs.ext4", "builds the stand-in", "e2fsprogs"),
    ("mcopy", "payload disks of adopted machines", "mtools"),
    ("wine", "tests of the runner, the stand-in", "wine wine64"),
)


def examine_machines(*, boot: bool) -> Iterator[Finding]:
    """Every finding, in the order in which one thing needs the other; `boot` tries libvirt and KVM."""
    mend = extra("machines")
    for name in _PACKAGES:
        yield package(name, mend, needed=False)
    for name, purpose, debian in _PROGRAMS:
        found = shutil.which(name, path=f"{_path()}:/usr/sbin:/sbin")
        if found is None:
            yield Finding(name, State.MISSING, purpose, f"apt-get install {debian}", needed=False)
        else:
            yield Finding(name, State.OK, found, needed=False)
    yield guarded("UEFI firmware", _firmware, "apt-get install ovmf")
    yield guarded("places", _places, "set HARNESS_CACHE to a folder with room")
    if boot:
        yield guarded("libvirt", _libvirt, mend)
        yield guarded("accelerator", _accelerator, mend)
    yield guarded("leftovers", _leftovers, "harness clean")


def _path() -> str:
    import os

    return os.environ.get("PATH", os.defpath)


def _firmware() -> Finding:
    from harness.machine.describe.firmware import find_firmware
    from harness.machine.describe.spec import Firmware, Hardware

    found = find_firmware(Hardware(firmware=Firmware.UEFI_SECURE))
    return Finding(
        "UEFI firmware", State.OK, f"with secure boot: {found.code if found else '-'}", needed=False
    )


def _places() -> Finding:
    from harness.machine.keep.places import Places, available_memory, free_space, mebibytes

    places = Places.standard()
    free = free_space(places.cache)
    memory = mebibytes(available_memory())
    return Finding(
        "places", State.OK, f"{places.cache}, {mebibytes(free)} free; {memory} of memory", needed=False
    )


def _libvirt() -> Finding:
    from harness.machine.hypervisor.host import Host
    from harness.machine.keep.session import Session

    with Session.open() as session, Host.open(root=session.libvirt_root) as host:
        version = host.connection.getLibVersion()
    text = f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
    return Finding("libvirt", State.OK, f"{text}, QEMU driver in this process", needed=False)


def _accelerator() -> Finding:
    from harness.machine.hypervisor.accelerator import find_accelerator
    from harness.machine.keep.places import Places

    found = find_accelerator(Places.standard().cache)
    return Finding("accelerator", State.OK, f"{found.accelerator}: {found.reason}", needed=False)


def _leftovers() -> Finding:
    from harness.machine.keep.clean import find_leftovers

    found = find_leftovers()
    if found:
        return Finding(
            "leftovers", State.UNUSABLE, f"{len(found)} of killed runs", "harness clean", needed=False
        )
    return Finding("leftovers", State.OK, "none", needed=False)
