"""Recipes: what an image is made of, as data in ``recipe.toml``.

A recipe is a folder: ``vm-images/NAME/`` of the project, or any folder below one that `--recipes DIR` or
``HARNESS_RECIPES`` names. It says what the guest is, what hardware it runs on, how one talks to it, what it
lacks, and where its disk comes from: ``[build]`` makes one from packages, ``[install]`` from the user's own
install medium, ``[adopt]`` takes one that is there already. What several recipes share stands in a file they
name as `based_on`.
Reading a recipe touches nothing but its file; `harness.image.store` makes images of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from harness.guest.base import Arch, Capability, GuestKind
from harness.image.installspec import Install, check_install
from harness.machine.describe.spec import ChannelPort, DiskFormat, Firmware, Hardware, Nic
from harness.registry.version import WindowsVersion
from harness.strict import ConfigError, load_based, mistake, read_table

__all__ = [
    "Access",
    "AccessKind",
    "Adopt",
    "Builder",
    "DebianBuild",
    "Payload",
    "Recipe",
    "load_recipe",
]

RECIPE_FILE: Final = "recipe.toml"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
#: A DOS folder every system knows how to write: \rt, \harness\rt.
_DOS_FOLDER: Final = re.compile(r"(\\[A-Za-z0-9_]{1,8})+", re.ASCII)
_PACKAGE: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+", re.ASCII)
_CPU: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(,[+-]?[A-Za-z0-9._-]+)*", re.ASCII)


class AccessKind(StrEnum):
    """The ways in, as `harness.channel.base.ChannelKind` names them."""

    SERIAL = "serial"
    SSH = "ssh"
    WINRM = "winrm"


class Builder(StrEnum):
    DEBIAN_WINE = "debian-wine"


@dataclass(frozen=True, slots=True)
class Access:
    """One way into the guest; the first is preferred.

    Keys and passwords are files that only their owner can read. `host_key` is the line or the fingerprint of
    the SSH server's key, `certificate` the SHA-256 of the WinRM service's. Images that the harness built need
    neither: their keys were made with them.
    """

    kind: AccessKind
    user: str = ""
    port: int = 0  # 0: 22 for SSH; 5985 for WinRM, 5986 with a certificate
    key_file: Path | None = None
    password_file: Path | None = None
    host_key: str = ""
    certificate: str = ""
    #: Where the runner is in the guest; empty: where the harness puts it.
    runner: str = ""

    @property
    def guest_port(self) -> int:
        """The port of the guest that has to be reached; 0 for none."""
        usual = {AccessKind.SSH: 22, AccessKind.WINRM: 5986 if self.certificate else 5985}
        return self.port or usual.get(self.kind, 0)


@dataclass(frozen=True, slots=True)
class DebianBuild:
    """Debian or Ubuntu with Wine, from packages. `suite` names a release; empty: the one this host runs."""

    builder: Builder
    packages: tuple[str, ...]
    suite: str = ""
    size_mib: int = 3072


#: What `[build]` may hold, by builder.
_BUILDS: Final = {Builder.DEBIAN_WINE: DebianBuild}


@dataclass(frozen=True, slots=True)
class Payload:
    """The FAT disk an adopted guest finds the runner on; see docs of `harness.image.payload`.

    `folder` holds the runner, the drivers and the command file. `drivers` are images to carry along.
    """

    folder: str = "\\rt"
    command_file: str = "start.cmd"
    drivers: tuple[Path, ...] = ()
    size_mib: int = 64


@dataclass(frozen=True, slots=True)
class Adopt:
    """A disk or a live CD that is there already. Neither is ever written: machines use overlays.

    `firmware_variables` are those of a UEFI system, as QEMU keeps them (OVMF_VARS, raw): its boot entries and
    keys. Without them a machine starts from the host's fresh ones.
    """

    disk: Path | None = None
    format: DiskFormat = DiskFormat.QCOW2
    firmware_variables: Path | None = None
    cd: Path | None = None
    payload: Payload | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe as read; `file` is where it stands. `limits` names what the guest lacks
    (members of `Capability`) with the reason that a skipped test shows.
    """

    file: Path
    name: str
    title: str
    kind: GuestKind
    version: WindowsVersion
    arch: Arch
    hardware: Hardware
    channels: tuple[Access, ...]
    source: DebianBuild | Install | Adopt
    limits: Mapping[str, str] = field(default_factory=dict)
    boot_seconds: float = 600.0

    @property
    def folder(self) -> Path:
        return self.file.parent

    @property
    def guest_ports(self) -> tuple[int, ...]:
        """Ports of the guest that its channels need."""
        return tuple(dict.fromkeys(access.guest_port for access in self.channels if access.guest_port))

    @property
    def build_command(self) -> str:
        """What makes its image."""
        medium = " --media ISO" if isinstance(self.source, Install) else ""
        return f"harness image build {self.name}{medium}"

    @property
    def digest(self) -> str:
        """The hash of everything that determines the image; of disks and CDs it hashes the content."""
        from harness.image.digest import recipe_digest

        return recipe_digest(self)

    def access(self, kind: str) -> Access | None:
        """The first way in of that kind."""
        return next((access for access in self.channels if access.kind == kind), None)


@dataclass(frozen=True, slots=True)
class _File:
    """The keys of recipe.toml."""

    name: str
    title: str
    kind: GuestKind
    version: str
    arch: Arch
    hardware: Hardware = field(default_factory=Hardware)
    channels: tuple[Access, ...] = (Access(AccessKind.SERIAL),)
    limits: Mapping[str, str] = field(default_factory=dict)
    boot_seconds: float = 600.0
    build: Mapping[str, Any] | None = None
    install: Install | None = None
    adopt: Adopt | None = None


def load_recipe(file: Path) -> Recipe:
    """The recipe in `file`. Raises `ConfigError` that names file, key and what is allowed."""
    file = file.absolute()
    tables, bases = load_based(file)
    try:
        return _recipe(read_table(_File, tables, file), file)
    except ConfigError as error:
        if not bases:
            raise
        others = ", ".join(map(str, bases))
        raise ConfigError(f"{error}; keys that are not there are those of {others}") from error


def _recipe(read: _File, file: Path) -> Recipe:
    _check_file(read, file)
    _check_hardware(read.hardware, file)
    _check_channels(read, file)
    if [read.build, read.install, read.adopt].count(None) != 2:
        raise mistake(file, "build, install, adopt", "a recipe has exactly one of these tables")
    source: DebianBuild | Install | Adopt
    if read.adopt is not None:
        _check_adopt(read.adopt, read.hardware.firmware, file)
        source = read.adopt
    elif read.install is not None:
        check_install(read.install, read.hardware, file)
        source = read.install
    else:
        source = _build(read.build or {}, file)
    return Recipe(
        file=file,
        name=read.name,
        title=read.title,
        kind=read.kind,
        version=_version(read.version, file),
        arch=read.arch,
        hardware=read.hardware,
        channels=read.channels,
        source=source,
        limits=read.limits,
        boot_seconds=read.boot_seconds,
    )


def _build(raw: Mapping[str, Any], file: Path) -> DebianBuild:
    try:
        shape = _BUILDS[Builder(raw.get("builder", ""))]
    except ValueError:
        raise mistake(file, "build.builder", f"must be one of {', '.join(Builder)}") from None
    build = read_table(shape, raw, file, "build")
    _check_number(build.size_mib, 512, 1 << 20, file, "build.size_mib")
    for index, package in enumerate(build.packages):
        if not _PACKAGE.fullmatch(package):
            raise mistake(file, f"build.packages[{index}]", f"{package!r} is no name of a package")
    if build.suite and not _PACKAGE.fullmatch(build.suite):
        raise mistake(file, "build.suite", f"{build.suite!r} is no name of a release, such as bookworm")
    return build


def _version(text: str, file: Path) -> WindowsVersion:
    from harness.errors import UsageError

    try:
        return WindowsVersion.parse(text)
    except UsageError as error:
        raise mistake(file, "version", str(error)) from error


def _check_file(read: _File, file: Path) -> None:
    if not _NAME.fullmatch(read.name):
        raise mistake(file, "name", f"{read.name!r} must be small letters, digits, dots and dashes")
    if read.name != file.parent.name:
        raise mistake(
            file, "name", f"is {read.name!r}, and the folder is {file.parent.name!r}: they must agree"
        )
    if read.kind is GuestKind.REFERENCE:
        raise mistake(file, "kind", "the reference guest is no machine; use stand-in, windows or reactos")
    for limit, why in read.limits.items():
        if limit not in set(Capability):
            raise mistake(file, f"limits.{limit}", f"unknown (allowed: {', '.join(Capability)})")
        if not isinstance(why, str) or not why.strip():
            raise mistake(file, f"limits.{limit}", "must be a text that says why tests are skipped")
    _check_number(read.boot_seconds, 1, 86400, file, "boot_seconds")


def _check_hardware(hardware: Hardware, file: Path) -> None:
    _check_number(hardware.processors, 1, 64, file, "hardware.processors")
    _check_number(hardware.memory_mib, 32, 1 << 20, file, "hardware.memory_mib")
    _check_number(hardware.debug_com, 0, 2, file, "hardware.debug_com")
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


def _check_channels(read: _File, file: Path) -> None:
    if not read.channels:
        raise mistake(file, "channels", 'must name at least one way in; kind = "serial" needs nothing else')
    for index, access in enumerate(read.channels):
        where = f"channels[{index}]"
        _check_number(access.port, 0, 65535, file, f"{where}.port")
        if access.kind is AccessKind.SERIAL:
            if access != Access(AccessKind.SERIAL):
                raise mistake(file, where, "serial takes nothing else: its port is hardware.channel")
            continue
        if not access.user:
            raise mistake(file, f"{where}.user", f"is missing; {access.kind} logs in as somebody")
        if read.hardware.nic is Nic.NONE:
            raise mistake(file, where, f"{access.kind} needs a network card; hardware.nic is none")
        if read.adopt is not None:
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


def _check_adopt(adopt: Adopt, firmware: Firmware, file: Path) -> None:
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
    _check_number(payload.size_mib, 8, 2048, file, "adopt.payload.size_mib")
    for index, driver in enumerate(payload.drivers):
        _check_there(driver, file, f"adopt.payload.drivers[{index}]")


def _check_there(path: Path, file: Path, where: str) -> None:
    if not path.is_file():
        raise mistake(file, where, f"{path}: there is no such file")


def _check_number(value: Any, least: int, most: int, file: Path, where: str) -> None:
    if not least <= value <= most:
        raise mistake(file, where, f"must be from {least} to {most}, not {value}")
