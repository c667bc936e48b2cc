"""Operations in the background under Wine: who waits for whom, in the runner and in its helpers."""

from __future__ import annotations

import pytest

from harness.registry.access import KEY_READ
from harness.registry.status import NTSTATUS
from harness.workload import Registry
from tests.runner.program_guest import ProgramGuest
from tests.runner.winehost import StandardRunner


@pytest.fixture
def registry(long_runner: StandardRunner) -> Registry:
    """Of the module's runner; what programs leave there ends with the prefix."""
    return Registry(ProgramGuest(long_runner))


def test_a_wait_goes_on_while_the_program_does(registry: Registry) -> None:
    with registry.program() as p:
        event = p.create_event()
        with p.on(thread=1, background=True):
            waited = p.wait(event, milliseconds=None)
        key = p.create_key(p.test_root / "app")
        signalled = p.set_event(event)
        p.wait_for(waited)
        late = p.wait(event, milliseconds=0)
    assert [step.status for step in (waited, key, signalled, late)] == [NTSTATUS.SUCCESS] * 4
    assert waited.end >= signalled.begin >= key.end
    assert waited.thread_id != key.thread_id


def test_several_end_in_another_order_than_they_began(registry: Registry) -> None:
    with registry.program() as p:
        events = [p.create_event() for _ in range(3)]
        waits = []
        for number, event in enumerate(events):
            with p.on(thread=1 + number, background=True):
                waits.append(p.wait(event, milliseconds=None))
        for event, wait in reversed(list(zip(events, waits, strict=True))):
            p.set_event(event)
            p.wait_for(wait)
    assert [wait.status for wait in waits] == [NTSTATUS.SUCCESS] * 3
    assert waits[2].end <= waits[1].end <= waits[0].end


def test_what_comes_next_on_the_thread_waits(registry: Registry) -> None:
    with registry.program() as p:
        event = p.create_event()
        with p.on(thread=1, background=True):
            first = p.wait(event, milliseconds=200)
        with p.on(thread=1):
            second = p.create_key(p.test_root / "app")
    assert first.status == NTSTATUS.TIMEOUT
    assert first.end <= second.begin
    assert first.thread_id == second.thread_id


def test_the_end_of_the_program_waits(registry: Registry) -> None:
    with registry.program() as p:
        with p.on(thread=1, background=True):
            waited = p.wait(p.create_event(), milliseconds=200)
        p.mark("the program has nothing else to do")
    assert waited.status == NTSTATUS.TIMEOUT


def test_a_helper_has_one_lane_and_can_be_ended_in_it(registry: Registry) -> None:
    with registry.program() as p:
        with p.on(process="second"):
            event = p.create_event()
            key = p.create_key(p.test_root / "app")
        with p.on(process="second", background=True):
            waited = p.wait(event, milliseconds=None)
        beside = p.create_key(p.test_root / "beside")
        ended = p.terminate_process("second")
        with p.on(process="second"):
            again = p.create_key(p.test_root / "app")
    assert (key.status, beside.status, ended.status) == (NTSTATUS.SUCCESS,) * 3
    assert waited.status == NTSTATUS.PROCESS_IS_TERMINATING
    assert again.status == NTSTATUS.SUCCESS
    assert again.process_id != key.process_id == waited.process_id


def test_memory_of_its_own(registry: Registry) -> None:
    with registry.program() as p:
        key = p.create_key(p.test_root / "app")
        memory = p.allocate_memory(64, data=b"first")
        p.set_value(key, "v", b"12345", buffer=memory)
        p.write_memory(memory, b"other")
        p.set_value(key, "w", b"12345", buffer=memory)
        output = p.allocate_memory(4096)
        values = p.query_value(key, "v", buffer=output), p.query_value(key, "w")
        freed = p.free_memory(memory)
        twice = p.free_memory(memory)
        with p.on(process="second"):
            elsewhere = p.allocate_memory(10)  # what isn't freed is at the end
    assert [read.data for read in values] == [b"first", b"other"]
    assert values[0].output_address == output.handle
    assert freed.status == elsewhere.status == NTSTATUS.SUCCESS
    assert not twice.succeeded


def test_a_thread_impersonates_and_is_reverted_at_the_end(registry: Registry) -> None:
    """Wine checks no access to keys: what is seen is that the calls are made and taken."""
    with registry.program() as p, p.on(thread=1):
        taken = p.impersonate()
        reading = p.open_key(p.test_root, access=KEY_READ)
        reverted = p.revert()
        p.impersonate()
    with registry.program() as p, p.on(thread=1):
        after = p.create_key(p.test_root / "app")
    assert [step.status for step in (taken, reading, reverted, after)] == [NTSTATUS.SUCCESS] * 4


def test_what_the_system_has_not_is_said(registry: Registry) -> None:
    with registry.program() as p:
        made = p.create_registry_transaction()
        loaded = p.load_key(p.test_root / "hive", "hive.dat", form=4)
    assert made.status == NTSTATUS.PROCEDURE_NOT_FOUND
    assert not loaded.succeeded
