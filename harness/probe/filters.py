"""Filters: registrations of the probe's callback."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from harness.cleanup import after
from harness.errors import UsageError
from harness.probe import abi
from harness.probe.conditions import ProgramLike, StepLike, conditions
from harness.probe.enums import FilterFlag
from harness.probe.errors import ProbeError
from harness.probe.rules import RuleBuilder
from harness.registry.notify import NotifyClass, Operation

if TYPE_CHECKING:
    from harness.probe.client import Probe

__all__ = [
    "Filter",
    "ProgramAddition",
    "ProgramRemoval",
    "Removal",
    "addition_request",
    "removal_request",
]


@dataclass(frozen=True, slots=True)
class Removal:
    """What unregistering gave. `cleanups`: context cleanups delivered during the call (B-REG-25)."""

    status: int
    cleanups: int


@dataclass(frozen=True, slots=True)
class ProgramRemoval:
    """A removal that a program makes; its results are there once the program has run."""

    step: Any

    def _reply(self) -> dict[str, Any]:
        return abi.record("REGPROBE_REMOVE_FILTER_REPLY").unpack(self.step.output)

    @property
    def status(self) -> int:
        """Status of CmUnRegisterCallback (unsigned); of the request when that was refused."""
        if self.step.status >= 0x8000_0000:
            return int(self.step.status)
        return int(self._reply()["status"]) & 0xFFFF_FFFF

    @property
    def cleanups(self) -> int:
        return int(self._reply()["cleanups"])

    @property
    def time(self) -> int:
        """When CmUnRegisterCallback returned, in ticks of events and steps."""
        return int(self._reply()["time"])


@dataclass(frozen=True, slots=True)
class ProgramAddition:
    """A registration that a program makes."""

    probe: Probe
    step: Any
    altitude: str | None
    context: int
    legacy: bool

    @property
    def filter(self) -> Filter:
        """The filter, once the program has run. Raises `ProbeError` when it could not be registered."""
        known = abi.record("REGPROBE_ADD_FILTER_REPLY").unpack(self.step.output)["filter_id"]
        for each in self.probe.filters:
            if each.id == known:
                return each
        found = self.probe.adopt(self.step.output, self.altitude, context=self.context, legacy=self.legacy)
        if isinstance(found, int):
            raise ProbeError(f"registering a filter at {self.altitude or 'no altitude'}", found)
        return found


class Filter:
    """One registration. Made by `Probe.add`; as a context manager it is removed at the end of the block."""

    def __init__(
        self,
        probe: Probe,
        filter_id: int,
        *,
        altitude: str | None,
        cookie: int,
        context: int,
        legacy: bool,
        name: str,
    ) -> None:
        self.probe = probe
        self.id = filter_id
        #: As registered; None for a legacy registration, which has none.
        self.altitude = altitude
        self.cookie = cookie
        self.context = context
        self.legacy = legacy
        #: What tables call it.
        self.name = name
        self.removed = False

    def __repr__(self) -> str:
        return f"<filter {self.name}{' (removed)' if self.removed else ''}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        with after(error):
            if not self.removed:
                self.remove()

    def on(
        self,
        *classes: NotifyClass | Operation,
        key: str | None = None,
        under: str | StepLike | None = None,
        prefix: str | None = None,
        value: str | None = None,
        process: int | None = None,
        thread: int | None = None,
        status: int | None = None,
        previous_mode: int | None = None,
        nth: int | None = None,
        count: int | None = None,
    ) -> RuleBuilder:
        """When these classes arrive and every condition holds; the returned builder says what happens then.

        `key` is exactly that path, `under` (or `prefix`) it or anything below; `under` also takes a step of a
        program that yields a key handle, and then that program sets the rule. `value` is the value name,
        `status` the Status on entry of a post. `nth` is the occurrence (from 1) at which the rule begins to
        apply, `count` how many it applies to.
        """
        if self.removed:
            raise UsageError(f"{self!r} takes no more rules")
        found = conditions(
            classes,
            key=key,
            under=under,
            prefix=prefix,
            value=value,
            process=process,
            thread=thread,
            status=status,
            previous_mode=previous_mode,
            nth=nth,
            count=count,
        )
        return RuleBuilder(self, found)

    def clear(self) -> None:
        """Clear every rule of this filter."""
        self.probe.clear_rules(self)

    def remove(self, *, at_apc_level: bool = False) -> Removal:
        """Unregister. Raises `ProbeError` with the status when that fails."""
        if self.removed:
            raise UsageError(f"{self!r} was removed before; Probe.unregister_cookie passes a used one")
        return self.probe.remove(self, at_apc_level=at_apc_level)

    def remove_in(self, program: ProgramLike, *, at_apc_level: bool = False) -> ProgramRemoval:
        """Let a program unregister this filter at that point, for instance while its keys are open."""
        if self.removed:
            raise UsageError(f"{self!r} was removed before")
        code, request, output = removal_request(self.id, at_apc_level=at_apc_level)
        step = program.device_control(abi.DEVICE, abi.constant(code), request, output=output)
        self.probe.forget(self)
        return ProgramRemoval(step)


def addition_request(altitude: str | None, context: int, flags: FilterFlag) -> tuple[bytes, int]:
    """Request and reply size of a registration; no altitude for a legacy one."""
    encoded = (altitude or "").encode("utf-16-le", "surrogatepass")
    request = abi.record("REGPROBE_ADD_FILTER").pack(
        flags=int(flags), context=context, altitude=encoded, altitude_length=len(encoded)
    )
    return request, abi.record("REGPROBE_ADD_FILTER_REPLY").size


def removal_request(
    filter_id: int, *, at_apc_level: bool, cookie: int | None = None
) -> tuple[str, bytes, int]:
    """Code, request and reply size of a removal, by filter id or by cookie."""
    flags = int(FilterFlag.AT_APC_LEVEL) if at_apc_level else 0
    if cookie is not None:
        flags |= abi.constant("REGPROBE_REMOVE_BY_COOKIE")
    request = abi.record("REGPROBE_REMOVE_FILTER").pack(filter_id=filter_id, flags=flags, cookie=cookie or 0)
    return "IOCTL_REGPROBE_REMOVE_FILTER", request, abi.record("REGPROBE_REMOVE_FILTER_REPLY").size
