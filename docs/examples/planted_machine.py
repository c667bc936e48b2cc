"""A driver for the tutorial that never answers a request, whatever the rest of the machine does.

harness run docs/examples/planted_machine.py -t vm:stand-in
"""

from __future__ import annotations

from harness.guest import Guest
from harness.probe import Probe
from harness.workload import Registry


def test_the_driver_answers(guest: Guest, registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        p.set_value(key, "colour", "red")
        p.query_value(key, "colour")

    Probe.install(guest).hang(spin=False)
