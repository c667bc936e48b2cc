"""What a test leaves in the results: its outcome, its row, and evidence of a failure.

The row is made where the test ran and travels on the report of the teardown phase, so that with
pytest-xdist one process, the controller, sees and writes all of them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

import harness
from harness.errors import GuestCrashed, HarnessError, UnsupportedError
from harness.guest.base import GuestKind
from harness.guest.bugcheck import Bugcheck
from harness.plugin.commandline import EvidencePolicy, names_statements
from harness.plugin.known import excuse
from harness.plugin.options import SETTINGS
from harness.plugin.reproduction import keep_bundle
from harness.plugin.selection import behaviours_of, name_without_target, target_of
from harness.plugin.station import Station
from harness.results.folder import evidence_folder, write_evidence
from harness.results.model import MAX_MESSAGE, Attestation, RunResult, clip
from harness.results.outcome import Outcome, outcome_of, worst

__all__ = ["ATTEMPT", "LOG", "OUTCOME_ATTRIBUTE", "ROW_ATTRIBUTE", "TestLog", "begin_test", "make_report"]

#: Attributes of a report; pytest-xdist carries attributes of simple types to the controller.
ROW_ATTRIBUTE: Final = "harness_row"
OUTCOME_ATTRIBUTE: Final = "harness_outcome"


_PACKAGE: Final = Path(harness.__file__).parent
_CONTEXTLIB: Final = Path(contextlib.__file__)


@dataclass(slots=True)
class TestLog:
    """What is known of a test while it runs."""

    __test__ = False  # not a test class, whatever its name says

    outcomes: list[Outcome] = field(default_factory=list)
    #: Seconds since the epoch, on the host.
    started: float = 0.0
    duration: float = 0.0
    message: str = ""
    detail: str = ""
    recorded: dict[str, str] = field(default_factory=dict)
    evidence: list[str] = field(default_factory=list)
    comparison: str = ""
    #: The link of the known issue that a failure matched.
    known: str = ""
    bundle: str = ""
    attestation: Attestation | None = None
    station: Station | None = None
    machine_kept: bool = False


LOG = pytest.StashKey[TestLog]()
#: Which attempt at a test this is, where it is not the first.
ATTEMPT = pytest.StashKey[int]()


def begin_test(item: pytest.Item) -> None:
    """Before its set-up. A plugin that runs failed tests again does so with the same item."""
    if LOG in item.stash:
        item.stash[ATTEMPT] = item.stash.get(ATTEMPT, 1) + 1
    item.stash[LOG] = TestLog()


def make_report(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The body of the pytest_runtest_makereport wrapper."""
    if call.excinfo is not None and not item.config.getoption("fulltrace", False):
        _shorten(call.excinfo, item.path)
    report = yield
    log = item.stash.setdefault(LOG, TestLog())
    log.started = log.started or call.start
    log.duration += call.duration
    error = None if call.excinfo is None else call.excinfo.value
    outcome = _outcome(report, error)
    if outcome is not None:
        log.outcomes.append(outcome)
    if isinstance(error, UnsupportedError):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), (item.location[1] or 0) + 1, f"Skipped: {error}")
    elif outcome is not None and outcome.is_bad:
        _describe(report, outcome, error)
        if not log.message or outcome is worst(log.outcomes):
            log.message, log.detail = _message(report, error), clip(report.longreprtext, MAX_MESSAGE)
        _keep_comparison(item, log, report)
        _keep_evidence(item, log, error)
        keep_bundle(item, log, call, outcome)
        if issue := excuse(item, report, outcome):
            log.outcomes[-1], log.known = Outcome.KNOWN, issue.link
            setattr(report, OUTCOME_ATTRIBUTE, str(Outcome.KNOWN))
    if isinstance(error, GuestCrashed) and log.station is not None:
        log.station.spoiled = True  # also where the crash was expected
    if outcome is Outcome.SKIP and not log.message and isinstance(report.longrepr, tuple):
        log.message = str(report.longrepr[2]).removeprefix("Skipped: ")
    if log.station is not None and log.attestation is None and report.when != "setup":
        log.attestation = log.station.attestation
    if report.when == "teardown":
        if item.config.stash[SETTINGS].evidence is EvidencePolicy.ALWAYS:
            _keep_machine(item, log, None)
        row = _row(item, log)
        if row is not None:
            setattr(report, ROW_ATTRIBUTE, row.to_json())
    return report


def _shorten(excinfo: pytest.ExceptionInfo[BaseException], test: Path) -> None:
    """Show where the test was, not how the harness came to raise what it raised on purpose."""
    error = excinfo.value
    places = [Path(entry.path) for entry in excinfo.traceback]
    if not isinstance(error, HarnessError) or test not in places:
        return
    # The harness's own context managers raise through contextlib.
    outside = [
        at for at, place in enumerate(places) if place != _CONTEXTLIB and not place.is_relative_to(_PACKAGE)
    ]
    link = error.__traceback__
    for _ in range(outside[-1]):
        link = link.tb_next if link is not None else None
    if link is not None:
        link.tb_next = None
    excinfo.traceback = type(excinfo.traceback)(excinfo.tb)
    error.__cause__, error.__suppress_context__ = None, True


def _outcome(report: pytest.TestReport, error: BaseException | None) -> Outcome | None:
    """The outcome of one phase; None for a set-up or teardown that went well."""
    if report.skipped:
        return Outcome.KNOWN if hasattr(report, "wasxfail") else Outcome.SKIP
    if report.failed:
        # A strict xfail that passed fails without an exception.
        return Outcome.FAIL if error is None else outcome_of(error)
    return Outcome.PASS if report.when == "call" else None


def _describe(report: pytest.TestReport, outcome: Outcome, error: BaseException | None) -> None:
    """Put the outcome, and of a crash its code and stack, into the line pytest shows for the failure."""
    setattr(report, OUTCOME_ATTRIBUTE, str(outcome))
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and outcome is not Outcome.FAIL:
        crash.message = _message(report, error)


def _message(report: pytest.TestReport, error: BaseException | None) -> str:
    """One line that says what went wrong."""
    outcome = getattr(report, OUTCOME_ATTRIBUTE)
    if isinstance(error, GuestCrashed):
        text = _one_line(error.bugcheck)
    elif isinstance(error, HarnessError):
        text = " ".join(str(error).split("\n"))
    else:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = str(getattr(crash, "message", "") or error or "failed").strip().split("\n")[0]
    return clip(text if outcome == Outcome.FAIL else f"{outcome}: {text}", MAX_MESSAGE)


def _one_line(bugcheck: Bugcheck) -> str:
    head = str(bugcheck).split("\n", 1)[0]
    if not bugcheck.stack:
        return head
    return f"{head} at {' <- '.join(map(str, bugcheck.stack))}"


def _keep_comparison(item: pytest.Item, log: TestLog, report: pytest.TestReport) -> None:
    """Keep the expected and the seen events, where a comparison of them failed."""
    if log.comparison or "harness.probe" not in sys.modules:
        return  # nothing here can have been a trace
    from harness.plugin.comparisons import keep

    log.comparison = keep(item, report.longreprtext)


def _keep_evidence(item: pytest.Item, log: TestLog, error: BaseException | None) -> None:
    """Keep the trace of a failure, as far as it had been collected, and what shows the guest's state.

    The guest is given up.
    """
    station = log.station
    if station is None or station.spoiled:
        return
    station.spoiled = True
    log.attestation = station.attestation
    if station.has_probe:
        try:
            text = str(station.probe.trace)
        except HarnessError as trouble:  # a crashed guest answers nothing, an incomplete trace says so
            text = f"no trace: {trouble}"
        folder = item.config.stash[SETTINGS].run_folder
        data = text.encode("utf-8", "replace")
        log.evidence.append(write_evidence(folder, f"{item.name}.trace.txt", data))
    if item.config.stash[SETTINGS].evidence is not EvidencePolicy.NEVER:
        _keep_machine(item, log, error)


def _keep_machine(item: pytest.Item, log: TestLog, error: BaseException | None) -> None:
    """Screen, logs and memory of a machine, once a test; the guest is of no use afterwards."""
    station = log.station
    if station is None or log.machine_kept or station.guest.info.kind is GuestKind.REFERENCE:
        return
    log.machine_kept = station.spoiled = True
    settings = item.config.stash[SETTINGS]
    try:
        place = evidence_folder(settings.run_folder, item.name)
        files = station.guest.save_evidence(place, error, memory_mib=settings.dump_mib)
    except (HarnessError, OSError) as trouble:  # the failure itself must not be hidden
        log.detail += f"\nno evidence of the machine: {trouble}"
        return
    log.evidence += [f"evidence/{place.name}/{file}" for file in files]


def _row(item: pytest.Item, log: TestLog) -> RunResult | None:
    outcome = worst(log.outcomes) or Outcome.PASS
    target = target_of(item)
    # In a plan's job every test counts: nobody looks at pytest's own words there.
    in_job = item.config.getoption("--journal") is not None
    if target is None and not names_statements(item) and not in_job:
        return None  # an ordinary test of somebody's Python
    return RunResult(
        test=name_without_target(item),
        target="" if target is None else target.name,
        outcome=outcome,
        behaviours=behaviours_of(item),
        duration=round(log.duration, 6),
        message=log.message,
        detail=log.detail,
        attestation=log.attestation,
        evidence=tuple(log.evidence),
        recorded=dict(log.recorded),
        started=datetime.fromtimestamp(log.started, UTC).isoformat(timespec="milliseconds"),
        attempt=item.stash.get(ATTEMPT, 1),
        build=item.config.stash[SETTINGS].build,
        known=log.known if outcome is Outcome.KNOWN else "",
        comparison=log.comparison,
        bundle=log.bundle,
        callbacks=() if log.station is None else tuple(sorted(log.station.callbacks)),
    )
