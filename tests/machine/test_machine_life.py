"""A machine's life, with a real QEMU: start, ask, stop, crash, end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.machine.events import EventKind
from harness.machine.machine import MachineState
from harness.machine.spec import MachineSpec
from tests.machine.tinyguest import TinyLine

if TYPE_CHECKING:
    from harness.machine.host import Host

Tiny = Callable[..., MachineSpec]


def test_a_guest_answers_and_goes_with_its_machine(host: Host, tiny: Tiny) -> None:
    spec = tiny()
    with host.start(spec) as machine:
        with TinyLine(spec.channel_socket) as line:
            assert line.ask("add 5") == "sum 5"
        assert machine.state is MachineState.RUNNING
    assert machine.state is MachineState.SHUT_OFF
    assert machine.exit_code is not None
    assert machine.events[-1].kind is EventKind.EXIT
