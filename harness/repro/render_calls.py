"""Drivers, files, commands and devices of a scenario as source: calls of `guest`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from harness.probe import abi
from harness.probe.client import SERVICE
from harness.repro.journal import CallKind
from harness.repro.literal import Imports, code_of, status_code
from harness.repro.names import Names
from harness.repro.scenario import Action, Other

__all__ = ["CallSource", "is_probe"]


class CallSource:
    """Writes calls, and knows the drivers that belong beside the test: file name -> member of the bundle."""

    def __init__(self, variables: Names, imports: Imports) -> None:
        self.beside: dict[str, str] = {}
        self._variables = variables
        self._imports = imports
        self._devices: dict[int, str] = {}

    def lines(self, action: Other) -> Iterator[str]:
        """The statements of one call."""
        record, code = action.record, self._code
        match record.kind:
            case CallKind.INSTALL:
                file = f"{re.sub(r'[^A-Za-z0-9_-]+', '_', record.service)}.sys"
                self.beside[file] = record.member
                image = f'Path(__file__).with_name("{file}").read_bytes()'
                more = f", parameters={code(dict(action.parameters))}" if action.parameters else ""
                yield f"guest.install_driver({code(record.service)}, {image}{more})"
            case CallKind.START:
                started = f"guest.start_driver({code(record.service)})"
                expected = record.status
                yield started if expected is None else f"assert {started} == {self._status(expected)}"
            case CallKind.STOP:
                yield f"guest.stop_driver({code(record.service)})"
            case CallKind.REMOVE:
                yield self.removal(record.service)
            case CallKind.OPEN:
                name = self._devices[record.held] = self._variables.free("device")
                yield f"{name} = guest.open_device({code(record.device)})"
            case CallKind.CLOSE:
                if record.held in self._devices:
                    yield f"{self._devices[record.held]}.close()"
            case CallKind.REQUEST:
                held = self._devices.get(record.held)
                to = f"{held}.ioctl(" if held else f"guest.ioctl({code(record.device)}, "
                data = f", {code(action.data)}" if action.data else ""
                output = f", output={record.output}" if record.output else ""
                yield f"{to}{record.code:#x}{data}{output})"
            case CallKind.PUT:
                yield f"guest.put({code(record.path)}, {code(action.data)})"
            case CallKind.EXECUTE:
                folder = f", folder={code(record.path)}" if record.path else ""
                timeout = f", timeout={record.timeout:g}" if record.timeout != 60.0 else ""
                yield f"guest.execute({code(list(record.argv))}{timeout}{folder})"
            case CallKind.READ:
                yield f"guest.read_device({code(record.device)}, {record.length})"
            case CallKind.WRITE:
                yield f"guest.write_device({code(record.device)}, {code(action.data)})"
            case CallKind.PROGRAM:
                raise AssertionError("programs are no other calls")

    def removal(self, service: str) -> str:
        return f"guest.remove_driver({self._code(service)})"

    def unload(self, actions: Iterable[Action]) -> Iterator[str]:
        """Take away the drivers that `actions` leave, so that a test that passes leaves none."""
        left: dict[str, str] = {}
        for action in actions:
            if isinstance(action, Other) and action.record.kind is CallKind.INSTALL:
                left[action.record.service.lower()] = action.record.service
            elif isinstance(action, Other) and action.record.kind is CallKind.REMOVE:
                left.pop(action.record.service.lower(), None)
        for service in reversed(list(left.values())):
            yield self.removal(service)

    def _code(self, value: object) -> str:
        return code_of(value, self._imports)

    def _status(self, status: int) -> str:
        return status_code(status, self._imports)


def is_probe(action: Action) -> bool:
    """Whether a call loads, opens or closes the probe, which the fixture `probe` does."""
    if not isinstance(action, Other):
        return False
    record = action.record
    on_device = record.kind in (CallKind.OPEN, CallKind.CLOSE) and (
        record.device.lower() == abi.DEVICE.lower() or not record.device
    )
    return record.service.lower() == SERVICE or on_device
