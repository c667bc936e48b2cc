"""The pytest plugin: options, markers, fixtures and outcomes, thin over the rest of the package.

pytest loads this module in every run where the package is installed, also for projects that have nothing to
do with it. So it declares, and imports nothing more. `harness.plugin.hooks` and what they need come when they
are asked for: by an option, by a test with a guest, by a test that names statements of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from harness.plugin import agreed, commandline
from harness.plugin.fixtures import (
    TARGET_FIXTURE,
    _case_parameter,
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

if TYPE_CHECKING:
    from harness.plugin.native import NativeFile

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

_HOOKS: Final = "harness.plugin.hooks"
#: What a report has that only the hooks put there (`harness.plugin.recording`).
_OURS: Final = "harness_"


def pytest_addoption(parser: pytest.Parser) -> None:
    commandline.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    commandline.register_markers(config)
    if commandline.is_given(config):
        _use(config)


def _use(config: pytest.Config) -> None:
    """The run has to do with the harness; from now on the hooks see it."""
    config.pluginmanager.import_plugin(_HOOKS)  # once, whoever asks


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> NativeFile | None:
    if ".native." not in file_path.name:
        return None
    from harness.plugin.native import collect_file

    return collect_file(file_path, parent)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if TARGET_FIXTURE in metafunc.fixturenames or commandline.names_statements(metafunc.definition):
        _use(metafunc.config)
        from harness.plugin.native import parametrise_cases
        from harness.plugin.selection import parametrise_targets

        if not parametrise_cases(metafunc):
            parametrise_targets(metafunc)


# -- pytest-xdist: the controller collects nothing; its workers tell it whether the run has to do with us ---


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    agreed.tell_worker(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    if any("[reference:" in nodeid for nodeid in ids):  # without --target no other
        _use(node.config)


@pytest.hookimpl(tryfirst=True)
def pytest_report_from_serializable(config: pytest.Config, data: Mapping[str, object]) -> None:
    if any(name.startswith(_OURS) for name in data):
        _use(config)
