from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.channel.errors import ChannelClosedError, ChannelTimeoutError, RunnerError
from harness.errors import GuestCrashed, GuestHung, HarnessError, InfrastructureError
from harness.guest.bugcheck import Bugcheck
from harness.machine.evidence import MAX_LOG
from harness.machine.hypervisor.events import EventKind, MachineEvent, Subscriber, from_qemu
from harness.machine.watch.debug_log import KEPT_BYTES, MAX_LINES, DebugLog
from harness.machine.watch.latch import Latch
from harness.machine.watch.watchers import Watch, WatchLimits

#: Long enough for any host; only a broken watcher needs all of it.
EVENTUALLY = 60.0
SILENCE = 0.02
CIRCLE_SECONDS = 0.1
HYPERV = {
    "action": "pause",
    "info": {"type": "hyper-v", "arg1": 0x7E, "arg2": 1, "arg3": 2, "arg4": 3, "arg5": 4},
}
STOP_TEXT = b"*** STOP: 0x0000007E (0x1,0x2,0x3,0x4)\n***   wrong.sys - Address F7A12345 base at F7A10000\n"


class FakeMachine:
    name = "fake"

    def __init__(self) -> None:
        self.running = True
        self.subscribers: list[Subscriber] = []
        #: The host has no time for its thread 1, which always waited longer than any test takes.
        self.starved = False
        self._asked = 0

    def waits(self) -> dict[int, float]:
        self._asked += 1
        return {1: 1000.0 * self._asked if self.starved else 0.0, 2: 0.0}

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        self.subscribers.append(subscriber)
        return lambda: self.subscribers.remove(subscriber) if subscriber in self.subscribers else None

    def happens(self, name: str, **data: object) -> None:
        for each in list(self.subscribers):
            each(from_qemu(name, data))


class FakePulse:
    """Answers while `answers`; tells when it was asked for many times the silence that counts as a hang."""

    def __init__(self, *, answers: bool = True, moves: int = 0) -> None:
        self.answers = answers
        self.moves = moves
        self.moved = 0
        self.first = 0.0
        self.often = threading.Event()

    def ping(self, *, timeout: float) -> None:
        self.moved += 32
        now = time.monotonic()
        self.first = self.first or now
        if now - self.first >= 20 * SILENCE:
            self.often.set()
        if not self.answers:
            self.moved += self.moves
            raise ChannelTimeoutError("no answer")


@pytest.fixture
def machine() -> FakeMachine:
    return FakeMachine()


@pytest.fixture
def log(tmp_path: Path) -> DebugLog:
    return DebugLog(tmp_path / "debug.log")


@pytest.fixture
def watch(machine: FakeMachine, log: DebugLog) -> Iterator[Watch]:
    limits = WatchLimits(silence=SILENCE, circle_times=100, circle_seconds=CIRCLE_SECONDS)
    with Watch(machine, log, limits=limits).start() as watch:
        yield watch


def latched(watch: Watch) -> HarnessError:
    error = watch.latch.wait(EVENTUALLY)
    assert error is not None, "nothing was latched"
    return error


def write(log: DebugLog, data: bytes) -> None:
    with log.path.open("ab") as file:
        file.write(data)


def test_crash_registers_give_code_and_parameters(machine: FakeMachine, watch: Watch) -> None:
    machine.happens("GUEST_PANICKED", **HYPERV)
    error = latched(watch)
    assert isinstance(error, GuestCrashed)
    assert error.bugcheck == Bugcheck(0x7E, (1, 2, 3, 4))


def test_a_panic_without_details_says_that_the_code_is_not_known(machine: FakeMachine, watch: Watch) -> None:
    machine.happens("GUEST_PANICKED", action="pause")
    error = latched(watch)
    assert type(error) is GuestCrashed
    assert error.bugcheck.code is None
    assert "code is not known" in str(error)


@pytest.mark.parametrize("info", [HYPERV, {"action": "pause"}])
def test_the_debug_port_adds_what_the_panic_device_does_not_say(
    machine: FakeMachine, watch: Watch, log: DebugLog, info: dict[str, object]
) -> None:
    write(log, STOP_TEXT)
    machine.happens("GUEST_PANICKED", **info)
    error = latched(watch)
    assert isinstance(error, GuestCrashed)
    assert error.bugcheck == Bugcheck(0x7E, (1, 2, 3, 4), "wrong.sys")


def test_text_alone_is_enough(watch: Watch, log: DebugLog) -> None:
    write(log, STOP_TEXT)
    error = latched(watch)
    assert isinstance(error, GuestCrashed)
    assert error.bugcheck == Bugcheck(0x7E, (1, 2, 3, 4), "wrong.sys")


def test_a_stop_code_without_more_is_told_when_the_port_stays_quiet(watch: Watch, log: DebugLog) -> None:
    write(log, b"*** Fatal System Error: 0x000000c9\n")
    error = latched(watch)
    assert isinstance(error, GuestCrashed)
    assert error.bugcheck == Bugcheck(0xC9, ())


@pytest.mark.parametrize(
    ("name", "data", "kind", "says"),
    [
        ("RESET", {"guest": True, "reason": "guest-reset"}, GuestCrashed, "reset itself"),
        ("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}, InfrastructureError, "switched itself off"),
        ("BLOCK_IO_ERROR", {"reason": "No space left on device"}, InfrastructureError, "No space left"),
        ("WATCHDOG", {"action": "pause"}, GuestHung, "watchdog"),
    ],
)
def test_what_nobody_asked_for_is_latched(
    machine: FakeMachine,
    watch: Watch,
    name: str,
    data: dict[str, object],
    kind: type[HarnessError],
    says: str,
) -> None:
    machine.happens(name, **data)
    error = latched(watch)
    assert type(error) is kind
    assert says in str(error)


def test_qemu_that_ends_by_itself_is_no_crash_of_the_guest(machine: FakeMachine, watch: Watch) -> None:
    for each in list(machine.subscribers):
        each(MachineEvent(EventKind.EXIT, "stopped"))
    error = latched(watch)
    assert type(error) is InfrastructureError
    assert "QEMU ended by itself" in str(error)


@pytest.mark.parametrize(
    ("name", "data"),
    [("STOP", {}), ("RESUME", {}), ("RESET", {"guest": False}), ("DEVICE_TRAY_MOVED", {}), ("NEWS", {})],
)
def test_harmless_events_are_let_pass(
    machine: FakeMachine, watch: Watch, name: str, data: dict[str, object]
) -> None:
    machine.happens(name, **data)
    machine.happens("GUEST_PANICKED", **HYPERV)  # behind it in the queue
    error = latched(watch)
    assert isinstance(error, GuestCrashed)
    assert error.bugcheck.code == 0x7E


def test_a_guest_that_answers_no_ping_hangs(watch: Watch) -> None:
    pulse = FakePulse(answers=False)
    watch.listen_to(pulse)
    error = latched(watch)
    assert isinstance(error, GuestHung)
    assert "no answer to a PING" in str(error)


@pytest.mark.parametrize("pulse", [FakePulse(), FakePulse(answers=False, moves=1)], ids=["answers", "busy"])
def test_a_guest_that_answers_or_moves_bytes_does_not_hang(watch: Watch, pulse: FakePulse) -> None:
    watch.listen_to(pulse)
    assert pulse.often.wait(EVENTUALLY)
    assert watch.latch.error is None


def test_a_paused_machine_is_not_silent(machine: FakeMachine, watch: Watch) -> None:
    machine.running = False
    pulse = FakePulse(answers=False)
    watch.listen_to(pulse)
    assert pulse.often.wait(EVENTUALLY)
    assert watch.latch.error is None


def test_a_guest_that_waits_for_the_host_is_not_silent(machine: FakeMachine, watch: Watch) -> None:
    machine.starved = True
    pulse = FakePulse(answers=False)
    watch.listen_to(pulse)
    assert pulse.often.wait(EVENTUALLY)
    assert watch.latch.error is None
    machine.starved = False
    assert isinstance(latched(watch), GuestHung), (
        "what waits for nothing hangs, however long it waited before"
    )


def test_a_circle_counts_only_while_a_call_waits(
    watch: Watch, log: DebugLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("harness.machine.watch.watchers.time", SimpleNamespace(monotonic=lambda: now))

    def chatter() -> None:
        """Say more than enough for long enough."""
        nonlocal now
        for _ in range(10):
            write(log, b"here again\n" * 20)
            log.catch_up()
            now += CIRCLE_SECONDS

    chatter()
    assert watch.latch.error is None, "nobody waited"
    for _ in range(5):  # many calls that end, however often the same is said
        with watch.call():
            write(log, b"here again\n" * 200)
            log.catch_up()
        now += 2 * CIRCLE_SECONDS
    assert watch.latch.error is None

    def waiting() -> None:
        chatter()
        latched(watch)

    with pytest.raises(GuestHung, match="here again"), watch.call():
        waiting()


def test_a_waiting_call_ends_and_later_ones_fail_alike(machine: FakeMachine, watch: Watch) -> None:
    waits = threading.Event()
    watch.latch.tell(lambda error: waits.set())

    def waiting() -> None:
        machine.happens("GUEST_PANICKED", **HYPERV)
        assert waits.wait(EVENTUALLY)
        raise RunnerError("the answer that came on the way down", code=1)

    with pytest.raises(GuestCrashed) as first, watch.call():
        waiting()
    with pytest.raises(GuestCrashed) as second, watch.call():
        raise AssertionError("nothing may be asked of a dead guest")
    assert first.value.bugcheck == second.value.bugcheck == Bugcheck(0x7E, (1, 2, 3, 4))


def test_a_channel_that_closes_first_does_not_hide_the_crash(machine: FakeMachine, watch: Watch) -> None:
    def waiting() -> None:
        machine.happens("GUEST_PANICKED", **HYPERV)
        raise ChannelClosedError("the guest's side closed the stream")

    with pytest.raises(GuestCrashed), watch.call():
        waiting()


def test_other_errors_stay_themselves(watch: Watch) -> None:
    with pytest.raises(RunnerError), watch.call():
        raise RunnerError("no such file", code=4)


def test_the_first_one_stays(machine: FakeMachine, watch: Watch) -> None:
    machine.happens("GUEST_PANICKED", **HYPERV)
    latched(watch)
    assert not watch.latch.trip(InfrastructureError("QEMU ended"))
    assert isinstance(watch.latch.error, GuestCrashed)


def test_what_the_harness_does_itself_is_not_latched(machine: FakeMachine, watch: Watch) -> None:
    watch.stop()
    machine.happens("SHUTDOWN", guest=True)
    assert not machine.subscribers
    assert watch.latch.error is None


def test_a_latch_tells_latecomers() -> None:
    latch, told = Latch(), []
    latch.trip(InfrastructureError("first"))
    latch.tell(told.append)
    assert [str(error) for error in told] == ["first"]


def test_debug_lines_are_whole_and_taken_once(log: DebugLog) -> None:
    assert log.take() == []
    write(log, b"one\r\ntwo\nthr")
    assert log.take() == ["one", "two"]
    write(log, b"ee\n")
    assert log.take() == ["three"]


def test_a_guest_that_writes_without_end_does_not_fill_the_disk(log: DebugLog) -> None:
    line = b"x" * 1023 + b"\n"
    for _ in range(5):
        write(log, line * (KEPT_BYTES // len(line)))
        while log.catch_up():
            pass
    write(log, b"the last one\n")
    assert log.take()[-1] == "the last one"
    found = log.path.stat()
    assert found.st_size > 5 * KEPT_BYTES
    assert found.st_blocks * 512 < 3 * KEPT_BYTES
    with log.path.open("rb") as file:  # what evidence takes is all there
        file.seek(-MAX_LOG, 2)
        assert file.read().count(b"\0") == 0


def test_what_stood_in_the_log_before_is_not_this_guests(log: DebugLog) -> None:
    write(log, b"the template booted\n")
    log.skip()
    write(log, b"mine\n")
    assert log.take() == ["mine"]


def test_debug_lines_are_bounded_and_the_loss_is_said(log: DebugLog) -> None:
    write(log, b"x\n" * (MAX_LINES + 7))
    lines = log.take()
    assert lines[0] == "... 7 lines more, dropped"
    assert len(lines) == MAX_LINES + 1
