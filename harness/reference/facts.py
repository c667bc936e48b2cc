"""What a running driver has in the guest: its devices, their links, its registry callbacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.reference.guest import ReferenceGuest

__all__ = ["CallbackFacts", "DriverFacts", "driver_facts"]


@dataclass(frozen=True, slots=True)
class CallbackFacts:
    """One registered callback, highest first. `altitude` is where the model put a legacy one."""

    altitude: str
    legacy: bool


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """`devices` and `links` are full object names; a link reads ``\\GLOBAL??\\X -> \\Device\\X``."""

    devices: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    callbacks: tuple[CallbackFacts, ...] = ()


def driver_facts(guest: ReferenceGuest, service: str) -> DriverFacts:
    """What the driver of `service` has right now. Raises `UsageError` for an unknown service."""
    from harness.reference.filtering.registration import LEGACY_ALTITUDE

    found = guest.drivers.get(service)
    module, driver = found.module, found.driver
    if module is None or driver is None:
        return DriverFacts()
    kernel = guest.machine.kernel
    devices = tuple(kernel.namespace.full_name(device) or "(unnamed)" for device in driver.body.devices)
    links = tuple(
        f"{kernel.namespace.full_name(link)} -> {link.body.target}"
        for link, owner in kernel.symbolic_links.values()
        if owner is module
    )
    callbacks = tuple(
        CallbackFacts(str(LEGACY_ALTITUDE if each.altitude is None else each.altitude), each.legacy)
        for each in guest.machine.registry.stack.ordered
        if module.base <= each.routine < module.end
    )
    return DriverFacts(devices, links, callbacks)
