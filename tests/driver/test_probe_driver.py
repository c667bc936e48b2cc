"""The compiled probe on the reference guest: requests of every kind and length, leaks, every version."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import reference
from harness.driver import probe_image
from harness.errors import GuestCrashed, GuestHung
from harness.guest import Guest
from harness.probe import Probe, abi
from harness.probe.enums import InnerCall
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.registry.version import (
    MODELLED,
    WIN7,
    WIN10_22H2,
    WIN11_24H2,
    WS03,
    XP,
    WindowsVersion,
    architectures,
)
from harness.workload.registry import Registry

EVERYWHERE = [(version, arch) for version in MODELLED for arch in architectures(version)]
CODES = [
    "INFO",
    "ADD_FILTER",
    "REMOVE_FILTER",
    "SET_RULE",
    "CLEAR_RULES",
    "DRAIN",
    "STATISTICS",
    "KERNEL_CALL",
    "RESET",
    "CRASH",
]
REQUESTS = {
    "ADD_FILTER": "REGPROBE_ADD_FILTER",
    "REMOVE_FILTER": "REGPROBE_REMOVE_FILTER",
    "SET_RULE": "REGPROBE_RULE",
    "CLEAR_RULES": "REGPROBE_CLEAR_RULES",
    "DRAIN": "REGPROBE_DRAIN",
    "STATISTICS": "REGPROBE_HEADER",
    "KERNEL_CALL": "REGPROBE_KERNEL_CALL",
    "RESET": "REGPROBE_HEADER",
}


def code(name: str) -> int:
    return abi.constant(f"IOCTL_REGPROBE_{name}")


@contextmanager
def probe_on(version: WindowsVersion, arch: str, **options: int) -> Iterator[tuple[Guest, Probe]]:
    with reference.boot(version, arch=arch) as guest:
        probe = Probe.install(guest, image=probe_image(arch), **options)
        yield guest, probe
        probe.close()  # stops the driver: what leaked would be a bugcheck here


@pytest.mark.parametrize(("version", "arch"), EVERYWHERE, ids=lambda value: str(value))
def test_the_probe_starts_sees_and_leaves_everywhere(version: WindowsVersion, arch: str) -> None:
    with probe_on(version, arch) as (guest, probe):
        watcher = probe.add_monitor()
        with Registry(guest) as registry:
            with registry.program() as p:
                key = p.create_key(p.test_root / "app")
                write = p.set_value(key, "name", b"value")
            assert write.status == 0
            seen = probe.trace.of(write).seen_by(watcher)
            assert seen.classes[0] == Pre.SetValueKey
            assert seen[0].name == "name"
            assert seen[0].path.lower().endswith(r"\app")
            if version != XP:  # no post for values there (B-REG-26)
                assert seen.classes == [Pre.SetValueKey, Post.SetValueKey]


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("length", [0, 1, 7, 8, 12, 4096])
def test_requests_of_any_length_get_a_status(name: str, length: int, arch: str) -> None:
    with probe_on(WIN10_22H2, arch) as (guest, probe):
        answer = guest.ioctl(abi.DEVICE, code(name), bytes(length), output=65536)
        if name == "INFO":
            assert answer.status == 0
        elif length < 8:
            assert answer.status == NTSTATUS.INVALID_PARAMETER
        else:
            assert answer.status == NTSTATUS.REVISION_MISMATCH
        assert probe.info.pointer_size in (4, 8)


def test_another_abi_is_refused_but_answered(arch: str) -> None:
    with probe_on(WIN10_22H2, arch) as (guest, _):
        other = struct.pack("<II", 0x00020000, 8)
        assert (
            guest.ioctl(abi.DEVICE, code("STATISTICS"), other, output=256).status
            == NTSTATUS.REVISION_MISMATCH
        )
        assert guest.ioctl(abi.DEVICE, code("INFO"), other, output=256).status == 0


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_a_reply_that_does_not_fit_is_refused(name: str, arch: str) -> None:
    with probe_on(WIN10_22H2, arch) as (guest, probe):
        request = abi.record(REQUESTS[name]).pack()
        answer = guest.ioctl(abi.DEVICE, code(name), request, output=3)
        if name in ("CLEAR_RULES", "RESET"):
            assert answer.status == 0
        else:
            assert answer.status in (NTSTATUS.BUFFER_TOO_SMALL, NTSTATUS.INVALID_PARAMETER)
        assert probe.statistics.filters == 0


def test_an_unknown_request_is_refused(arch: str) -> None:
    with probe_on(WIN10_22H2, arch) as (guest, _):
        assert guest.ioctl(abi.DEVICE, 0x0022E0F0, b"", output=8).status == NTSTATUS.INVALID_DEVICE_REQUEST


@pytest.mark.parametrize("arch", ["x64", "x86"])
def test_random_requests_never_bring_the_guest_down(arch: str) -> None:
    """Records with random content, filters present: a status every time, and nothing leaks at unload."""
    with probe_on(WIN10_22H2, arch) as (guest, probe):
        watcher = probe.add("380010")

        @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(sorted(REQUESTS)), st.binary(max_size=96), st.booleans(), st.integers(0, 5000))
        def fuzz(name: str, body: bytes, whole: bool, output: int) -> None:
            size = abi.record(REQUESTS[name]).size
            header = struct.pack("<II", abi.constant("REGPROBE_ABI_VERSION"), size)
            request = header + body
            if whole:
                request = request.ljust(size, b"\0")[:size]
            answer = guest.ioctl(abi.DEVICE, code(name), request, output=output)
            assert 0 <= answer.status <= 0xFFFFFFFF
            assert len(answer.data) <= output

        fuzz()
        with Registry(guest) as registry, registry.program() as p:
            p.create_key(p.test_root / "still alive")
        probe.reset()
        watcher.removed = True
        assert probe.statistics.filters == 0


def test_drops_are_counted_and_leave_gaps(arch: str) -> None:
    with probe_on(WIN10_22H2, arch, ring_slots=16) as (guest, probe):
        assert probe.info.ring_slots == 16
        probe.add_monitor()
        with Registry(guest) as registry, registry.program() as p:
            key = p.create_key(p.test_root / "app")
            for index in range(40):
                p.set_value(key, f"value{index}", b"x")
        first = probe.drain()
        dropped = probe.statistics.dropped
        assert len(first) == 16
        assert dropped > 0
        with Registry(guest) as registry, registry.program() as p:
            p.create_key(p.test_root / "app")
        second = probe.drain()
        assert second.sequences[0] - first.sequences[-1] - 1 == dropped


@pytest.mark.parametrize(("version", "arch"), [(WIN11_24H2, "x64"), (XP, "x86")], ids=str)
def test_what_was_allocated_is_freed(version: WindowsVersion, arch: str) -> None:
    with probe_on(version, arch) as (guest, probe):
        before = probe.statistics
        watcher = probe.add_monitor()
        watcher.on(Pre.SetValueKey, value="secret").block(NTSTATUS.ACCESS_DENIED)
        with Registry(guest) as registry, registry.program() as p:
            key = p.create_key(p.test_root / "app")
            p.set_value(key, "secret", b"x")
            p.set_value(key, "plain", b"x")
        watcher.remove()
        after = probe.statistics
        assert after.pool_allocations == before.pool_allocations
        assert after.pool_bytes == before.pool_bytes
        assert after.rules == 0
        assert after.in_flight == 0


def test_before_vista_a_rule_does_not_run_inside_itself(arch: str) -> None:
    """Nothing keeps an inner call from coming back to its own callback there (B-LAY-15)."""
    with probe_on(WS03, arch) as (guest, probe):
        watcher = probe.add_monitor()
        watcher.on(Pre.OpenKeyEx).call(InnerCall.OPEN_KEY, r"\REGISTRY\MACHINE\SOFTWARE")
        with Registry(guest) as registry, registry.program() as p:
            p.create_key(p.test_root / "app")
            opened = p.open_key(p.test_root / "app")
        assert opened.status == 0
        calls = probe.trace.of(opened).actions
        assert len(calls) == 1
        assert calls[0].status == 0


def test_a_bugcheck_on_request_has_the_code_and_parameters_asked_for(arch: str) -> None:
    wanted = (1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
    with reference.boot(WIN7, arch=arch) as guest:
        probe = Probe.install(guest, image=probe_image(arch))
        with pytest.raises(GuestCrashed) as caught:
            probe.crash(0xDEADDEAD, wanted)
    assert type(caught.value) is GuestCrashed
    bugcheck = caught.value.bugcheck
    assert (bugcheck.code, bugcheck.parameters) == (0xDEADDEAD, wanted)
    assert bugcheck.driver == "regprobe.sys"


@pytest.mark.parametrize("spin", [True, False])
def test_a_hang_on_request_is_one(arch: str, spin: bool) -> None:
    with reference.boot(WIN7, arch=arch, deadline=1.0) as guest:
        probe = Probe.install(guest, image=probe_image(arch))
        with pytest.raises(GuestHung) as caught:
            probe.hang(spin=spin)
    assert "CrashSystem" in {frame.function for frame in caught.value.bugcheck.stack}


def test_an_unknown_way_to_crash_is_refused(arch: str) -> None:
    with probe_on(WIN10_22H2, arch) as (guest, _):
        for how in (0, 4):
            request = abi.record("REGPROBE_CRASH").pack(how=how)
            answer = guest.ioctl(abi.DEVICE, code("CRASH"), request)
            assert answer.status == NTSTATUS.INVALID_PARAMETER
