"""A plugin for runs of tests: a request to a machine's driver hangs after seconds instead of minutes."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    from harness.machine.guest import MachineGuest

    options = MachineGuest.__init__.__kwdefaults__
    before = options["call_seconds"]
    options["call_seconds"] = 10.0
    config.add_cleanup(lambda: options.update(call_seconds=before))
