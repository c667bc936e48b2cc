"""Gates: operations stand there, inside a callback, while a program goes on.

    gate = probe.gate()
    monitor.on(Pre.SetValueKey, value="first").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1, background=True):
            first = p.set_value(key, "first", "x")
        gate.await_in(p)              # first stands in its callback now
        second = p.set_value(key, "second", "y")
        gate.open_in(p)               # and goes on

What stands at a gate goes on by itself after a minute at most, and when the probe is reset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.probe import abi
from harness.probe.conditions import ProgramLike
from harness.probe.enums import GateWay
from harness.registry.status import NTSTATUS

if TYPE_CHECKING:
    from harness.probe.link import Link

__all__ = ["Gate", "GateStep"]


@dataclass(frozen=True, slots=True)
class GateStep:
    """What a program asks of a gate; its results are there once the program has run."""

    step: Any

    def _reply(self) -> dict[str, Any]:
        return abi.record("REGPROBE_GATE_REPLY").unpack(self.step.output)

    @property
    def standing(self) -> int:
        """How many operations stood at the gate then."""
        return int(self._reply()["standing"])

    @property
    def in_time(self) -> bool:
        """False: nobody came to the gate before the wait was over."""
        return int(self._reply()["status"]) == NTSTATUS.SUCCESS

    @property
    def time(self) -> int:
        """When it was answered, in ticks of events and steps."""
        return int(self._reply()["time"])


class Gate:
    """One gate of the probe, closed until it is opened; made by `Probe.gate`."""

    def __init__(self, link: Link, number: int) -> None:
        limit = abi.constant("REGPROBE_GATES")
        if not 0 <= number < limit:
            raise UsageError(f"there are the gates 0 to {limit - 1}, not {number}")
        self._link = link
        self.number = number

    def __repr__(self) -> str:
        return f"<gate {self.number}>"

    def await_in(self, program: ProgramLike, *, milliseconds: int = 0) -> GateStep:
        """Let a program wait until somebody stands here: a minute, or for less time."""
        return self._ask_in(program, GateWay.AWAIT, milliseconds)

    def open_in(self, program: ProgramLike) -> GateStep:
        """Let a program open the gate: whoever stands there goes on, and whoever comes passes."""
        return self._ask_in(program, GateWay.OPEN)

    def close_in(self, program: ProgramLike) -> GateStep:
        """Let a program close the gate again."""
        return self._ask_in(program, GateWay.CLOSE)

    def open(self) -> None:
        """Open it from outside."""
        self._send(GateWay.OPEN)

    def close(self) -> None:
        """Close it again from outside."""
        self._send(GateWay.CLOSE)

    def _request(self, way: GateWay, milliseconds: int = 0) -> bytes:
        return abi.record("REGPROBE_GATE").pack(gate=self.number, what=int(way), milliseconds=milliseconds)

    def _ask_in(self, program: ProgramLike, way: GateWay, milliseconds: int = 0) -> GateStep:
        return GateStep(
            program.device_control(
                abi.DEVICE,
                abi.constant("IOCTL_REGPROBE_GATE"),
                self._request(way, milliseconds),
                output=abi.record("REGPROBE_GATE_REPLY").size,
            )
        )

    def _send(self, way: GateWay) -> None:
        size = abi.record("REGPROBE_GATE_REPLY").size
        what = f"gate {self.number}: {way.name.lower()}"
        self._link.send("IOCTL_REGPROBE_GATE", self._request(way), output=size, what=what)
