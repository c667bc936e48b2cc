"""Runs one install: starts the machine, feeds the state machine, presses the key, takes the pictures."""

from __future__ import annotations

import hashlib
import queue
import shutil
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from harness.errors import InfrastructureError
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
from harness.machine.describe.spec import MachineSpec
from harness.machine.evidence import collect
from harness.machine.hypervisor.events import EventKind, MachineEvent
from harness.machine.hypervisor.host import Host
from harness.machine.hypervisor.machine import Machine
from harness.machine.keep.places import private_folder
from harness.machine.watch.debug_log import DebugLog

__all__ = ["InstallFailedError", "Observer", "run_install"]

#: Does nothing in a firmware's menu or on a page of setup, as Enter would.
_KEY: Final = "up"
_KEY_SECONDS: Final = 1.0
#: The debug port's file tells nobody that it grew.
_LOOK_SECONDS: Final = 0.25
#: From the guest's switching itself off to the end of its machine.
_END_SECONDS: Final = 60.0
_PICTURE_SECONDS: Final = 10.0

#: Called about four times a second while the machine runs; may take a screenshot.
Observer = Callable[[Progress, Machine], None]


class InstallFailedError(InfrastructureError):
    """An install did not come to its end. `progress` says how far it came, `evidence` is a folder."""

    def __init__(self, name: str, progress: Progress, evidence: Path) -> None:
        minutes = (progress.since - progress.began) / 60
        screen = progress.screen
        shown = f"; the screen: {screen.still(time.monotonic())}" if screen is not None else ""
        super().__init__(
            f"the install of {name} {progress.outcome}: {progress.why} (last stage {progress.stage}, told "
            f"after {minutes:.0f} min{shown}); screen, logs and the machine's description are in {evidence}"
        )
        self.progress = progress
        self.evidence = evidence


def run_install(
    host: Host,
    spec: MachineSpec,
    schedule: Schedule,
    *,
    evidence: Path,
    version: str = "",
    observer: Observer | None = None,
) -> Progress:
    """Run the machine until it is installed; it is gone afterwards, whatever happened.

    `version` is the one that setup must install, as far as it tells; empty: any.

    Raises `InstallFailedError` with evidence in the folder `evidence`, which is made anew.
    """
    happened: queue.SimpleQueue[MachineEvent] = queue.SimpleQueue()
    progress = Progress.start(time.monotonic(), version)
    with host.start(spec, paused=True) as machine:
        machine.subscribe(happened.put)
        machine.resume()
        log = DebugLog(spec.debug_log)
        pictures = _Pictures(spec.folder / "last.png")
        next_key = progress.began
        while not progress.over:
            progress = _step(progress, happened, log, schedule)
            now = time.monotonic()
            if progress.wants_key(schedule, now) and now >= next_key:
                with suppress(InfrastructureError):
                    machine.send_keys(_KEY)
                next_key = now + _KEY_SECONDS
            if not progress.over:
                if (seen := pictures.take(machine, now)) is not None:
                    progress = after_screen(progress, seen)
                if observer is not None:
                    observer(progress, machine)
        if progress.outcome is Outcome.INSTALLED:
            machine.wait_for(EventKind.EXIT, timeout=_END_SECONDS)  # only then its disks are written
            return progress
        failure = InstallFailedError(spec.name, progress, evidence)
        shutil.rmtree(evidence, ignore_errors=True)
        collect(machine, private_folder(evidence), failure)
        pictures.keep(evidence / "last-screen.png")
        raise failure


class _Pictures:
    """What the screen showed lately: a machine that ended by itself has none to show any more."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next = 0.0

    def take(self, machine: Machine, now: float) -> Screen | None:
        """Look at it, when it is time to."""
        if now < self._next:
            return None
        self._next = now + _PICTURE_SECONDS
        try:
            picture = machine.screenshot(self.path).read_bytes()
            width, height = struct.unpack_from(">II", picture, 16)  # IHDR, the first chunk of any PNG
        except (InfrastructureError, OSError, struct.error):
            return None  # it may end at this moment, and that is told otherwise
        return Screen(width, height, hashlib.sha256(picture).hexdigest(), now)

    def keep(self, to: Path) -> None:
        if self.path.is_file():
            shutil.copyfile(self.path, to)
            to.chmod(0o600)


def _step(
    progress: Progress, happened: queue.SimpleQueue[MachineEvent], log: DebugLog, schedule: Schedule
) -> Progress:
    """One look: wait a moment for an event, read what the guest has told before it, judge."""
    try:
        event: MachineEvent | None = happened.get(timeout=_LOOK_SECONDS)
    except queue.Empty:
        event = None
    now = time.monotonic()
    for line in log.take():
        progress = after_line(progress, line, now)
    if event is not None:
        progress = after_event(progress, event)
    return after_time(progress, schedule, now)
