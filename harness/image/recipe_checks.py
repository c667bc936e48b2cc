"""What a recipe may say. Every check raises `ConfigError` that names file, key and what is allowed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.guest.base import Capability, GuestKind
from harness.image.recipe_tables import Access, AccessKind, Adopt, Builder, DebianBuild
from harness.machine.describe.spec import ChannelPort, Firmware, Hardware, Nic
from harness.strict import mistake, read_table

__all__ = ["check_adopt", "check_channels", "check_hardware", "check_names", "check_number", "read_build"]

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
#: A DOS folder every system knows how to write: \rt, \harness\rt.
_DOS_FOLDER: Final = re.compile(r"(\\[A-Za-z0-9_]{1,8})+", re.ASCII)
_PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+", re.ASCII)
_CPU: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(,[+-]?[A-Za-z0-9._-]+)*", re.ASCII)
#: What `[build]` may hold, by builder.
_BUILDS: Final = {Builder.DEBIAN_WINE: DebianBuild}


def check_names(name: str, kind: GuestKind, limits: Mapping[str, str], file: Path) -> None:
    """That the recipe is called as its folder, and that what it says of the guest exists."""
    if not _NAME.fullmatch(name):
        raise mistake(file, "name", f"{name!r} must be small letters, digits, dots and dashes")
    if name != file.parent.name:
        raise mistake(file, "name", f"is {name!r}, and the folder is {file.parent.name!r}: they must agree")
    if kind is GuestKind.REFERENCE:
        raise mistake(file, "kind", "the reference guest is no machine; use stand-in, windows or reactos")
    for limit, why in limits.items():
        if limit not in set(Capability):
            raise mistake(file, f"limits.{limit}", f"unknown (allowed: {', '.join(Capability)})")
        if not isinstance(why, str) or not why.strip():
            raise mistake(file, f"limits.{limit}", "must be a text that says why tests are skipped")


def check_hardware(hardware: Hardware, file: Path) -> None:
    """That QEMU can have such a machine."""
    check_number(hardware.processors, 1, 64, file, "hardware.processors")
    check_number(hardware.memory_mib, 32, 1 << 20, file, "hardware.memory_mib")
    check_number(hardware.debug_com, 0, 2, file, "hardware.debug_com")
    if not _CPU.fullmatch(hardware.cpu) or hardware.cpu.split(",")[0] == "host":
        raise mistake(
            file, "hardware.cpu", f'{hardware.cpu!r} must be a fixed QEMU model: "Nehalem", "max,-smap"'
        )
    if hardware.channel is ChannelPort(f"com{hardware.debug_com or 2}") and hardware.debug_com:
        raise mistake(
            file, "hardware.debug_com", f"{hardware.channel} is the runner's already; give the other or 0"
        )
    if not re.fullmatch(r"[a-z0-9.-]+", hardware.machine, re.ASCII):
        raise mistake(file, "hardware.machine", f'{hardware.machine!r} must be a QEMU type: "q35", "pc"')


def check_channels(channels: tuple[Access, ...], hardware: Hardware, file: Path, *, built: bool) -> None:
    """That each way in can be had; images that the harness `built` bring their own keys."""
    if not channels:
        raise mistake(file, "channels", 'must name at least one way in; kind = "serial" needs nothing else')
    for index, access in enumerate(channels):
        where = f"channels[{index}]"
        check_number(access.port, 0, 65535, file, f"{where}.port")
        if access.kind is AccessKind.SERIAL:
            if access != Access(AccessKind.SERIAL):
                raise mistake(file, where, "serial takes nothing else: its port is hardware.channel")
            continue
        if not access.user:
            raise mistake(file, f"{where}.user", f"is missing; {access.kind} logs in as somebody")
        if hardware.nic is Nic.NONE:
            raise mistake(file, where, f"{access.kind} needs a network card; hardware.nic is none")
        if not built:
            _check_login(access, file, where)
        elif access.key_file or access.password_file or access.host_key or access.certificate:
            raise mistake(file, where, "a built image brings its own keys; leave them out")


def _check_login(access: Access, file: Path, where: str) -> None:
    """What it takes to log in to a guest that the harness did not make."""
    if access.kind is AccessKind.WINRM and access.key_file:
        raise mistake(file, f"{where}.key_file", "WinRM takes a password_file")
    if (access.key_file is None) is (access.password_file is None):
        wanted = "a password_file" if access.kind is AccessKind.WINRM else "a key_file or a password_file"
        raise mistake(file, where, f"must name {wanted}")
    if access.kind is AccessKind.SSH and not access.host_key:
        raise mistake(
            file,
            f"{where}.host_key",
            "is missing; it is the line of ssh-keyscan or the SHA256:... of ssh-keygen -l",
        )
    for key, path in (("key_file", access.key_file), ("password_file", access.password_file)):
        if path is None:
            continue
        _check_there(path, file, f"{where}.{key}")
        if path.stat().st_mode & 0o077:
            raise mistake(file, f"{where}.{key}", f"others can read it; chmod 600 {path}")


def check_adopt(adopt: Adopt, firmware: Firmware, file: Path) -> None:
    """That what is adopted is there and fits the machine."""
    if adopt.disk is None and adopt.cd is None:
        raise mistake(file, "adopt", "must name a disk, a cd, or both")
    if adopt.disk is not None:
        _check_there(adopt.disk, file, "adopt.disk")
    if adopt.cd is not None:
        _check_there(adopt.cd, file, "adopt.cd")
    if adopt.firmware_variables is not None:
        _check_there(adopt.firmware_variables, file, "adopt.firmware_variables")
        if firmware is Firmware.BIOS:
            raise mistake(
                file, "adopt.firmware_variables", "a BIOS has none: hardware.firmware says what it is"
            )
    if adopt.payload is None:
        return
    payload = adopt.payload
    if not _DOS_FOLDER.fullmatch(payload.folder):
        raise mistake(file, "adopt.payload.folder", f"{payload.folder!r} must be a short DOS folder: '\\rt'")
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,8}\.(cmd|bat)", payload.command_file, re.ASCII):
        raise mistake(
            file,
            "adopt.payload.command_file",
            f"{payload.command_file!r} must be a short name in .cmd or .bat",
        )
    check_number(payload.size_mib, 8, 2048, file, "adopt.payload.size_mib")
    for index, driver in enumerate(payload.drivers):
        _check_there(driver, file, f"adopt.payload.drivers[{index}]")


def _check_there(path: Path, file: Path, where: str) -> None:
    if not path.is_file():
        raise mistake(file, where, f"{path}: there is no such file")


def check_number(value: float, least: int, most: int, file: Path, where: str) -> None:
    """That a number is within its limits, both included."""
    if not least <= value <= most:
        raise mistake(file, where, f"must be from {least} to {most}, not {value}")


def read_build(raw: Mapping[str, Any], file: Path) -> DebianBuild:
    """`[build]`, by the builder it names."""
    try:
        shape = _BUILDS[Builder(raw.get("builder", ""))]
    except ValueError:
        raise mistake(file, "build.builder", f"must be one of {', '.join(Builder)}") from None
    build = read_table(shape, raw, file, "build")
    check_number(build.size_mib, 512, 1 << 20, file, "build.size_mib")
    for index, package in enumerate(build.packages):
        if not _PACKAGE.fullmatch(package):
            raise mistake(file, f"build.packages[{index}]", f"{package!r} is no name of a package")
    if build.suite and not _PACKAGE.fullmatch(build.suite):
        raise mistake(file, "build.suite", f"{build.suite!r} is no name of a release, such as bookworm")
    return build
