"""What a bundle says of the machine a test ran on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import HarnessError
from harness.repro.bundle import GuestRecord

if TYPE_CHECKING:
    from harness.guest.base import Guest
    from harness.machine.guest import MachineGuest

__all__ = ["described", "qemu_version"]

_MAX_COMMAND_LINE: Final = 64 * 1024


def described(guest: Guest, record: GuestRecord) -> tuple[str, GuestRecord]:
    """The domain's XML, and the record with QEMU's version and command line."""
    machine_guest: MachineGuest = guest  # type: ignore[assignment]
    machine: Any = machine_guest.machine
    try:
        xml = str(machine.xml)
    except HarnessError:  # it is gone, with its description
        xml = ""
    return xml, replace(
        record,
        qemu=qemu_version(machine.spec.hardware.arch),
        libvirt=_libvirt_version(),
        command_line=_command_line(machine.pid),
        conditions=machine_guest.identity.conditions,
        ram_file=machine.spec.memory is not None,
    )


def qemu_version(arch: str) -> str:
    """Version and file of the emulator on this host; empty where there is none."""
    from harness.machine.clones.identity import emulator

    try:
        return emulator(arch)
    except HarnessError:
        return ""


def _libvirt_version() -> str:
    import libvirt

    number = int(libvirt.getVersion())
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _command_line(pid: int | None) -> tuple[str, ...]:
    if pid is None:
        return ()
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()[:_MAX_COMMAND_LINE]
    except OSError:
        return ()
    return tuple(part.decode("utf-8", "replace") for part in raw.split(b"\0") if part)
