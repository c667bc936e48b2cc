"""A workload for the tutorial: ordinary things, and somewhere in between what makes a driver crash.

harness run docs/examples/planted_driver.py --driver build/x64/wild_write.sys
"""

from __future__ import annotations

from harness.between import Between
from harness.probe import Probe
from harness.workload import Registry


def test_an_ordinary_day(own_driver: Between, probe: Probe, registry: Registry) -> None:
    watcher = probe.add("380010")

    with registry.program() as p:
        app = p.create_key(p.test_root / "app")
        other = p.create_key(p.test_root / "other")
        p.set_value(other, "colour", "red")
        p.query_value(other, "colour")
        p.set_value(app, "number", 7)
        write = p.set_value(app, "trigger", b"1234")
        p.delete_value(app, "number")
        p.delete_key(other)

    assert write.succeeded
    assert probe.trace.of(write).seen_by(watcher)
