"""How an install goes on, as a pure state machine: lines and events in, what to do and what came of it out.

The guest tells its stages on its debug port, ``HARNESS-STAGE name``; a step that did not work is
``HARNESS-FAILED step``, one that is only a pity ``HARNESS-MISSED step``. The last stage is ``ready`` or
``failed``, and then the guest switches itself off. Nothing a guest writes is trusted: names are bounded, and
every stage has its deadline.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from harness.image.answer import AnswerFile
from harness.image.installspec import Install
from harness.machine.describe.spec import Accelerator
from harness.machine.hypervisor.events import EventKind, MachineEvent

__all__ = [
    "FIRST_STAGE",
    "SETUP",
    "Outcome",
    "Progress",
    "Schedule",
    "Screen",
    "after_event",
    "after_line",
    "after_screen",
    "after_time",
]

#: Before the guest has told anything: firmware, boot prompt, setup's own loading.
FIRST_STAGE: Final = "starting"
SETUP: Final = "windows-setup"
READY: Final = "ready"
FAILED: Final = "failed"
#: At a line's end: firmware and boot loaders write on the same port, and need not end their last line.
_LINE: Final = re.compile(r"HARNESS-(STAGE|FAILED|MISSED) ([a-z0-9][a-z0-9-]{0,31})\s*$", re.ASCII)
#: What OVMF says of a boot loader that Secure Boot does not let start (edk2: BdsDxe).
_REFUSED: Final = re.compile(r"BdsDxe: failed to load .{1,200}: (Access Denied|Security Violation)", re.ASCII)
#: What `ver` says, in whatever language: "Microsoft Windows [Version 10.0.26100.1742]".
_VERSION: Final = re.compile(r"Microsoft Windows \[[^\d\]]{0,20}(\d{1,2}\.\d{1,2}\.\d{1,6})[.\]]", re.ASCII)
#: Stages in which setup itself works: minutes pass without a word.
_LONG: Final = frozenset({SETUP, "specialize"})
_MOST_STEPS: Final = 64
#: Setup restarts twice or three times between two stages at most; XP's text and graphical parts tell none.
_MOST_RESTARTS: Final = 6
#: One restart is several resets: a BIOS that finds itself started again resets the machine once more. Those
#: within so many seconds of each other are one, and so many in all are a loop, however fast.
_ONE_RESTART: Final = 5.0
_MOST_RESETS: Final = 40
#: How much slower setup is where every instruction is emulated: an order of magnitude, by reports.
_EMULATION: Final = 10.0


class Outcome(StrEnum):
    INSTALLED = "installed"
    FAILED = "failed"  # a step of the first boot did not work
    STALLED = "stalled"  # a stage took longer than it may
    LOOPED = "looped"  # setup started over, or the machine restarts again and again
    REFUSED = "was refused"  # Secure Boot does not start it
    OTHER = "installs another system"
    CRASHED = "crashed"
    ENDED = "ended"  # switched off, or gone, before it was ready


@dataclass(frozen=True, slots=True)
class Schedule:
    """Seconds. `expected` in all; `long` a stage of setup may take, `short` one of the first boot.

    `first` may pass before anything is told, `prompt` is how long keys are sent to the medium's "press any
    key".
    """

    expected: float
    first: float
    long: float
    short: float
    prompt: float

    @classmethod
    def of(cls, expected_minutes: int, accelerator: Accelerator, *, tells_setup: bool) -> Schedule:
        """For an install of so many minutes on KVM; `tells_setup`: its setup tells that it started."""
        pace = 1.0 if accelerator is Accelerator.KVM else _EMULATION
        whole, short = expected_minutes * 60.0 * pace, 900.0 * pace
        return cls(
            expected=whole,
            first=short if tells_setup else 2 * whole,
            long=2 * whole,
            short=short,
            prompt=60.0 * min(pace, 3.0),
        )

    def limit(self, stage: str) -> float:
        """How long `stage` may take, until the next is told or the guest switches itself off."""
        if stage == FIRST_STAGE:
            return self.first
        return self.long if stage in _LONG else self.short


def schedule_of(install: Install, accelerator: Accelerator) -> Schedule:
    """That of an install by its recipe."""
    tells = install.answer is AnswerFile.AUTOUNATTEND
    return Schedule.of(install.expected_minutes, accelerator, tells_setup=tells)


@dataclass(frozen=True, slots=True)
class Screen:
    """What the display shows: 720 by 400 is text, a picture of the same digest the same picture.

    It tells where a setup is that says nothing, and one that waits: nothing moves any more.
    """

    width: int
    height: int
    digest: str
    since: float

    @property
    def is_text(self) -> bool:
        return (self.width, self.height) in _TEXT_MODES

    def still(self, now: float) -> str:
        kind = "text" if self.is_text else "graphics"
        return f"{kind} of {self.width}x{self.height}, unchanged for {(now - self.since) / 60:.0f} min"


#: Of VGA; a BIOS and text-mode setup have them.
_TEXT_MODES: Final = frozenset({(720, 400), (640, 400), (720, 350)})


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an install is. Times are of `time.monotonic`; restarts and resets are since the last stage."""

    began: float
    since: float
    wanted: str = ""  # the version that is to be installed; empty: any
    stage: str = FIRST_STAGE
    seen: tuple[str, ...] = ()
    restarts: int = 0
    resets: int = 0
    last_reset: float | None = None
    failed: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()
    screen: Screen | None = None
    outcome: Outcome | None = None
    why: str = ""

    @classmethod
    def start(cls, now: float, wanted: str = "") -> Progress:
        return cls(began=now, since=now, wanted=wanted)

    @property
    def over(self) -> bool:
        return self.outcome is not None

    def ended(self, outcome: Outcome, why: str) -> Progress:
        """The first end counts: what follows it are its consequences."""
        return self if self.over else replace(self, outcome=outcome, why=why)

    def wants_key(self, schedule: Schedule, now: float) -> bool:
        """Whether the medium may be asking for a key: at the very first start, for a bounded time."""
        first = self.stage == FIRST_STAGE and self.last_reset is None and not self.over
        return first and now - self.began < schedule.prompt


def after_line(progress: Progress, line: str, now: float) -> Progress:
    """A line of the debug port; most are none of ours."""
    if progress.over:
        return progress
    if _REFUSED.search(line):
        return progress.ended(Outcome.REFUSED, _WHY_REFUSED)
    said = _VERSION.search(line)
    if said is not None and progress.wanted not in ("", said[1]):
        wrong = f"found Windows {said[1]} on its disk, wanted {progress.wanted}"
        return progress.ended(Outcome.OTHER, f"{wrong}; the medium is of another release")
    match = _LINE.search(line)
    if match is None:
        return progress
    kind, name = match.groups()
    if kind == "FAILED":
        return replace(progress, failed=_with(progress.failed, name), since=now)
    if kind == "MISSED":
        return replace(progress, missed=_with(progress.missed, name), since=now)
    told = replace(progress, stage=name, since=now, restarts=0, resets=0, seen=_with(progress.seen, name))
    if name == SETUP and SETUP in progress.seen:
        return told.ended(
            Outcome.LOOPED, "setup started a second time: its first part did not end as it should"
        )
    return told


_WHY_REFUSED: Final = (
    "Secure Boot is on, and the firmware does not start its boot loader, which no key that it trusts has "
    "signed; is it a medium as Microsoft offers it? One that is signed with Microsoft's keys of 2023 needs a "
    'firmware package (ovmf) that has them; a recipe of your own with firmware = "uefi" below [install] '
    "installs without Secure Boot"
)


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    return names if name in names or len(names) >= _MOST_STEPS else (*names, name)


def after_event(progress: Progress, event: MachineEvent) -> Progress:
    """What happened to the machine."""
    match event.kind:
        case EventKind.RESET:
            return _reset(progress, event.when)
        case EventKind.PANIC:
            return progress.ended(Outcome.CRASHED, f"the system stopped: {event.panic or 'no details'}")
        case EventKind.IO_ERROR:
            return progress.ended(Outcome.ENDED, "QEMU can't use a disk; is the host's disk full?")
        case EventKind.SHUTDOWN | EventKind.EXIT:
            return _switched_off(progress)
        case _:
            return progress


def _reset(progress: Progress, when: float) -> Progress:
    again = progress.last_reset is None or when - progress.last_reset > _ONE_RESTART
    told = replace(progress, restarts=progress.restarts + again, resets=progress.resets + 1, last_reset=when)
    if told.restarts <= _MOST_RESTARTS and told.resets <= _MOST_RESETS:
        return told
    return told.ended(
        Outcome.LOOPED,
        f"the machine restarts again and again (reset {told.resets} times) without telling a further stage; "
        "a processor without what the system needs does that, or a stop error that restarts",
    )


def _switched_off(progress: Progress) -> Progress:
    if progress.stage == READY and not progress.failed:
        return progress.ended(Outcome.INSTALLED, "")
    if progress.stage in (READY, FAILED):
        steps = ", ".join(progress.failed) or "which one is not told"
        return progress.ended(Outcome.FAILED, f"steps of the first boot did not work: {steps}")
    return progress.ended(Outcome.ENDED, f"the machine ended in stage {progress.stage}, before it was ready")


def after_screen(progress: Progress, seen: Screen) -> Progress:
    """A look at the display."""
    old = progress.screen
    same = old is not None and replace(seen, since=old.since) == old
    return progress if same else replace(progress, screen=seen)


def after_time(progress: Progress, schedule: Schedule, now: float) -> Progress:
    """Time passes."""
    limit = schedule.limit(progress.stage)
    since = progress.since
    if progress.stage == FIRST_STAGE and progress.screen is not None and not progress.screen.is_text:
        # Windows PE may have no serial port: then its screen alone tells that setup goes on. In text modes a
        # cursor blinks, and a prompt that was missed would look alive.
        since = min(max(since, progress.screen.since), progress.began + schedule.long)
    if now - since <= limit:
        return progress
    hint = _HINTS.get(progress.stage, "")
    return progress.ended(
        Outcome.STALLED, f"nothing was told for {limit / 60:.0f} min after stage {progress.stage}{hint}"
    )


_HINTS: Final = {
    FIRST_STAGE: "; the screen shows whether the medium started, and whether setup waits for an answer",
    SETUP: "; the screen shows whether setup waits for an answer: for a product key give one with "
    "--product-key-file (docs/images.md, Product keys)",
}
