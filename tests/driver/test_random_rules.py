"""Rules nobody would write, on real notifications: the probe survives, and leaks nothing."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from harness import reference
from harness.driver import ARCHITECTURES, probe_image
from harness.errors import InfrastructureError
from harness.guest import Guest
from harness.probe import Probe, abi
from harness.probe.enums import Action
from harness.registry.version import WIN7, WIN10_22H2, WS03, WindowsVersion
from harness.workload.registry import Registry

# A crash on purpose; two that only cost time; one whose rule stays in memory until the driver unloads.
_LEFT_OUT = {"RAISE", "DELAY", "STAND", "EDIT_INPUT"}
ACTIONS = [int(action) for action in Action if action.name not in _LEFT_OUT]
MATCHES = ["KEY_EXACT", "KEY_PREFIX", "VALUE_NAME", "STATUS", "PROCESS", "THREAD", "PREVIOUS_MODE"]
TEXTS = ["", "value", "VALUE", "\\", "nope", "\\REGISTRY\\MACHINE\\Software", "a\\b\\c", "x" * 250]


def packed(field: str, text: str) -> dict[str, int | bytes]:
    raw = text.encode("utf-16-le")
    return {field: raw, f"{field}_length": len(raw)}


@st.composite
def rules(draw: st.DrawFn) -> dict[str, int | bytes]:
    match = 0
    for name in draw(st.lists(st.sampled_from(MATCHES), max_size=2, unique=True)):
        match |= abi.constant(f"REGPROBE_MATCH_{name}")
    fields: dict[str, int | bytes] = {
        "match": match,
        # Closing a handle is left alone: a substitute object in its place is no rule a filter may set.
        "classes": draw(st.integers(0, (1 << 51) - 1)) & ~(1 << 14 | 1 << 25 | 1 << 40),
        "process_id": draw(st.integers(0, 8000)),
        "nth_first": draw(st.integers(0, 3)),
        "nth_count": draw(st.integers(0, 3)),
        "match_status": draw(st.sampled_from([0, -1073741772])),
        "previous_mode": draw(st.integers(0, 2)),
        "action": draw(st.sampled_from(ACTIONS)),
        # Without BAD_FLAGS and BAD_OBJECT on purpose: they have tests of their own.
        "action_flags": draw(st.integers(0, 0xFFF)) & ~0x30,
        "status": draw(st.sampled_from([0, 0x103, -1073741790, -1073740541, -1])),
        "subject": draw(st.integers(0, 3)),
        "value": draw(st.integers(0, 1 << 32)),
        "base": draw(st.integers(0, 1)),
        "call": draw(st.integers(0, 12)),
        "granted_access": draw(st.sampled_from([0, 0x20019, 0xF003F, 0x02000000])),
        "disposition": draw(st.integers(0, 3)),
        "value_type": draw(st.integers(0, 12)),
        "offset": draw(st.integers(0, 600)),
        "data": draw(st.binary(max_size=64)),
        "data_length": draw(st.integers(0, 512)),
    }
    for field in ("key", "value_name", "target", "call_value_name"):
        fields.update(packed(field, draw(st.sampled_from(TEXTS))))
    return fields


def workload(guest: Guest) -> None:
    """A bit of everything below a key; what the rules do to it does not matter."""
    with Registry(guest).program() as p:
        key = p.create_key(p.test_root / "fuzz")
        p.set_value(key, "value", b"12345678")
        p.query_value(key, "value")
        p.enumerate_key(key, 0)
        p.query_key(key)
        p.set_value(key, "", b"")
        p.delete_value(key, "value")
        child = p.create_key("child", root=key)
        p.query_security(child, 4)
        p.query_object_name(child)
        p.flush_key(child)
        p.delete_key(child)


@pytest.mark.parametrize(
    ("version", "arch"),
    [(version, arch) for arch in ARCHITECTURES for version in (WIN10_22H2, WIN7, WS03)],
    ids=str,
)
def test_random_rules_on_real_notifications(version: WindowsVersion, arch: str) -> None:
    with reference.boot(version, arch=arch) as guest:
        probe = Probe.install(guest, image=probe_image(arch), ring_slots=1024)

        @settings(
            max_examples=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        )
        @given(st.lists(rules(), min_size=1, max_size=4))
        def fuzz(chosen: list[dict[str, int | bytes]]) -> None:
            upper, lower = probe.add_monitor(), probe.add_monitor()
            for index, values in enumerate(chosen):
                probe.set_rule({**values, "filter_id": (upper, lower)[index % 2].id})
            with suppress(InfrastructureError):  # rules may keep the test's root from being made
                workload(guest)
            probe.drain()
            probe.reset()
            left = probe.statistics
            assert (left.filters, left.rules, left.in_flight) == (0, 0, 0)
            assert left.pool_allocations == 3  # the ring, its turns, and this request

        fuzz()
        probe.close()
