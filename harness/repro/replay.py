"""Performing a scenario on a guest, and judging how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from harness.errors import DriverRefusedError, GuestCrashed, HarnessError
from harness.guest.base import Guest, OpenDevice
from harness.probe import abi
from harness.probe.client import Probe
from harness.probe.enums import FilterFlag, InnerCall
from harness.probe.filters import Filter
from harness.probe.kernel import KernelCallResult
from harness.registry.status import nt_success
from harness.repro.evaluate import Live, evaluate
from harness.repro.failure import CrashFacts, Failure
from harness.repro.journal import CallKind
from harness.repro.record_fields import data, text
from harness.repro.scenario import (
    Action,
    AddFilter,
    KernelCall,
    Other,
    ProbeChange,
    RemoveFilter,
    RunProgram,
    Scenario,
    SetRule,
    Slotted,
)
from harness.results.model import MAX_NAME, clip
from harness.results.outcome import Outcome, outcome_of
from harness.workload.builder import ProgramBuilder
from harness.workload.registry import HARNESS_KEY, Registry
from harness.workload.step import Step

__all__ = ["Replay", "perform"]

_RULE: Final = "REGPROBE_RULE"


@dataclass(slots=True)
class Replay:
    """One performance. `images` are the drivers' images by the member that a bundle names."""

    guest: Guest
    scenario: Scenario
    images: Mapping[str, bytes]
    probe: Probe | None = None
    steps: dict[tuple[int, int], Step] = field(default_factory=dict)
    filters: dict[int, Filter] = field(default_factory=dict)
    kernel_calls: dict[int, KernelCallResult] = field(default_factory=dict)
    _devices: dict[int, OpenDevice] = field(default_factory=dict)
    _registry: Registry | None = None
    _at: tuple[int, int | None] = (-1, None)

    def run(self) -> Failure | None:
        """Perform everything and judge; None when nothing failed.

        Raises what the harness raises for trouble that is no failure of a test: a request that was refused, a
        device that isn't there.
        """
        try:
            self.perform()
            return self.judge()
        except GuestCrashed as error:
            at, operation = self._at[0], error.operation
            return Failure(
                outcome_of(error),
                type(error).__name__,
                message=str(error).split("\n")[0],
                crash=CrashFacts.of(error.bugcheck),
                call=at,
                operation=operation,
            )
        except DriverRefusedError as error:
            message = str(error).split("\n")[0]
            return Failure(Outcome.FAIL, type(error).__name__, message=message, status=error.status)

    def perform(self) -> None:
        """All actions in order."""
        if self.scenario.test_root:
            self.registry.set_up()
        for action in self.scenario.actions:
            self._at = action.call, None
            self.perform_action(action)

    def judge(self) -> Failure | None:
        """What the claim says of what was performed."""
        claim = self.scenario.claim
        if claim is None:
            return None
        return evaluate(claim, self.live())

    @property
    def registry(self) -> Registry:
        """Over the recorded test root."""
        if self._registry is None:
            name = self.scenario.test_root.removeprefix(f"{HARNESS_KEY}\\")
            self._registry = Registry(self.guest, name=name)
        return self._registry

    def live(self) -> Live:
        """What the names of a claim stand for now."""
        return Live(self.guest, self.probe, self.registry, self.steps, self.filters, self.kernel_calls)

    def perform_action(self, action: Action) -> None:
        match action:
            case RunProgram():
                self.program(action).run()
            case AddFilter():
                self._add_filter(action)
            case SetRule():
                self._probe().set_rule({**action.values, "filter_id": self._number(action.filter)})
            case RemoveFilter():
                self._remove_filter(action)
            case KernelCall():
                self.kernel_calls[action.call] = self._kernel_call(action)
            case ProbeChange():
                self._change(action)
            case Other():
                self._other(action)

    # -- programs -------------------------------------------------------------------------------------

    def program(self, action: RunProgram) -> ProgramBuilder:
        """The program, recorded anew so that its steps can be asked."""
        builder = _Unchecked(self.guest, self.registry)
        for _ in range(action.handle_count):
            builder.new_slot()
        for each in action.operations:
            fields = {name: value for name, value in self._fields(each).items() if name != "opcode"}
            place = fields.pop("process", 0), fields.pop("thread", 0)
            with builder.on(process=place[0], thread=place[1]):
                step = builder.record(each.operation.opcode, **fields)
            self.steps[action.call, each.index] = step
        return builder

    def _fields(self, each: Slotted) -> dict[str, Any]:
        fields = dict(each.operation.__dict__)
        if each.filter >= 0 and each.operation.data is not None:
            # The number the filter has this time.
            code = each.operation.code
            record = abi.record(_RULE if code == abi.constant("IOCTL_REGPROBE_SET_RULE") else _REMOVE)
            at = record.offset("filter_id")
            number = self._number(each.filter).to_bytes(4, "little")
            fields["data"] = each.operation.data[:at] + number + each.operation.data[at + 4 :]
        return fields

    # -- the probe ------------------------------------------------------------------------------------

    def _probe(self) -> Probe:
        if self.probe is None:
            self.probe = Probe(self.guest)
        return self.probe

    def _number(self, call: int) -> int:
        return self.filters[call].id if call in self.filters else 0

    def _add_filter(self, action: AddFilter) -> None:
        flags = FilterFlag(int(action.values["flags"]))
        context = int(action.values["context"])
        altitude = action.altitude or None
        probe = self._probe()
        if action.refused:
            probe.try_add(
                altitude,
                context=context,
                legacy=FilterFlag.LEGACY in flags,
                at_apc_level=FilterFlag.AT_APC_LEVEL in flags,
            )
            return
        self.filters[action.call] = probe.add(
            altitude,
            context=context,
            legacy=FilterFlag.LEGACY in flags,
            at_apc_level=FilterFlag.AT_APC_LEVEL in flags,
            silent=FilterFlag.SILENT in flags,
            names=FilterFlag.NO_NAMES not in flags,
            raw=FilterFlag.NO_RAW not in flags,
            shared_routine=FilterFlag.SHARED_ROUTINE in flags,
        )

    def _remove_filter(self, action: RemoveFilter) -> None:
        probe = self._probe()
        flags = FilterFlag(int(action.values["flags"]) & FilterFlag.AT_APC_LEVEL)
        found = self.filters.get(action.filter)
        if found is not None and not found.removed:
            probe.remove(found, at_apc_level=bool(flags))
        elif action.filter < 0:
            probe.unregister_cookie(int(action.values["cookie"]), at_apc_level=bool(flags))

    def _kernel_call(self, action: KernelCall) -> KernelCallResult:
        values: dict[str, Any] = dict(action.values)
        flags = int(values["flags"])
        return self._probe().kernel_call.call(
            InnerCall(values["call"]),
            text(values, "target"),
            value=text(values, "value_name"),
            data=data(values),
            value_type=values["value_type"],
            index=values["index"],
            access=values["access"],
            work_item=bool(flags & 1),
            force_access_check=bool(flags & 2),
            open_link=bool(flags & 4),
        )

    def _change(self, action: ProbeChange) -> None:
        probe = self._probe()
        if action.code == "IOCTL_REGPROBE_RESET":
            probe.reset()
        else:
            probe.clear_rules(self.filters.get(action.filter))

    # -- the rest -------------------------------------------------------------------------------------

    def _other(self, action: Other) -> None:
        record, guest = action.record, self.guest
        match record.kind:
            case CallKind.INSTALL:
                image = self.images[record.member]
                guest.install_driver(record.service, image, parameters=action.parameters or None)
            case CallKind.START:
                status = guest.start_driver(record.service)
                if not nt_success(status) and record.status is not None and nt_success(record.status):
                    raise DriverRefusedError(f"{record.service} did not start", status=status)
            case CallKind.STOP:
                guest.stop_driver(record.service)
            case CallKind.REMOVE:
                guest.remove_driver(record.service)
            case CallKind.OPEN:
                self._open(record.device, record.held)
            case CallKind.CLOSE:
                self._close(record.held)
            case CallKind.REQUEST:
                held = self._devices.get(record.held)
                if held is not None:
                    held.ioctl(record.code, action.data, output=record.output)
                else:
                    guest.ioctl(record.device, record.code, action.data, output=record.output)
            case CallKind.PUT:
                guest.put(record.path, action.data)
            case CallKind.EXECUTE:
                guest.execute(record.argv, timeout=record.timeout, folder=record.path or None)
            case CallKind.READ:
                guest.read_device(record.device, record.length)
            case CallKind.WRITE:
                guest.write_device(record.device, action.data)
            case CallKind.PROGRAM:
                raise AssertionError("programs are no other calls")

    def _open(self, device: str, held: int) -> None:
        if device.lower() == abi.DEVICE.lower():
            self.probe = Probe(self.guest)
            self._devices[held] = OpenDevice(self.guest, device)
        else:
            self._devices[held] = self.guest.open_device(device)

    def _close(self, held: int) -> None:
        device = self._devices.pop(held, None)
        if device is None:
            return
        if device.name.lower() == abi.DEVICE.lower():
            probe, self.probe = self.probe, None
            if probe is not None:
                probe.close()
        else:
            device.close()


_REMOVE: Final = "REGPROBE_REMOVE_FILTER"


class _Unchecked(ProgramBuilder):
    """A builder for operations that were recorded before: nothing is expected of them here."""


def perform(guest: Guest, scenario: Scenario, images: Mapping[str, bytes]) -> Failure | None:
    """Perform a scenario on a fresh guest; its failure, with trouble on the way as one."""
    replay = Replay(guest, scenario, images)
    try:
        failure = replay.run()
    except HarnessError as error:
        return Failure(Outcome.FAIL, type(error).__name__, message=clip(str(error).split("\n")[0], MAX_NAME))
    return None if failure is None else replace(failure, place=scenario.failure.place)
