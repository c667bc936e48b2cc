"""A program on the stand-in that is stopped in its middle, in a process of its own: libvirt allows one each.

Prints what was found on the way as JSON, for test_stop.py.
"""

from __future__ import annotations

import json
from typing import Any

from harness.channel.access import SshAccess
from harness.channel.opening import open_channel
from harness.channel.runner import RunnerClient
from harness.driver import probe_image
from harness.guests import Guests
from harness.image.access import network_access
from harness.image.recipe import load_recipe
from harness.machine.guest import MachineGuest
from harness.machine.hypervisor.debugger import open_debugger
from harness.machine.hypervisor.events import EventKind
from harness.probe import abi
from harness.probe.client import SERVICE
from harness.probe.crash import crash_request
from harness.probe.enums import CrashWay
from harness.repro.bundle import CallRecord
from harness.repro.debug import held_before
from harness.repro.failure import Failure
from harness.repro.journal import CallKind
from harness.repro.scenario import Other, RunProgram, Scenario, Slotted
from harness.repro.stepping import failing_operation
from harness.repro.stop import Stop
from harness.results.outcome import Outcome
from harness.targets import Target, parse_target
from harness.workload import ProgramBuilder, Registry
from tests.repro.gdb import ask_gdb

_IMAGE = "drivers/probe.sys"
_FAILURE = Failure(Outcome.HANG)


class _Nobody:
    def run(self, program: Any) -> Any:
        raise AssertionError("only recorded")


def recorded(registry: Registry, build: Any) -> RunProgram:
    p = ProgramBuilder(_Nobody(), registry)
    build(p)
    program = p.build()
    return RunProgram(9, tuple(map(Slotted, range(len(program)), program.operations)), program.handle_count)


def hanging(guest: MachineGuest, registry: Registry) -> Scenario:
    """The driver that never answers is asked by operation 2."""
    request = crash_request(CrashWay.WAIT, 0, (0, 0, 0, 0), pointer_size=8)

    def build(p: ProgramBuilder) -> None:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "early", 1)
        p.device_control(abi.DEVICE, abi.constant("IOCTL_REGPROBE_CRASH"), request)
        p.set_value(key, "never", 1)

    install = Other(1, CallRecord(CallKind.INSTALL, _IMAGE, service=SERVICE))
    start = Other(2, CallRecord(CallKind.START, service=SERVICE))
    return Scenario((install, start, recorded(registry, build)), str(registry.test_root), _FAILURE)


def plain(registry: Registry) -> Scenario:
    def build(p: ProgramBuilder) -> None:
        key = p.create_key(p.test_root / "app")
        p.delete_value(key, "absent")
        p.set_value(key, "late", 1)
        p.query_value(key, "late")

    return Scenario((recorded(registry, build),), str(registry.test_root), _FAILURE)


def seen_from_outside(target: Target, guest: MachineGuest, registry: Registry) -> str:
    """What another runner, over SSH, reads of the value that operation 2 sets."""
    assert target.recipe is not None
    recipe = load_recipe(target.recipe)
    ports = {port: guest.machine.forwarded_port(port) for port in recipe.guest_ports}
    (access,) = (each for each in network_access(recipe, ports) if isinstance(each, SshAccess))
    with open_channel(access, timeout=600) as channel:
        p = ProgramBuilder(RunnerClient(channel), registry)
        read = p.query_value(p.open_key(registry.test_root / "app"), "late")
        p.run()
        return read.status_name


def main() -> None:
    target = parse_target("vm:stand-in")
    facts: dict[str, Any] = {}
    with Guests() as guests:
        with guests.boot(target) as guest:
            assert isinstance(guest, MachineGuest)
            guest.call_seconds = 15.0
            images = {_IMAGE: probe_image(guest.info.arch, guest.info.version)}
            scenario = hanging(guest, Registry(_Nobody(), name="b-1-abcdef"))
            program = scenario.actions[-1]
            assert isinstance(program, RunProgram)
            culprit = failing_operation(guest, scenario, program, images)
            facts["culprit"] = [culprit.operation, type(culprit.error).__name__]
        with guests.boot(target) as guest:
            assert isinstance(guest, MachineGuest)
            registry = Registry(_Nobody(), name="b-2-abcdef")
            with (
                held_before(guest, plain(registry), Stop(9, 2), {}) as held,
                open_debugger(guest.machine) as ports,
            ):
                facts["done"] = held.done
                facts["paused"] = not guest.machine.running
                seen = guest.machine.events_seen
                facts["gdb"] = ask_gdb(ports.gdb, "?", "c")
                guest.machine.wait_for(EventKind.RESUMED, timeout=300, since=seen)
                # The machine runs, nobody has asked for news yet: the program still waits.
                facts["outside before"] = seen_from_outside(target, guest, registry)
                facts["told"] = []
                while not held.task.ended.is_set() or len(facts["told"]) < 2:
                    facts["told"] += held.news(0.5)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
