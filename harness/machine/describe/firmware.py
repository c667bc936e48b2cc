"""UEFI firmware of this host, found by the descriptors that its package installs.

The descriptors' format and the folders they live in are QEMU's: docs/interop/firmware.json. A distribution's
file names say nothing; the features in the descriptor do.
"""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import InfrastructureError, ToolMissingError
from harness.machine.describe.spec import Firmware, Hardware

__all__ = ["FirmwareFiles", "descriptor_folders", "find_firmware"]

_DESCRIPTOR_LIMIT: Final = 1 << 20
#: Short machine names are aliases of the newest versioned one, which is what descriptors name.
_ALIASES: Final = {"q35": "pc-q35-0", "pc": "pc-i440fx-0"}
_SECURE: Final = frozenset({"secure-boot", "enrolled-keys"})


@dataclass(frozen=True, slots=True)
class FirmwareFiles:
    """The code every machine maps read-only, and the variables each machine gets its own copy of."""

    code: Path
    variables: Path
    secure: bool  # secure boot is on, the keys are enrolled
    smm: bool  # the variables are protected by system management mode


def descriptor_folders() -> tuple[Path, ...]:
    """Where descriptors are, the overriding folder first: the user's, the administrator's, the packages'."""
    user = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return (
        Path(user).expanduser() / "qemu/firmware",
        Path("/etc/qemu/firmware"),
        Path("/usr/share/qemu/firmware"),
    )


def find_firmware(hardware: Hardware, folders: Sequence[Path] | None = None) -> FirmwareFiles | None:
    """The firmware that `hardware` asks for; None for a BIOS, which QEMU brings itself.

    Raises `ToolMissingError` when no descriptor fits.
    """
    if hardware.firmware is Firmware.BIOS:
        return None
    secure = hardware.firmware is Firmware.UEFI_SECURE
    searched = tuple(folders) if folders is not None else descriptor_folders()
    for path in _descriptors(searched):
        found = _fitting(_read(path), hardware, secure=secure)
        if found is not None and found.code.is_file() and found.variables.is_file():
            return found
    kind = "with secure boot and enrolled keys" if secure else "without secure boot"
    raise ToolMissingError(
        f"no UEFI firmware {kind} for machine {hardware.machine!r} ({hardware.arch}) in "
        f"{', '.join(map(str, searched))}; install it: apt-get install ovmf"
        + ("; secure boot needs a q35 machine" if secure and "q35" not in hardware.machine else "")
    )


def _descriptors(folders: Iterable[Path]) -> list[Path]:
    """Every descriptor in order of its number; an empty one of an overriding folder hides its namesakes."""
    by_name: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for path in folder.glob("*.json"):
                by_name.setdefault(path.name, path)
    return [by_name[name] for name in sorted(by_name) if by_name[name].stat().st_size]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_DESCRIPTOR_LIMIT))
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"can't read the firmware descriptor {path}: {error}") from error
    if not isinstance(content, dict):
        raise InfrastructureError(
            f"the firmware descriptor {path} is not a JSON object; reinstall its package"
        )
    return content


def _fitting(content: Mapping[str, Any], hardware: Hardware, *, secure: bool) -> FirmwareFiles | None:
    mapping = content.get("mapping", {})
    features = frozenset(content.get("features", ()))
    if "uefi" not in content.get("interface-types", ()) or mapping.get("device") != "flash":
        return None
    if not _targets(content, hardware):
        return None
    if secure != (features >= _SECURE) or (not secure and "secure-boot" in features):
        return None
    code, variables = mapping.get("executable", {}), mapping.get("nvram-template", {})
    if code.get("format") != "raw" or variables.get("format") != "raw":
        return None  # a qcow2 of 64 MB flash is for Arm; x86 firmware comes raw
    return FirmwareFiles(
        code=Path(code["filename"]),
        variables=Path(variables["filename"]),
        secure=secure,
        smm="requires-smm" in features,
    )


def _targets(content: Mapping[str, Any], hardware: Hardware) -> bool:
    machine = _ALIASES.get(hardware.machine, hardware.machine)
    return any(
        target.get("architecture") == hardware.arch
        and any(fnmatch.fnmatchcase(machine, pattern) for pattern in target.get("machines", ()))
        for target in content.get("targets", ())
    )
