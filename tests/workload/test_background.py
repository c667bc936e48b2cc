"""Operations in the background on the reference guest: who waits for whom, and what a hang is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.errors import GuestHung, UsageError
from harness.guest.base import Arch, Guest
from harness.probe import Probe, abi
from harness.probe.crash import crash_request
from harness.probe.enums import CrashWay
from harness.registry.notify import Post, Pre
from harness.registry.status import NTSTATUS
from harness.workload import Registry

pytest.importorskip(
    "unicorn", reason="the reference guest needs unicorn: pip install regfilter-harness[reference]"
)

from harness import reference


@pytest.fixture(scope="module", params=[("10.0.26100", Arch.X64), ("6.1", Arch.X86)], ids=str)
def guest(request: pytest.FixtureRequest) -> Iterator[Guest]:
    version, arch = request.param
    with reference.boot(version, arch=arch) as guest:
        yield guest


@pytest.fixture
def probe(guest: Guest) -> Iterator[Probe]:
    with Probe.install(guest) as probe:
        yield probe


def test_what_nobody_holds_up_ends_at_once(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1, background=True):
            write = p.set_value(key, "v", "x")
        read = p.query_value(key, "v")
    assert (write.status, read.text) == (NTSTATUS.SUCCESS, "x")


def test_two_stand_at_gates_and_go_on_in_the_order_of_their_opening(probe: Probe, registry: Registry) -> None:
    """First come, first let through: not the order in which calls nest."""
    monitor = probe.add_monitor()
    gates = [probe.gate(number) for number in range(2)]
    for number, gate in enumerate(gates):
        monitor.on(Pre.SetValueKey, value=f"v{number}").stand(gate)

    writes = []
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        for number, gate in enumerate(gates):
            with p.on(thread=1 + number, background=True):
                writes.append(p.set_value(key, f"v{number}", number))
            gate.await_in(p)
        for gate, write in zip(gates, writes, strict=True):
            gate.open_in(p)
            p.wait_for(write)
        read = [p.query_value(key, f"v{number}") for number in range(2)]

    first, second = writes
    assert first.begin < second.begin < first.end < second.end
    assert [step.dword for step in read] == [0, 1]
    for write in writes:
        assert probe.trace.of(write).seen_by(monitor) == [Pre.SetValueKey, Post.SetValueKey]


def test_a_value_is_not_there_while_its_write_stands(probe: Probe, registry: Registry) -> None:
    gate = probe.gate()
    probe.add_monitor().on(Pre.SetValueKey, value="v").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1, background=True):
            write = p.set_value(key, "v", "x")
        at_gate = gate.await_in(p)
        before = p.query_value(key, "v")
        gate.open_in(p)
        p.wait_for(write)
        after = p.query_value(key, "v")

    assert (at_gate.in_time, at_gate.standing) == (True, 1)
    assert before.status == NTSTATUS.OBJECT_NAME_NOT_FOUND
    assert after.text == "x"


def test_a_gate_that_nobody_opens_ends_by_itself(probe: Probe, registry: Registry) -> None:
    monitor = probe.add_monitor()
    monitor.on(Pre.SetValueKey, value="v").stand(probe.gate(), milliseconds=2_000)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1, background=True):
            write = p.set_value(key, "v", "x")

    assert write.status == NTSTATUS.SUCCESS
    (stood,) = probe.trace.of(write).actions
    assert stood.status == NTSTATUS.TIMEOUT
    assert (write.end - write.begin) >= 2_000 * 10_000


def test_waiting_at_a_gate_where_nobody_comes_is_told(probe: Probe, registry: Registry) -> None:
    with registry.program() as p:
        waited = probe.gate().await_in(p, milliseconds=50)
    assert (waited.in_time, waited.standing) == (False, 0)


def test_an_unregistration_waits_for_the_callback_and_the_program_does_not(
    probe: Probe, registry: Registry
) -> None:
    monitor = probe.add_monitor()
    gate = probe.gate()
    monitor.on(Pre.SetValueKey, value="v").stand(gate)

    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        with p.on(thread=1, background=True):
            write = p.set_value(key, "v", "x")
        gate.await_in(p)
        with p.on(thread=2, background=True):
            removal = monitor.remove_in(p)
        read = p.query_key(key)
        opened = gate.open_in(p)

    assert removal.status == write.status == NTSTATUS.SUCCESS
    assert removal.step.begin < read.begin < opened.time < removal.time


def test_a_process_that_ends_while_an_operation_stands_is_gone_when_that_has_ended(
    probe: Probe, registry: Registry
) -> None:
    monitor = probe.add_monitor()
    gate = probe.gate()
    monitor.on(Pre.SetValueKey, value="v").stand(gate)

    with registry.program() as p:
        with p.on(process="second"):
            key = p.create_key(p.test_root / "app")
        with p.on(process="second", background=True):
            write = p.set_value(key, "v", "x")
        gate.await_in(p)
        ended = p.terminate_process("second")
        opened = gate.open_in(p)
        with p.on(process="second"):
            again = p.open_key(p.test_root / "app")

    assert ended.status == again.status == NTSTATUS.SUCCESS
    assert write.status == NTSTATUS.PROCESS_IS_TERMINATING
    assert again.process_id != key.process_id
    (closed,) = [e for e in probe.trace.by(Pre.KeyHandleClose) if e.process_id == key.process_id]
    assert closed.time > opened.time, "the handle is closed when nothing of the process is left"


def test_memory_of_its_own_is_the_buffer_of_a_call_and_can_go(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        memory = p.allocate_memory(64, data=b"first")
        write = p.set_value(key, "v", b"12345", buffer=memory)
        p.write_memory(memory, b"other")
        again = p.set_value(key, "w", b"12345", buffer=memory)
        values = p.query_value(key, "v"), p.query_value(key, "w")
        freed = p.free_memory(memory)
        gone = p.set_value(key, "x", b"12345", buffer=memory)
        twice = p.free_memory(memory)
        kept = p.allocate_memory(10)  # given back at the end

    assert [read.data for read in values] == [b"first", b"other"]
    assert write.input_address == again.input_address == memory.handle != kept.handle
    assert freed.status == NTSTATUS.SUCCESS
    assert gone.status == NTSTATUS.ACCESS_VIOLATION
    assert not twice.succeeded


def test_thread_0_of_the_runner_takes_nothing_into_the_background(registry: Registry) -> None:
    p = registry.program()
    refused = pytest.raises(UsageError, match=r"needs another: with p\.on\(thread=1, background=True\)")
    with refused, p.on(background=True):
        p.create_key(p.test_root / "app")


def test_waiting_for_ever_is_a_hang_that_names_the_operation() -> None:
    with reference.boot("10.0.26100") as guest:
        probe, registry = Probe.install(guest), Registry(guest)
        request = crash_request(CrashWay.WAIT, 0, (0, 0, 0, 0), pointer_size=probe.info.pointer_size)
        p = registry.program()
        with p.on(thread=1, background=True):
            p.device_control(abi.DEVICE, abi.constant("IOCTL_REGPROBE_CRASH"), request)
        p.create_key(p.test_root / "app")
        with pytest.raises(GuestHung, match=r"operation 0 \(device_control\) waits") as caught:
            p.run()
        assert caught.value.operation == 0
        with pytest.raises(GuestHung):
            probe.drain()
