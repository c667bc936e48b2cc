"""The pytest plugin: options, markers, fixtures and outcomes, thin over the rest of the package."""

from __future__ import annotations

import gc
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from harness.plugin import (
    finished,
    journal,
    known,
    leaks,
    native,
    options,
    recording,
    reproduction,
    selection,
)
from harness.plugin.fixtures import (
    _station,
    _target_parameter,
    app_hive,
    guest,
    own_driver,
    probe,
    record,
    registry,
    target,
)
from harness.plugin.leaklog import GateLog
from harness.plugin.native import NativeFile, _case_parameter, collect_file, parametrise_cases
from harness.plugin.session import RunLog, status_words
from harness.plugin.station import POOL, GuestPool
from harness.results.folder import new_run_folder

__all__ = [
    "_case_parameter",
    "_station",
    "_target_parameter",
    "app_hive",
    "guest",
    "own_driver",
    "probe",
    "record",
    "registry",
    "target",
]

_RUN_FOLDER = "harness_run_folder"


def pytest_addoption(parser: pytest.Parser) -> None:
    options.add_options(parser)
    finished.add_options(parser)
    journal.add_options(parser)
    known.add_options(parser)
    leaks.add_options(parser)
    native.add_options(parser)
    reproduction.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    options.register_markers(config)
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is None:
        given = config.getoption("--run-folder")
        results = Path(config.getoption("--results") or config.rootpath / "results")
        folder = Path(given) if given else new_run_folder(results)
    else:
        folder = Path(worker[_RUN_FOLDER])
    settings = config.stash[options.SETTINGS] = options.settings_of(config, folder)
    known.configure(config)
    config.stash[POOL] = GuestPool(settings.isolation, settings.guests)
    if worker is None:
        log = RunLog(settings)
        config.pluginmanager.register(log, "harness-run-log")
        config.pluginmanager.register(GateLog(config, log.add), "harness-leak-gate")
        descriptor = config.getoption("--journal")
        if descriptor is not None:
            config.pluginmanager.register(journal.Journal(descriptor), "harness-journal")
    leaves_out = finished.Finished.of(config)
    if leaves_out is not None:
        config.pluginmanager.register(leaves_out, "harness-finished")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """pytest-xdist: tell a worker where the run's evidence goes."""
    node.workerinput[_RUN_FOLDER] = str(node.config.stash[options.SETTINGS].run_folder)
    node.workerinput[reproduction.SEED_INPUT] = reproduction.seed_of(node.config)


def pytest_unconfigure(config: pytest.Config) -> None:
    pool = config.stash.get(POOL, None)
    if pool is not None:
        pool.close()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> NativeFile | None:
    return collect_file(file_path, parent)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if not parametrise_cases(metafunc):
        selection.parametrise_targets(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    reproduction.seed_test(item)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the collector of cycles away from what lives until the end: modules, tests, fixtures."""
    if any(selection.TARGET_FIXTURE in getattr(item, "fixturenames", ()) for item in session.items):
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield from recording.make_report(item, call)
    leaks.attach_gate(item, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    leaks.note_next(item, nextitem)


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
