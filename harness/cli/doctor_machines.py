"""What `harness doctor` says about machines: none of it is needed for the reference guest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Final

from harness.cli.findings import Finding, State, guarded, package

__all__ = ["examine_machines"]

_MEND: Final = "tools/bootstrap.sh machines"
_PACKAGES: Final = ("libvirt-python", "paramiko", "pywinrm", "pycdlib", "lxml")
#: Program and what it is for.
_PROGRAMS: Final = {
    "qemu-system-x86_64": "runs machines",
    "qemu-img": "makes disks",
    "swtpm": "the TPM of Windows 11 machines",
    "mmdebstrap": "builds the stand-in",
    "mkfs.ext4": "builds the stand-in",
    "mcopy": "payload disks of adopted machines",
    "wine": "tests of the runner, the stand-in",
}


def examine_machines(*, boot: bool) -> Iterator[Finding]:
    """Every finding, in the order in which one thing needs the other; `boot` tries libvirt and KVM."""
    for name in _PACKAGES:
        yield package(name, "pip install 'regfilter-harness[machines]'", needed=False)
    for name, purpose in _PROGRAMS.items():
        found = shutil.which(name, path=f"{_path()}:/usr/sbin:/sbin")
        if found is None:
            yield Finding(name, State.MISSING, purpose, _MEND, needed=False)
        else:
            yield Finding(name, State.OK, found, needed=False)
    yield guarded("UEFI firmware", _firmware, _MEND)
    yield guarded("places", _places, "set HARNESS_CACHE to a folder with room")
    if boot:
        yield guarded("libvirt", _libvirt, _MEND)
        yield guarded("accelerator", _accelerator, "harness doctor")
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
