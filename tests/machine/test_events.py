"""Events: what QEMU says becomes typed, and waiting for them."""

from __future__ import annotations

import threading

import pytest

from harness.errors import InfrastructureError
from harness.machine.hypervisor.eventlog import EventLog
from harness.machine.hypervisor.events import EventKind, MachineEvent, Panic, from_qemu

#: As QEMU prints it for a bugcheck 0xD1: code and four parameters, from the crash registers.
BUGCHECK = {
    "type": "hyper-v",
    "arg1": 0xD1,
    "arg2": 2**64 - 8,
    "arg3": 2,
    "arg4": 0,
    "arg5": 0xFFFFF80012345678,
}


def test_a_bugcheck_comes_with_its_code_and_four_parameters() -> None:
    event = from_qemu("GUEST_PANICKED", {"action": "pause", "info": BUGCHECK})
    assert event.kind is EventKind.PANIC
    assert event.panic == Panic(0xD1, (0xFFFFFFFFFFFFFFF8, 2, 0, 0xFFFFF80012345678))
    assert str(event.panic) == "0xd1 (0xfffffffffffffff8, 0x2, 0x0, 0xfffff80012345678)"


@pytest.mark.parametrize(
    "info",
    [None, {"type": "s390", "arg1": 3}, "hyper-v", {}, []],
)
def test_a_panic_without_a_bugcheck_has_none(info: object) -> None:
    assert from_qemu("GUEST_PANICKED", {"info": info}).panic == Panic()


def test_a_bugcheck_with_odd_arguments_is_no_error() -> None:
    odd = {"type": "hyper-v", "arg1": "x", "arg2": -1, "arg3": 1 << 70}
    assert from_qemu("GUEST_PANICKED", {"info": odd}).panic == Panic(0, (2**64 - 1, 0, 0, 0))


def test_an_event_nobody_knows_is_kept_by_its_name() -> None:
    event = from_qemu("NEW_IN_QEMU_12", {"x": 1})
    assert (event.kind, event.name, event.data) == (EventKind.OTHER, "NEW_IN_QEMU_12", {"x": 1})


def event(kind: EventKind) -> MachineEvent:
    return MachineEvent(kind, kind.name)


def test_what_came_before_the_mark_is_not_waited_for() -> None:
    log = EventLog("m")
    log.add(event(EventKind.RESET))
    mark = log.seen
    with pytest.raises(
        InfrastructureError, match=r"machine m: waited for reset for 0 s in vain.*reset \(RESET\)"
    ):
        log.wait_for(EventKind.RESET, timeout=0, since=mark)
    assert log.wait_for(EventKind.RESET, timeout=0).kind is EventKind.RESET


def test_waiting_ends_when_it_comes_from_another_thread() -> None:
    log = EventLog("m")
    thread = threading.Timer(0.01, log.add, [event(EventKind.PANIC)])
    thread.start()
    assert log.wait_for(EventKind.RESET, EventKind.PANIC, timeout=60).kind is EventKind.PANIC
    thread.join()


def test_waiting_for_what_a_dead_machine_can_no_longer_do_ends_at_once() -> None:
    log = EventLog("m")
    log.add(event(EventKind.EXIT))
    with pytest.raises(InfrastructureError, match="but it ended"):
        log.wait_for(EventKind.PANIC, timeout=30)


def test_a_guest_that_resets_in_a_circle_fills_no_memory() -> None:
    log = EventLog("m")
    for _ in range(25_000):
        log.add(event(EventKind.RESET))
    mark = log.seen
    assert mark == 25_000
    assert len(log.events) <= 10_000
    log.add(event(EventKind.PANIC))
    assert log.wait_for(EventKind.PANIC, EventKind.RESET, timeout=0, since=mark).kind is EventKind.PANIC
