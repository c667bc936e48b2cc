"""What a guest says about its system: the runner's answer to ENVIRONMENT (docs/runner.md)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from harness.channel.replies import U64, Reply
from harness.guest.base import Arch

__all__ = ["Environment", "LoadedDriver", "ProductType"]

_MAX_NAMES: Final = 4096
_MAX_PATH: Final = 32767


class ProductType(IntEnum):
    """VER_NT_xxx of winnt.h."""

    WORKSTATION = 1
    DOMAIN_CONTROLLER = 2
    SERVER = 3


@dataclass(frozen=True, slots=True)
class LoadedDriver:
    """A module of the kernel. `size` in bytes; `base` is None for accounts that may not know it."""

    name: str
    size: int
    base: int | None


@dataclass(frozen=True, slots=True)
class Environment:
    """Stored with results. None means that the guest could not find out, never a guess.

    `arch` is the system's, not the runner's. `filters` are the file system's minifilters. `calls` are the
    native registry routines this system has, of those that some have not; `pretends` those that claim success
    and do nothing.
    """

    major: int
    minor: int
    build: int
    ubr: int | None  # the update build revision: 10.0.26100.UBR
    service_pack: int
    product_type: ProductType
    product: str | None  # "Windows 11 Pro"
    edition: str | None
    display_version: str | None  # "24H2"
    arch: Arch
    processors: int
    memory_mib: int | None
    computer: str | None
    user: str | None
    elevated: bool | None
    unix_us: int  # the clock: microseconds since 1970 UTC
    uptime_ms: int
    boot_id: str | None  # another one after every boot
    wine: str | None  # Wine's version where this is Wine
    reactos: str | None
    secure_boot: bool | None
    test_signing: bool | None
    code_integrity: int | None  # CODEINTEGRITY_OPTION_xxx
    hvci: bool | None
    vbs: bool | None
    kernel_debugger: bool | None
    verifier_flags: int | None  # Driver Verifier's; 0 when it verifies nothing
    verifier_drivers: tuple[str, ...] | None
    drivers: tuple[LoadedDriver, ...] | None
    filters: tuple[str, ...] | None
    calls: tuple[str, ...] | None
    pretends: tuple[str, ...] | None

    @classmethod
    def read(cls, reply: Reply) -> Environment:
        """Raises `ChannelError` for what is missing, of another type or out of bounds."""
        system = reply.map("os")
        verifier = reply.map("verifier")
        drivers = reply.maps_or_none("drivers", count=_MAX_NAMES)
        return cls(
            major=system.integer("major", most=0xFFFF),
            minor=system.integer("minor", most=0xFFFF),
            build=system.integer("build"),
            ubr=system.integer_or_none("ubr"),
            service_pack=system.integer("service_pack", most=0xFFFF),
            product_type=ProductType(
                system.integer("product_type", least=min(ProductType), most=max(ProductType))
            ),
            product=system.text_or_none("product"),
            edition=system.text_or_none("edition"),
            display_version=system.text_or_none("display_version"),
            arch=reply.choice("native_arch", Arch),
            processors=reply.integer("processors", least=1, most=0xFFFF),
            memory_mib=reply.integer_or_none("memory_mib"),
            computer=reply.text_or_none("computer"),
            user=reply.text_or_none("user", most=512),
            elevated=reply.boolean_or_none("elevated"),
            unix_us=reply.integer("clock_unix_us", most=U64),
            uptime_ms=reply.integer("uptime_ms", most=U64),
            boot_id=reply.text_or_none("boot_id"),
            wine=reply.text_or_none("wine"),
            reactos=reply.text_or_none("reactos"),
            secure_boot=reply.boolean_or_none("secure_boot"),
            test_signing=reply.boolean_or_none("test_signing"),
            code_integrity=reply.integer_or_none("code_integrity"),
            hvci=reply.boolean_or_none("hvci"),
            vbs=reply.boolean_or_none("vbs"),
            kernel_debugger=reply.boolean_or_none("kernel_debugger"),
            verifier_flags=verifier.integer_or_none("flags"),
            verifier_drivers=verifier.texts_or_none("drivers", count=_MAX_NAMES, most=_MAX_PATH),
            drivers=None if drivers is None else tuple(_driver(each) for each in drivers),
            filters=reply.texts_or_none("filters", count=_MAX_NAMES),
            calls=reply.texts_or_none("calls", count=_MAX_NAMES),
            pretends=reply.texts_or_none("pretends", count=_MAX_NAMES),
        )


def _driver(reply: Reply) -> LoadedDriver:
    return LoadedDriver(
        reply.text("name"), reply.integer("size", most=U64), reply.integer_or_none("base", most=U64)
    )
