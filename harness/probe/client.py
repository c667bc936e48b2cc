"""The probe as a test uses it: filters, rules, kernel calls, traces."""

from __future__ import annotations

from typing import Any, NoReturn, Protocol, Self

from harness.cleanup import Closing
from harness.errors import DriverRefusedError, InfrastructureError, UnsupportedError, UsageError
from harness.probe import abi
from harness.probe.altitudes import HIGH, MONITOR, altitudes
from harness.probe.collector import Collector
from harness.probe.conditions import ProgramLike
from harness.probe.crash import crash_request
from harness.probe.enums import CrashWay, FilterFlag
from harness.probe.errors import ProbeError
from harness.probe.event import System
from harness.probe.filters import Filter, ProgramAddition, Removal, addition_request, removal_request
from harness.probe.gates import Gate
from harness.probe.info import ProbeInfo, ProbeStatistics
from harness.probe.kernel import KernelCalls
from harness.probe.link import Link, SupportsIoctl
from harness.probe.trace import Trace
from harness.registry.status import NTSTATUS, nt_success, status_name

__all__ = ["SERVICE", "Probe", "SupportsDrivers"]

#: The probe's service name.
SERVICE = "regprobe"


class SupportsDrivers(SupportsIoctl, Protocol):
    """A guest that loads drivers."""

    @property
    def info(self) -> Any: ...
    def install_driver(self, service: str, image: bytes, *, parameters: Any = None) -> None: ...
    def start_driver(self, service: str) -> int: ...
    def stop_driver(self, service: str) -> int: ...
    def remove_driver(self, service: str) -> None: ...


class Probe(Closing):
    """The running probe driver of a guest.

    Raises `AbiMismatchError` when the driver speaks another ABI. As a context manager it leaves the guest
    without filters, and without the driver when `install` put it there.
    """

    def __init__(self, guest: SupportsIoctl) -> None:
        self._link = Link(guest)
        self._service: str | None = None
        self.info = ProbeInfo.of(self._link.info())
        #: Registry calls in kernel mode, outside callbacks.
        self.kernel_call = KernelCalls(self._link)
        #: The filters that are registered, in the order they were added.
        self.filters: list[Filter] = []
        self._names: dict[int, str] = {}
        self._collector = Collector(self._link, self._system)

    @classmethod
    def install(
        cls,
        guest: SupportsDrivers,
        *,
        image: bytes | None = None,
        service: str = SERVICE,
        ring_slots: int | None = None,
    ) -> Self:
        """Install and start the driver; closing the probe stops and removes it.

        `image` defaults to the built driver of the guest's architecture, signed as its version checks it.
        Raises `DriverRefusedError` when the guest or DriverEntry refuses it.
        """
        if image is None:
            from harness.driver import probe_image

            image = probe_image(guest.info.arch, guest.info.version)
        parameters = None if ring_slots is None else {"RingSlots": ring_slots}
        guest.install_driver(service, image, parameters=parameters)
        try:
            status = guest.start_driver(service)
            if not nt_success(status):
                raise DriverRefusedError(f"the probe did not start: {status_name(status)}", status=status)
            probe = cls(guest)
        except BaseException:
            guest.remove_driver(service)
            raise
        probe._service = service
        return probe

    def __repr__(self) -> str:
        return f"<probe on Windows {self.info.version}, {len(self.filters)} filters>"

    def close(self) -> None:
        """Remove filters and rules, and the driver when `install` put it there."""
        service, self._service = self._service, None
        if service is None:
            try:
                self.reset()
            finally:
                self._link.close()
            return
        guest: Any = self._link.guest
        self._forget_all()
        self._link.close()
        guest.remove_driver(service)

    # -- filters --------------------------------------------------------------------------------------

    def add(
        self,
        altitude: str | None = None,
        *,
        context: int = 0,
        legacy: bool | None = None,
        at_apc_level: bool = False,
        silent: bool = False,
        names: bool = True,
        raw: bool = True,
        shared_routine: bool = False,
    ) -> Filter:
        """Register a callback. Raises `ProbeError` with the status when that fails.

        `legacy` uses CmRegisterCallback; default: only where there is no CmRegisterCallbackEx (before Vista),
        and then the order of adding decides instead of the altitude. `silent` applies rules and records
        nothing; `names` and `raw` False skip key names and structure bytes. `shared_routine` registers one
        routine for all such filters (B-REG-11); the context is then the driver's own. Raises
        `UnsupportedError` where the kernel has no callbacks at all.
        """
        flags = FilterFlag(0)
        for flag, given in (
            (FilterFlag.AT_APC_LEVEL, at_apc_level),
            (FilterFlag.SILENT, silent),
            (FilterFlag.NO_NAMES, not names),
            (FilterFlag.NO_RAW, not raw),
            (FilterFlag.SHARED_ROUTINE, shared_routine),
        ):
            flags |= flag if given else FilterFlag(0)
        found = self._register(altitude, context, legacy, flags)
        if found == NTSTATUS.NOT_IMPLEMENTED:
            raise UnsupportedError(
                "this guest's kernel has no registry callbacks: it answers NOT_IMPLEMENTED"
            )
        if isinstance(found, int):
            raise ProbeError(f"registering a filter at {altitude or 'no altitude'}", found)
        return found

    def try_add(
        self,
        altitude: str | None = None,
        *,
        context: int = 0,
        legacy: bool | None = None,
        at_apc_level: bool = False,
    ) -> int:
        """The status of registering (unsigned); on success the filter is the last of `filters`."""
        flags = FilterFlag.AT_APC_LEVEL if at_apc_level else FilterFlag(0)
        found = self._register(altitude, context, legacy, flags)
        return found if isinstance(found, int) else 0

    def add_monitor(self, **options: Any) -> Filter:
        """A filter that only watches, at a free test altitude; works on every Windows."""
        taken = {each.altitude for each in self.filters}
        whole, _, fraction = MONITOR.partition(".")
        number = int(whole)
        while f"{number}.{fraction}" in taken:
            number += 1
        return self.add(f"{number}.{fraction}", **options)

    def stack(self, *levels: str | int) -> tuple[Filter, ...]:
        """Several filters, in the order given: altitudes, or one number for that many from high to low."""
        if len(levels) == 1 and isinstance(levels[0], int):
            return tuple(self.add(altitude) for altitude in altitudes(levels[0]))
        return tuple(self.add(str(level)) for level in levels)

    def _register(
        self, altitude: str | None, context: int, legacy: bool | None, flags: FilterFlag
    ) -> Filter | int:
        if legacy is None:
            legacy = not self.info.has_register_callback_ex
        if altitude is None and not legacy:
            raise UsageError(f"a filter needs an altitude, e.g. {HIGH!r}; only a legacy one has none")
        flags |= FilterFlag.LEGACY if legacy else FilterFlag(0)
        request, output = addition_request(None if legacy else altitude, context, flags)
        reply = self._link.send("IOCTL_REGPROBE_ADD_FILTER", request, output=output, what="adding a filter")
        return self.adopt(reply, altitude, context=context, legacy=legacy)

    def add_in(
        self, program: ProgramLike, altitude: str | None = None, *, context: int = 0
    ) -> ProgramAddition:
        """Let a program register a filter at that point, for instance while an operation goes on."""
        legacy = not self.info.has_register_callback_ex
        flags = FilterFlag.LEGACY if legacy else FilterFlag(0)
        request, output = addition_request(None if legacy else altitude, context, flags)
        code = abi.constant("IOCTL_REGPROBE_ADD_FILTER")
        step = program.device_control(abi.DEVICE, code, request, output=output)
        return ProgramAddition(self, step, altitude, context, legacy)

    def adopt(
        self, answer: bytes, altitude: str | None, *, context: int = 0, legacy: bool = False
    ) -> Filter | int:
        """The filter that a reply to an addition speaks of, or the status of one that failed (unsigned)."""
        reply = abi.record("REGPROBE_ADD_FILTER_REPLY").unpack(answer)
        status = int(reply["status"]) & 0xFFFF_FFFF
        if not nt_success(status):
            return status
        filter_id = int(reply["filter_id"])
        added = Filter(
            self,
            filter_id,
            altitude=altitude,
            cookie=int(reply["cookie"]),
            context=context,
            legacy=legacy,
            name=f"{altitude or 'legacy'}#{filter_id}" if legacy else str(altitude),
        )
        self.filters.append(added)
        self._names[filter_id] = added.name
        return added

    def remove(self, filter: Filter, *, at_apc_level: bool = False) -> Removal:
        """Unregister a filter. Raises `ProbeError` with the status of CmUnRegisterCallback when it fails."""
        removal = self._unregister(*removal_request(filter.id, at_apc_level=at_apc_level))
        if not nt_success(removal.status):
            raise ProbeError(f"removing {filter!r}", removal.status)
        self.forget(filter)
        return removal

    def unregister_cookie(self, cookie: int, *, at_apc_level: bool = False) -> Removal:
        """What CmUnRegisterCallback says to any cookie, right or wrong (B-REG-20); raises nothing."""
        return self._unregister(*removal_request(0, at_apc_level=at_apc_level, cookie=cookie))

    def _unregister(self, code: str, request: bytes, output: int) -> Removal:
        reply = abi.record("REGPROBE_REMOVE_FILTER_REPLY").unpack(
            self._link.send(code, request, output=output, what="removing a filter")
        )
        return Removal(int(reply["status"]) & 0xFFFF_FFFF, int(reply["cleanups"]))

    def forget(self, filter: Filter) -> None:
        """Take a filter off the list: it is removed, or a program will do it."""
        filter.removed = True
        if filter in self.filters:
            self.filters.remove(filter)

    def gate(self, number: int = 0) -> Gate:
        """A place where operations stand until they are let through (`RuleBuilder.stand`)."""
        return Gate(self._link, number)

    # -- rules ----------------------------------------------------------------------------------------

    def set_rule(self, values: dict[str, int | bytes]) -> int:
        """Send one rule record; returns its id. `Filter.on` is the convenient way."""
        reply = self._link.call(
            "IOCTL_REGPROBE_SET_RULE", "REGPROBE_RULE", "REGPROBE_RULE_REPLY", "setting a rule", **values
        )
        return int(reply["rule_id"])

    def clear_rules(self, filter: Filter | None = None, rule_id: int = 0) -> None:
        """Clear one rule, every rule of a filter, or (without arguments) all rules."""
        request = abi.record("REGPROBE_CLEAR_RULES").pack(
            filter_id=0 if filter is None else filter.id, rule_id=rule_id
        )
        self._link.send("IOCTL_REGPROBE_CLEAR_RULES", request, what="clearing rules")

    # -- events ---------------------------------------------------------------------------------------

    @property
    def trace(self) -> Trace:
        """Everything recorded since the start or the last reset.

        Raises `TraceIncompleteError` when the driver dropped events: such a trace proves nothing.
        """
        return self._collector.trace()

    def drain(self) -> Trace:
        """What was recorded since the last look, complete or not."""
        return self._collector.drain()

    def check_complete(self) -> None:
        """Drain, and raise `TraceIncompleteError` when events are missing."""
        self._collector.drain()
        self._collector.check()

    def take_classes(self) -> frozenset[int]:
        """Numbers of the notify classes that filters were told of, as far as drained, since the last call."""
        return self._collector.take_classes()

    @property
    def statistics(self) -> ProbeStatistics:
        """Counters of the driver at this moment."""
        reply = self._link.call(
            "IOCTL_REGPROBE_STATISTICS", "REGPROBE_HEADER", "REGPROBE_STATISTICS_REPLY", "statistics"
        )
        return ProbeStatistics(**reply)

    def reset(self) -> None:
        """Remove every filter and rule, forget every event."""
        self._link.send("IOCTL_REGPROBE_RESET", abi.record("REGPROBE_HEADER").pack(), what="resetting")
        self._forget_all()

    # -- the end of the guest -------------------------------------------------------------------------

    def crash(self, code: int, parameters: tuple[int, int, int, int] = (0, 0, 0, 0)) -> NoReturn:
        """Bring the guest down with KeBugCheckEx; ends with the `GuestCrashed` of whoever notices.

        Parameters have 32 bits on x86. Raises `InfrastructureError` when the guest goes on all the same.
        """
        self._go_down(CrashWay.BUGCHECK, code, parameters)

    def hang(self, *, spin: bool = True) -> NoReturn:
        """A request that never returns; ends with the `GuestHung` of whoever notices.

        `spin`: in a loop, which keeps a processor busy; otherwise in a wait.
        """
        self._go_down(CrashWay.SPIN if spin else CrashWay.WAIT)

    def _go_down(
        self, way: CrashWay, code: int = 0, parameters: tuple[int, int, int, int] = (0, 0, 0, 0)
    ) -> NoReturn:
        request = crash_request(way, code, parameters, pointer_size=self.info.pointer_size)
        self._link.send("IOCTL_REGPROBE_CRASH", request, what=f"bringing the guest down ({way.name.lower()})")
        raise InfrastructureError(f"the guest was to {way.name.lower()}, and its driver answered and goes on")

    def _forget_all(self) -> None:
        for each in list(self.filters):
            self.forget(each)
        self._names.clear()
        self._collector.forget()

    def _system(self) -> System:
        return System(self.info.version, self.info.pointer_size, dict(self._names))
