"""The bundle of a failed test: what the journal, the traceback and the guest say, put together."""

from __future__ import annotations

import hashlib
import linecache
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import pytest

from harness.errors import DriverRefusedError, GuestCrashed, HarnessError
from harness.guest.base import Guest, GuestKind
from harness.plugin.agreed import seed_of
from harness.plugin.options import SETTINGS
from harness.plugin.selection import name_without_target, target_of
from harness.plugin.version import own_version
from harness.repro.bundle import GuestRecord, TestRecord
from harness.repro.claim import Claim, Expectation, NoClaimError, claim_of
from harness.repro.failure import CrashFacts, Failure
from harness.repro.keep import Circumstances, write_bundle
from harness.repro.machine_files import MachineState, machine_state
from harness.repro.places import Places
from harness.results.model import MAX_NAME, MAX_RECORDED, clip
from harness.results.outcome import Outcome
from harness.workload.recorder import UnexpectedStatusError

if TYPE_CHECKING:
    from harness.plugin.recording import TestLog
    from harness.targets import Target

__all__ = ["keep_bundle", "seed_test"]

#: What leaves a bundle. INFRA says nothing about what was tested.
_BUNDLED: Final = frozenset({Outcome.FAIL, Outcome.CRASH, Outcome.HANG})


def seed_test(item: pytest.Item) -> None:
    """The same random numbers for the same test and seed, on every target."""
    if target_of(item) is not None:
        random.seed(f"{seed_of(item.config)}:{name_without_target(item)}")


def keep_bundle(item: pytest.Item, log: TestLog, call: pytest.CallInfo[None], outcome: Outcome) -> None:
    """Write the bundle of a failed phase, once a test; trouble with it is noted in the failure's detail."""
    station, target = log.station, target_of(item)
    if outcome not in _BUNDLED or station is None or target is None or log.bundle:
        return
    try:
        log.bundle = _Keeper(item, log, call, outcome, target).write()
    except (HarnessError, OSError, ValueError) as trouble:  # the failure itself must not be hidden
        log.detail += f"\nno bundle: {trouble}"


class _Keeper:
    """Puts one bundle together."""

    def __init__(
        self, item: pytest.Item, log: TestLog, call: pytest.CallInfo[None], outcome: Outcome, target: Target
    ) -> None:
        assert log.station is not None
        self._item, self._log, self._call, self._outcome, self._target = item, log, call, outcome, target
        self._settings = item.config.stash[SETTINGS]
        self._journal = log.station.journal
        self._guest = log.station.guest
        self._error = None if call.excinfo is None else call.excinfo.value
        self._places = Places(self._journal)
        self._frame = _test_frame(item, self._error)

    def write(self) -> str:
        log, settings = self._log, self._settings
        claim, no_claim = self._claim()
        domain, guest = _guest_record(self._guest, self._target)
        named = [*log.evidence, *([log.comparison] if log.comparison else [])]
        root = self._places.root(self._frame[0]) if self._frame else None
        about = Circumstances(
            target=self._target.name,
            test=self._test(),
            guest=guest,
            failure=self._failure(),
            harness=own_version(),
            claim=claim,
            no_claim=no_claim,
            test_root=str(root or ""),
            own_driver=settings.driver,
            attestation={} if log.attestation is None else log.attestation.to_json(),
            evidence={Path(name).name: settings.run_folder / name for name in named},
            domain=domain,
        )
        with self._machine() as state:
            about = replace(about, machine=state.files, no_machine=state.missing)
            return write_bundle(settings.run_folder, self._item.name, self._journal, about)

    @contextmanager
    def _machine(self) -> Iterator[MachineState]:
        """The machine's disks and memory, where they were asked for."""
        if not self._item.config.getoption("--bundle-machine") or not _is_machine(self._guest):
            yield MachineState()
            return
        assert self._log.station is not None
        self._log.station.spoiled = True
        with machine_state(self._guest, self._settings.run_folder) as state:
            yield state

    def _claim(self) -> tuple[Claim | None, str]:
        """The claim, or why there is none."""
        error = self._error
        if self._outcome is not Outcome.FAIL:
            return None, "a crash and a hang are recognised by themselves"
        if isinstance(error, DriverRefusedError):
            return None, "a refused driver is recognised by its status"
        if isinstance(error, UnexpectedStatusError):
            expected = tuple(_expectations(error, self._places))
            return (Claim(expectations=expected), "") if expected else (None, "its program was not kept")
        if not isinstance(error, AssertionError):
            return None, f"{type(error).__name__} is no failed assertion"
        if self._frame is None:
            return None, "the assertion did not fail in the test itself"
        try:
            return claim_of(*self._frame, self._places.locate, root=self._places.root(self._frame[0])), ""
        except NoClaimError as trouble:
            return None, clip(str(trouble), MAX_RECORDED)

    def _failure(self) -> Failure:
        item, error = self._item, self._error
        call, operation = self._places.failed_at(error)
        return Failure(
            outcome=self._outcome,
            exception="" if error is None else clip(type(error).__name__, MAX_NAME),
            place=f"{item.location[0]}::{getattr(item, 'originalname', item.name)}",
            statement=_statement(self._frame),
            message=self._log.message,
            detail=self._log.detail,
            phase=self._call.when,
            crash=CrashFacts.of(error.bugcheck) if isinstance(error, GuestCrashed) else None,
            status=error.status if isinstance(error, DriverRefusedError) else None,
            call=call,
            operation=operation,
        )

    def _test(self) -> TestRecord:
        item, settings, config = self._item, self._settings, self._item.config
        try:
            content, file = item.path.read_bytes(), item.path.relative_to(config.rootpath).as_posix()
        except (OSError, ValueError):
            content, file = b"", str(item.path)
        return TestRecord(
            node=item.nodeid,
            name=name_without_target(item),
            root=str(config.rootpath),
            file=file,
            sha256=hashlib.sha256(content).hexdigest(),
            seed=seed_of(config),
            isolation=settings.isolation.value,
            plugins=tuple(map(str, config.getoption("plugins", None) or ())),
            recipes=tuple(str(Path(folder).absolute()) for folder in config.getoption("--recipes")),
            driver_parameters=tuple(config.getoption("--driver-parameter")),
            channel=settings.guests.channel,
            arguments=settings.arguments,
        )


def _test_frame(item: pytest.Item, error: BaseException | None) -> tuple[FrameType, int] | None:
    """The frame of the test function, and the line it had reached."""
    code = getattr(getattr(item, "function", None), "__code__", None)
    link = None if error is None or code is None else error.__traceback__
    found = None
    while link is not None:
        if link.tb_frame.f_code is code:
            found = link.tb_frame, link.tb_lineno
        link = link.tb_next
    return found


def _expectations(error: UnexpectedStatusError, places: Places) -> Iterator[Expectation]:
    for step in error.steps:
        place = places.of_operation(step.operation)
        if place is not None:
            yield Expectation(*place, tuple(sorted(step.expected or ())))


def _statement(found: tuple[FrameType, int] | None) -> str:
    """The source of the line a test had reached."""
    if found is None:
        return ""
    frame, line = found
    return clip(linecache.getline(frame.f_code.co_filename, line).strip(), MAX_RECORDED)


def _is_machine(guest: Guest) -> bool:
    return guest.info.kind is not GuestKind.REFERENCE and hasattr(guest, "machine")


def _guest_record(guest: Guest, target: Target) -> tuple[str, GuestRecord]:
    """The domain's XML, empty for a guest that is no machine, and what the guest is."""
    info = guest.info
    record = GuestRecord(
        kind=info.kind.value,
        version=info.version.triple,
        arch=info.arch.value,
        axes=tuple(axis.value for axis in target.axes),
        template=info.facts.template,
        channel=info.facts.channel,
        accelerator=info.facts.accelerator,
    )
    if not _is_machine(guest):
        return "", record
    from harness.repro.machines import described

    return described(guest, record)
