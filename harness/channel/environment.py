"""What a guest says about its system: the runner's answer to ENVIRONMENT (docs/runner.md)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from harness.channel.replies import U64, Reply
from harness.guest.base import Arch

__all__ = ["Environment"]

_MAX_NAMES: Final = 4096
_MAX_PATH: Final = 32767


@dataclass(frozen=True, slots=True)
class Environment:
    """Stored with results. None means that the guest could not find out, never a guess.

    `arch` is the system's, not the runner's. `verifier_flags` are Driver Verifier's, `filters` the services
    that look like registry or file system filters with their altitudes as the system lists them.
    """

    major: int
    minor: int
    build: int
    ubr: int | None  # the update build revision: 10.0.26100.UBR
    service_pack: int | None
    product: str | None  # "Windows 11 Pro"
    server: bool | None
    arch: Arch
    processors: int
    memory: int | None  # bytes
    computer: str | None
    wine: str | None  # Wine's version where this is Wine
    secure_boot: bool | None
    test_signing: bool | None
    hvci: bool | None
    vbs: bool | None
    verifier_flags: int | None
    verifier_drivers: tuple[str, ...] | None
    filters: tuple[str, ...] | None
    unix_us: int  # the clock: microseconds since 1970 UTC
    uptime_ms: int | None

    @classmethod
    def read(cls, reply: Reply) -> Environment:
        """Raises `ChannelError` for what is missing, of another type or out of bounds."""
        return cls(
            major=reply.integer("major", most=0xFFFF),
            minor=reply.integer("minor", most=0xFFFF),
            build=reply.integer("build"),
            ubr=reply.integer_or_none("ubr"),
            service_pack=reply.integer_or_none("service_pack", most=0xFFFF),
            product=reply.text_or_none("product"),
            server=reply.boolean_or_none("server"),
            arch=reply.choice("arch", Arch),
            processors=reply.integer("processors", least=1, most=0xFFFF),
            memory=reply.integer_or_none("memory", most=U64),
            computer=reply.text_or_none("computer"),
            wine=reply.text_or_none("wine"),
            secure_boot=reply.boolean_or_none("secure_boot"),
            test_signing=reply.boolean_or_none("test_signing"),
            hvci=reply.boolean_or_none("hvci"),
            vbs=reply.boolean_or_none("vbs"),
            verifier_flags=reply.integer_or_none("verifier_flags"),
            verifier_drivers=reply.texts_or_none("verifier_drivers", count=_MAX_NAMES, most=_MAX_PATH),
            filters=reply.texts_or_none("filters", count=_MAX_NAMES, most=_MAX_PATH),
            unix_us=reply.integer("unix_us", most=U64),
            uptime_ms=reply.integer_or_none("uptime_ms", most=U64),
        )
