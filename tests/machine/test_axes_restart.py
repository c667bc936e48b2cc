"""Axes on a real machine: the tiny guest is told, restarts, and answers as another boot or as the old one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cbor2
import pytest

from harness.channel.base import ChannelKind
from harness.channel.frames import RequestType
from harness.errors import InfrastructureError
from harness.guest.base import Arch, GuestKind
from harness.machine.describe.axes import Axis
from harness.machine.describe.spec import MachineSpec, SealedImage
from harness.machine.drive import WayIn, _switch_on
from harness.machine.guest import Identity
from harness.machine.hypervisor.events import EventKind
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.inside.attest import Promise
from harness.machine.inside.axes import SwitchedOn
from harness.machine.watch.debug_log import DebugLog
from harness.machine.watch.watchers import Watch
from harness.registry.version import WS03
from tests.machine.tiny_channel import TinyChannel
from tests.machine.tinyguest import TinyLine

IDENTITY = Identity(
    "vm:tiny+verifier",
    Promise(GuestKind.WINDOWS, WS03, Arch.X86),
    on=SwitchedOn((Axis.VERIFIER,), ("regprobe.sys",)),
)


class Verified(TinyChannel):
    """The tiny guest as a Windows: its counter, 0 again after a restart, says which boot it is."""

    machine: Machine
    asked: list[str]
    #: What Driver Verifier's flags are after a restart.
    flags: int

    def request(self, type: int, payload: bytes = b"", *, timeout: float = 60.0) -> bytes:
        if type == RequestType.EXECUTE:
            self.asked.append(cbor2.loads(payload)["command_line"])
            done = {"exit_code": 2, "stdout": b"", "stderr": b"", "stdout_lost": 0, "stderr_lost": 0}
            return cbor2.dumps({**done, "timed_out": False, "cancelled": False})
        if type == RequestType.SHUTDOWN:
            self.asked.append("restart")
            mark = self.machine.events_seen
            self._line.send("reset")
            # A channel that is closed at once would take the line back.
            self.machine.wait_for(EventKind.RESET, timeout=timeout, since=mark)
            return cbor2.dumps({})
        if type == RequestType.ENVIRONMENT:
            boot = self.ask("ping", timeout=timeout)
            on = {"flags": self.flags, "drivers": ["regprobe.sys"]} if boot == "pong 0" else {"flags": 0}
            self._environment |= {"boot_id": boot, "verifier": on, "reactos": None}
        return super().request(type, payload, timeout=timeout)


def switched(host: Host, spec: MachineSpec, image: SealedImage, flags: int) -> list[str]:
    """Switch the axis on in a machine of its own; what was asked of the guest."""
    asked: list[str] = []

    def connect(machine: Machine, timeout: float) -> Verified:
        channel = Verified(machine.spec.channel_socket, timeout=timeout)
        channel.machine, channel.asked, channel.flags = machine, asked, flags
        return channel

    with host.start(spec) as machine:
        with TinyLine(spec.channel_socket) as line:
            assert line.ask("add 5") == "sum 5"
        watch = Watch(machine, DebugLog(spec.debug_log), booting=True)
        with watch.start(), watch.call():
            _switch_on(machine, image, IDENTITY, WayIn(ChannelKind.SERIAL, connect), watch)
    return asked


def test_the_guest_restarts_once_and_has_it_on(host: Host, tiny: Any, tiny_image: Any) -> None:
    asked = switched(host, tiny(), tiny_image("axes"), 0xBB)
    assert asked == ["verifier.exe /standard /driver regprobe.sys", "restart"]


def test_a_guest_that_has_it_not_on_afterwards_makes_no_template(
    host: Host, tiny: Callable[..., MachineSpec], tiny_image: Callable[..., SealedImage]
) -> None:
    says = r"vm:tiny\+verifier: what was asked for is not on: .*wanted 0x3 among them, the guest says 0x1"
    with pytest.raises(InfrastructureError, match=says):
        switched(host, tiny(), tiny_image("axes"), 0x1)
