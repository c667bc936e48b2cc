"""The state machine of an install: what lines, events and time make of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.image.install.stages import (
    Outcome,
    Progress,
    Schedule,
    Screen,
    after_event,
    after_line,
    after_screen,
    after_time,
)
from harness.machine.describe.spec import Accelerator
from harness.machine.hypervisor.events import EventKind, MachineEvent, Panic

SCHEDULE = Schedule(expected=600, first=50, long=100, short=10, prompt=5)
OFF = MachineEvent(EventKind.SHUTDOWN, "SHUTDOWN", {"guest": True})
RESET = MachineEvent(EventKind.RESET, "RESET", {"guest": True})


def told(*lines: str, at: float = 1.0) -> Progress:
    progress = Progress.start(0.0)
    for line in lines:
        progress = after_line(progress, line, at)
    return progress


def test_ready_and_switched_off_is_installed() -> None:
    progress = after_event(told("HARNESS-STAGE windows-setup", "HARNESS-STAGE ready"), OFF)
    assert (progress.outcome, progress.seen) == (Outcome.INSTALLED, ("windows-setup", "ready"))


@pytest.mark.parametrize(
    ("lines", "outcome", "says"),
    [
        ((), Outcome.ENDED, "in stage starting"),
        (("HARNESS-STAGE first-logon",), Outcome.ENDED, "in stage first-logon, before it was ready"),
        (("HARNESS-FAILED runner", "HARNESS-STAGE failed"), Outcome.FAILED, "did not work: runner"),
        (("HARNESS-FAILED runner", "HARNESS-STAGE ready"), Outcome.FAILED, "did not work: runner"),
        (("HARNESS-STAGE failed",), Outcome.FAILED, "which one is not told"),
    ],
)
def test_switched_off_otherwise_is_an_error(lines: tuple[str, ...], outcome: Outcome, says: str) -> None:
    progress = after_event(told(*lines), OFF)
    assert progress.outcome is outcome
    assert says in progress.why


def test_what_is_only_missed_is_no_error() -> None:
    progress = after_event(told("HARNESS-MISSED power", "HARNESS-STAGE ready"), OFF)
    assert (progress.outcome, progress.missed) == (Outcome.INSTALLED, ("power",))


def test_a_stage_has_its_deadline_and_the_next_one_another() -> None:
    progress = Progress.start(0.0)
    assert not after_time(progress, SCHEDULE, 49).over
    assert after_time(progress, SCHEDULE, 51).outcome is Outcome.STALLED
    progress = after_line(progress, "HARNESS-STAGE windows-setup", 40)
    assert not after_time(progress, SCHEDULE, 139).over
    assert after_time(progress, SCHEDULE, 141).outcome is Outcome.STALLED
    progress = after_line(progress, "HARNESS-STAGE quiet \r", 99)
    assert not after_time(progress, SCHEDULE, 108).over
    stalled = after_time(progress, SCHEDULE, 110)
    assert stalled.outcome is Outcome.STALLED
    assert "after stage quiet" in stalled.why


def test_keys_are_sent_at_the_very_start_only() -> None:
    start = Progress.start(0.0)
    assert start.wants_key(SCHEDULE, 4.9)
    assert not start.wants_key(SCHEDULE, 5.0)
    assert not after_event(start, RESET).wants_key(SCHEDULE, 1)
    assert not told("HARNESS-STAGE windows-setup").wants_key(SCHEDULE, 1)


def reset(progress: Progress, when: float) -> Progress:
    return after_event(progress, replace(RESET, when=when))


def test_restarts_without_a_word_are_a_loop_and_those_between_stages_none() -> None:
    progress = told("HARNESS-STAGE windows-setup")
    for number in range(6):
        progress = reset(progress, 20.0 * number)
    assert not progress.over
    assert not reset(after_line(progress, "HARNESS-STAGE specialize", 2), 200).over
    assert reset(progress, 200).outcome is Outcome.LOOPED


def test_the_resets_of_one_restart_are_one_unless_there_is_no_end_of_them() -> None:
    progress = told("HARNESS-STAGE windows-setup")
    for number in range(40):
        progress = reset(progress, 0.1 * number)
    assert (progress.restarts, progress.over) == (1, False)
    assert reset(progress, 4.0).outcome is Outcome.LOOPED


def test_setup_that_starts_twice_is_a_loop() -> None:
    progress = told("HARNESS-STAGE windows-setup", "HARNESS-STAGE specialize", "HARNESS-STAGE windows-setup")
    assert progress.outcome is Outcome.LOOPED


def test_a_stop_error_is_told_with_its_code() -> None:
    event = MachineEvent(EventKind.PANIC, "GUEST_PANICKED", {}, Panic(0x7B, (1, 2, 3, 4)))
    progress = after_event(Progress.start(0.0), event)
    assert progress.outcome is Outcome.CRASHED
    assert "0x7b" in progress.why
    assert after_event(progress, OFF) == progress  # its end is a consequence


@pytest.mark.parametrize(
    "line",
    [
        "Microsoft Windows [Version 10.0.26200.6584]",
        "Microsoft Windows [version 10.0.26200]",
        "x Microsoft Windows [10.0.26200.1]",
    ],
)
def test_another_release_is_seen_before_its_first_boot_is_over(line: str) -> None:
    """Media of 25H2 may carry 24H2's build in their catalogue."""
    wanted = after_line(Progress.start(0.0, "10.0.26100"), line, 1.0)
    assert wanted.outcome is Outcome.OTHER
    assert "found Windows 10.0.26200 on its disk, wanted 10.0.26100" in wanted.why
    assert not after_line(Progress.start(0.0, "10.0.26200"), line, 1.0).over
    assert not after_line(Progress.start(0.0), line, 1.0).over


def test_the_screen_tells_where_a_silent_setup_is_and_that_one_waits() -> None:
    progress = after_screen(Progress.start(0.0), Screen(720, 400, "a", 10.0))
    assert progress.screen is not None
    assert progress.screen.still(70.0) == "text of 720x400, unchanged for 1 min"
    same = after_screen(progress, Screen(720, 400, "a", 610.0))
    assert same is progress
    moved = after_screen(same, Screen(800, 600, "b", 640.0))
    assert moved.screen is not None
    assert moved.screen.still(640.0) == "graphics of 800x600, unchanged for 0 min"


def test_a_setup_that_tells_nothing_goes_on_as_long_as_its_screen_does() -> None:
    progress = Progress.start(0.0)
    for now in range(0, 100, 10):  # a bar that grows
        progress = after_screen(progress, Screen(1024, 768, str(now), float(now)))
        assert not after_time(progress, SCHEDULE, now + 1.0).over
    assert not after_time(progress, SCHEDULE, 139).over
    assert after_time(progress, SCHEDULE, 141).outcome is Outcome.STALLED
    for now in range(100, 200, 10):  # a clock, or a cursor that blinks
        progress = after_screen(progress, Screen(1024, 768, str(now), float(now)))
    assert after_time(progress, SCHEDULE, 151).outcome is Outcome.STALLED
    text = after_screen(Progress.start(0.0), Screen(720, 400, "cursor", 49.0))
    assert after_time(text, SCHEDULE, 51).outcome is Outcome.STALLED


def test_emulation_has_more_time() -> None:
    slow, fast = (
        Schedule.of(40, accelerator, tells_setup=True) for accelerator in (Accelerator.TCG, Accelerator.KVM)
    )
    assert slow.expected > fast.expected == 2400
    assert slow.limit("windows-setup") > fast.limit("windows-setup") > fast.limit("quiet")


@given(st.lists(st.text(max_size=80) | st.sampled_from(["HARNESS-STAGE a", "HARNESS-FAILED b"])))
def test_no_line_of_a_guest_does_harm(lines: list[str]) -> None:
    progress = told(*lines)
    assert set(progress.seen) <= {"a"}
    assert set(progress.failed) <= {"b"}


def test_a_guest_that_names_steps_without_end_is_bounded() -> None:
    progress = told(*(f"HARNESS-FAILED step-{number}" for number in range(1000)))
    assert len(progress.failed) == 64


def test_a_setup_that_tells_nothing_has_its_whole_time_for_that() -> None:
    """XP's text and graphical parts tell no stage; a later Windows that tells none has not started."""
    old, new = (Schedule.of(60, Accelerator.KVM, tells_setup=tells) for tells in (False, True))
    assert old.limit("starting") == 7200
    assert new.limit("starting") == 900


@pytest.mark.parametrize("why", ["Access Denied", "Security Violation"])
def test_what_secure_boot_does_not_start_is_told_at_once(why: str) -> None:
    entry = r'BdsDxe: failed to load Boot0001 "UEFI QEMU DVD-ROM QM00005 " from PciRoot(0x0)/Sata(0x2): '
    assert told(entry + "Not Found").outcome is None  # an empty disk is passed over
    refused = told(f"\x1b[01;01H{entry}{why}")
    assert refused.outcome is Outcome.REFUSED
    assert "ovmf" in refused.why


def test_a_line_may_begin_with_what_firmware_left_there() -> None:
    progress = told(
        "\x1b[2J\x1b[01;01HPress any key to boot from CD or DVD.....HARNESS-STAGE windows-setup \r"
    )
    assert progress.stage == "windows-setup"
    assert told("HARNESS-STAGE windows-setup and more").stage == "starting"
