"""A registered callback, and the key objects it binds contexts to.

Sources: nf-wdm-cmregistercallbackex, nf-wdm-cmsetcallbackobjectcontext; per rule the behaviour id.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from harness.registry.altitude import Altitude

__all__ = ["LEGACY_ALTITUDE", "ContextHolder", "Registration", "RegistrationResult"]

#: Where CmRegisterCallback puts a callback on Vista and later. The page says "near the top" only (B-REG-31);
#: the value lies in the group that ends the documented load order ("FSFilter Top" and "Filter").
LEGACY_ALTITUDE: Final = Altitude("425000")


class ContextHolder(Protocol):
    """A key object as the contract sees it: something callbacks bind contexts to (B-CTX-03, 04)."""

    contexts: dict[Registration, int] | None


class Registration:
    """One callback in the stack. Compared and hashed by identity: two registrations are never equal."""

    __slots__ = (
        "altitude",
        "below",
        "callers",
        "context",
        "cookie",
        "holders",
        "legacy",
        "live",
        "order",
        "owner",
        "routine",
    )

    def __init__(
        self,
        *,
        cookie: int,
        altitude: Altitude | None,
        legacy: bool,
        routine: int,
        context: int,
        order: int,
        owner: Hashable,
    ) -> None:
        self.cookie = cookie
        self.altitude = altitude
        self.legacy = legacy
        self.routine = routine
        self.context = context
        self.order = order
        self.owner = owner
        self.live = True
        #: The threads that are inside the callback; one that calls the registry there may be twice.
        self.callers: list[Hashable] = []
        #: What registry calls made inside this callback are shown to (B-LAY-11..14); kept by the stack.
        self.below: tuple[Registration, ...] = ()
        #: Key objects that carry a context of this registration, in the order of binding.
        self.holders: dict[ContextHolder, None] = {}

    def __repr__(self) -> str:
        where = "legacy" if self.legacy else str(self.altitude)
        return f"<Registration {where} cookie={self.cookie:#x} routine={self.routine:#x}>"


@dataclass(frozen=True, slots=True)
class RegistrationResult:
    """What registering answered: a registration exists exactly when `status` is STATUS_SUCCESS."""

    status: int
    registration: Registration | None = None
