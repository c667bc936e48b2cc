"""What the plugin does in a run that has to do with the harness; `harness.plugin` registers it there."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator

import pytest

from harness.plugin.agreed import run_folder
from harness.plugin.finished import Finished
from harness.plugin.fixtures import TARGET_FIXTURE
from harness.plugin.journal import Journal
from harness.plugin.known import read_known
from harness.plugin.leaklog import GateLog
from harness.plugin.leaks import attach_gate, note_next
from harness.plugin.options import SETTINGS, settings_of
from harness.plugin.recording import begin_test, make_report
from harness.plugin.reproduction import seed_test
from harness.plugin.session import RunLog, status_words
from harness.plugin.station import POOL, GuestPool


def pytest_configure(config: pytest.Config) -> None:
    settings = config.stash[SETTINGS] = settings_of(config, run_folder(config))
    read_known(config)
    config.stash[POOL] = GuestPool(settings.isolation, settings.guests)
    if not hasattr(config, "workerinput"):
        log = RunLog(settings)
        config.pluginmanager.register(log, "harness-run-log")
        config.pluginmanager.register(GateLog(config, log.add), "harness-leak-gate")
        descriptor = config.getoption("--journal")
        if descriptor is not None:
            config.pluginmanager.register(Journal(descriptor), "harness-journal")
    leaves_out = Finished.of(config)
    if leaves_out is not None:
        config.pluginmanager.register(leaves_out, "harness-finished")


def pytest_unconfigure(config: pytest.Config) -> None:
    pool = config.stash.get(POOL, None)
    if pool is not None:
        pool.close()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the collector of cycles away from what lives until the end: modules, tests, fixtures."""
    if any(TARGET_FIXTURE in getattr(item, "fixturenames", ()) for item in session.items):
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    note_next(item, nextitem)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    begin_test(item)
    seed_test(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield from make_report(item, call)
    attach_gate(item, report)
    return report


def pytest_report_teststatus(
    report: pytest.CollectReport | pytest.TestReport,
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    return status_words(report)


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """Expected and seen events side by side."""
    if "harness.probe" not in sys.modules:
        return None  # nothing here can be a trace
    from harness.plugin.comparisons import explain

    return explain(config, op, left, right)
