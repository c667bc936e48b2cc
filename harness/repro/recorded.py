"""The scenario of a bundle: its calls decoded, its set-up left to those who perform it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from harness.errors import HarnessError, UsageError
from harness.probe import abi
from harness.repro.bundle import Bundle, CallRecord
from harness.repro.journal import CallKind
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
from harness.workload.codec import decode_program
from harness.workload.opcodes import Opcode
from harness.workload.program import Operation
from harness.workload.registry import HARNESS_KEY

__all__ = ["scenario_of"]

#: Requests that only look.
_LOOKS: Final = frozenset({"IOCTL_REGPROBE_INFO", "IOCTL_REGPROBE_DRAIN", "IOCTL_REGPROBE_STATISTICS"})
_CODES: Final = (
    *_LOOKS,
    "IOCTL_REGPROBE_ADD_FILTER",
    "IOCTL_REGPROBE_REMOVE_FILTER",
    "IOCTL_REGPROBE_SET_RULE",
    "IOCTL_REGPROBE_CLEAR_RULES",
    "IOCTL_REGPROBE_KERNEL_CALL",
    "IOCTL_REGPROBE_RESET",
)


def scenario_of(bundle: Bundle) -> Scenario:
    """Raises `UsageError` for a bundle whose calls were not all kept or can't be understood."""
    manifest = bundle.manifest
    if manifest.dropped:
        raise UsageError(
            f"{bundle.file}: {manifest.dropped} calls of the test were too many to keep, so its steps can't "
            "be replayed; only the test itself can be run again"
        )
    own = manifest.own_driver
    try:
        actions = tuple(_Decoder(bundle).actions())
    except HarnessError as error:
        raise UsageError(f"{bundle.file}: {error}") from error
    return Scenario(
        actions,
        manifest.test_root,
        manifest.failure,
        manifest.claim,
        "" if own is None else own.service,
    )


class _Decoder:
    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._codes = {abi.constant(name): name for name in _CODES}
        #: The driver's number of a filter -> the call that added it.
        self._filters: dict[int, int] = {}
        self._parameters = {
            driver.member: _parameters(driver.parameters) for driver in bundle.manifest.drivers
        }

    def actions(self) -> Iterator[Action]:
        for index, call in enumerate(self._bundle.manifest.calls):
            try:
                yield from self._action(index, call)
            except (HarnessError, ValueError) as error:  # what a bundle holds may be anything
                raise UsageError(f"call {index}, {call.kind}: {error}") from error

    def _action(self, index: int, call: CallRecord) -> Iterator[Action]:
        if call.kind is CallKind.INSTALL and call.member not in self._parameters:
            raise UsageError(f"{call.service[:80]!r} is a driver that the bundle does not hold")
        data = self._bundle.read(call.member) if call.member else b""
        if call.kind is CallKind.PROGRAM:
            program = decode_program(data)
            if not _is_set_up(program.operations, self._bundle.manifest.test_root):
                operations = tuple(
                    Slotted(number, operation, self._filter_in(operation))
                    for number, operation in enumerate(program.operations)
                )
                yield RunProgram(index, operations, program.handle_count)
            return
        name = self._codes.get(call.code) if call.kind is CallKind.REQUEST else None
        if name is None or call.device.lower() != abi.DEVICE.lower():
            yield Other(index, call, data, self._parameters.get(call.member, {}))
            return
        if name not in _LOOKS:
            yield self._request(index, name, data, bytes.fromhex(call.reply))

    def _request(self, index: int, name: str, data: bytes, reply: bytes) -> Action:
        match name:
            case "IOCTL_REGPROBE_ADD_FILTER":
                answer = abi.record("REGPROBE_ADD_FILTER_REPLY")
                got = answer.unpack(reply) if len(reply) >= answer.size else {"filter_id": 0, "status": -1}
                refused = got["status"] < 0
                if not refused:
                    self._filters[int(got["filter_id"])] = index
                return AddFilter(index, _values("REGPROBE_ADD_FILTER", data), refused)
            case "IOCTL_REGPROBE_REMOVE_FILTER":
                values = _values("REGPROBE_REMOVE_FILTER", data)
                return RemoveFilter(index, self._filter(values), values)
            case "IOCTL_REGPROBE_SET_RULE":
                values = _values("REGPROBE_RULE", data)
                return SetRule(index, self._filter(values), values)
            case "IOCTL_REGPROBE_KERNEL_CALL":
                return KernelCall(index, _values("REGPROBE_KERNEL_CALL", data))
            case "IOCTL_REGPROBE_CLEAR_RULES":
                return ProbeChange(index, name, self._filter(_values("REGPROBE_CLEAR_RULES", data)))
            case _:
                return ProbeChange(index, name)

    def _filter(self, values: dict[str, Any]) -> int:
        return self._filters.get(int(values["filter_id"]), -1)

    def _filter_in(self, operation: Operation) -> int:
        """The filter that an operation of a program is about."""
        if operation.opcode is not Opcode.DEVICE_CONTROL or operation.device != abi.DEVICE:
            return -1
        record = {
            "IOCTL_REGPROBE_SET_RULE": "REGPROBE_RULE",
            "IOCTL_REGPROBE_REMOVE_FILTER": "REGPROBE_REMOVE_FILTER",
        }.get(self._codes.get(operation.code, ""))
        if record is None or operation.data is None:
            return -1
        return self._filter(_values(record, operation.data))


def _values(record: str, data: bytes) -> dict[str, Any]:
    """The fields of a request, without those every request has."""
    values = abi.record(record).unpack(data)
    return {name: value for name, value in values.items() if name not in ("abi_version", "size")}


def _is_set_up(operations: tuple[Operation, ...], root: str) -> bool:
    """Whether a program does what `Registry.set_up` does."""
    names = {str(HARNESS_KEY), root}
    return bool(root) and all(
        operation.opcode is Opcode.CREATE_KEY and operation.name in names for operation in operations
    )


def _parameters(recorded: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in recorded.items():
        if isinstance(value, dict):
            value = bytes.fromhex(str(value.get("hex", "")))
        elif not isinstance(value, int | str):
            raise UsageError(f"a driver's parameter {name!r} is neither a number, a text nor bytes")
        found[name] = value
    return found
